"""Simulations in several jobs are those of one job."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import bulk

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.workflows.ports import check_inputs

SIMULATION = {
    "name": "md",
    "steps": 4,
    "scenarios": [{"temperature": 200.0}, {"temperature": 400.0}],
}


@pytest.fixture
def inputs(mlal_code):
    model = {"architecture": "ase", "calculator": {"name": "emt"}}
    copper = bulk("Cu", cubic=True)
    stretched = bulk("Cu", a=3.7, cubic=True)
    return {
        "potential": PotentialData.from_potential(ModelOptions.parse(model).build(["Cu"], 0)),
        "structures": DatasetData.from_ase([copper, stretched, copper]),
        "simulation": SIMULATION,
        "simulate": {"code": mlal_code, "metadata": {"options": {"withmpi": False}}},
    }


def run(entry_point, inputs, **more):
    workflow = WorkflowFactory(entry_point)
    return run_get_node(workflow, **{**inputs, **more})


def test_frames_and_results_are_those_of_one_job(inputs):
    whole, _ = run("mlal.simulate.base", inputs)
    parts, node = run("mlal.simulate.batches", inputs, runs_per_job=4, jobs_at_once=1)
    assert node.is_finished_ok, node.exit_message
    assert parts["results"]["runs"] == whole["results"]["runs"]
    assert len(parts["results"]["runs"]) == 6
    one, other = (found["trajectory"].configurations for found in (whole, parts))
    np.testing.assert_array_equal(one.positions, other.positions)
    for name in ("run", "step", "time", "temperature", "predicted_energy"):
        np.testing.assert_array_equal(one.info[name], other.info[name])
    jobs = [child for child in node.called if child.process_label == "SimulateBaseWorkChain"]
    assert [len(job.inputs.structures) for job in sorted(jobs, key=lambda job: job.pk)] == [4, 2]
    assert parts["trajectory"].creator.process_label == "merge_runs"
    assert jobs[0].inputs.structures.creator.inputs.structures == node.inputs.structures


def test_what_jobs_have_to_say_is_reported_and_in_the_results(inputs, caplog):
    """Here that runs end with atoms nearer than a moment tensor potential can know."""
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.3, seed=1)
    potential = ModelOptions.parse({"architecture": "mtp", "level": 6}).build(["Cu"], 0)
    inputs |= {
        "potential": PotentialData.from_potential(potential),
        "structures": DatasetData.from_ase([rattled, rattled]),
        "simulation": {"name": "relax", "max_steps": 1},
    }
    caplog.set_level("REPORT")
    parts, node = run("mlal.simulate.batches", inputs)
    assert node.is_finished_ok, node.exit_message
    assert parts["results"]["message"].count("nearer than min_dist") == 1
    told = [record.message for record in caplog.records if "say_what_is_doubtful" in record.message]
    assert sum("nearer than min_dist" in message for message in told) == 2


def test_a_job_that_fails_is_named(inputs, aiida_code_installed):
    broken = aiida_code_installed(label="broken", filepath_executable="/bin/false")
    inputs["simulate"]["code"] = broken
    _, node = run("mlal.simulate.batches", inputs, runs_per_job=3)
    assert node.exit_status == 412
    assert "2 of 2 jobs failed, SimulateBaseWorkChain<" in node.exit_message


def test_a_campaign_simulates_in_batches_by_option(mlal_code):
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        mlal_code,
        orm.StructureData(ase=bulk("Cu", cubic=True)),
        protocol="fast",
        recipe="md",
        overrides={"simulating": "mlal.simulate.batches", "simulate": {"runs_per_job": 2}},
    )
    assert builder["simulate"]["runs_per_job"] == 2
    assert builder["simulate"]["simulate"]["code"] == mlal_code
    check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)


def test_runs_that_stop_for_labels_are_refused(mlal_code):
    builder = WorkflowFactory("mlal.online").get_builder_from_protocol(
        mlal_code,
        orm.StructureData(ase=bulk("Cu", cubic=True)),
        protocol="fast",
        overrides={"simulating": "mlal.simulate.batches"},
    )
    with pytest.raises(ValueError, match=r"cannot go on, its ports lack"):
        check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)
