"""Labels by ASE calculators, run for real."""

import sys
from pathlib import Path

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.calculators.emt import EMT

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.workflows.labelling.ase import join


@pytest.fixture
def candidates(frames):
    """Structures without labels."""
    for atoms in frames:
        atoms.calc = None
        atoms.info["reason"] = "drawn at random"
    return DatasetData.from_ase(frames)


@pytest.fixture
def builder(aiida_profile_clean, mlal_code, candidates):
    workflow = WorkflowFactory("mlal.label.ase")
    return workflow.get_builder_from_protocol(mlal_code, candidates)


def test_labels_are_those_of_ase(builder, candidates):
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    found = results["dataset"].configurations
    assert found.keys == candidates.configurations.keys
    assert found.status.tolist() == ["ok"] * len(found)
    assert found.info["reason"].tolist() == ["drawn at random"] * len(found)
    for one, atoms in zip(found, candidates.get_ase(), strict=True):
        atoms.calc = EMT()
        atoms.set_constraint()
        np.testing.assert_allclose(one.energies[0], atoms.get_potential_energy(), atol=1e-8)
        np.testing.assert_allclose(one.forces, atoms.get_forces(), atol=1e-8)
        np.testing.assert_allclose(one.stresses[0], atoms.get_stress(voigt=False), atol=1e-8)


def test_one_job_that_ends_well_needs_no_other_process(builder):
    results, node = run_get_node(builder)
    assert len(node.called) == 1
    assert results["dataset"].creator == node.called[0]
    assert set(results["dataset"].sources) == {node.called[0].uuid}
    assert results["description"]["description"]["calculator"] == "emt"
    assert results["description"]["fingerprint"] in results["dataset"].base.attributes.get(
        "fingerprints"
    )


def test_batches_come_back_in_the_order_of_the_structures(builder, candidates):
    builder.batch_size = 4
    results, node = run_get_node(builder)
    jobs = [child for child in node.called if isinstance(child, orm.CalcJobNode)]
    assert len(jobs) == 2
    found = results["dataset"]
    assert found.configurations.keys == candidates.configurations.keys
    assert found.creator.process_label == "join"
    assert len(set(found.sources)) == 2
    assert set(found.sources) == {job.uuid for job in jobs}


def test_what_the_calculator_does_not_know_fails_alone(builder, frames):
    frames[2].symbols[0] = "Fe"
    builder.dataset = DatasetData.from_ase(frames)
    results, node = run_get_node(builder)
    assert node.is_finished_ok
    found = results["dataset"].configurations
    assert found.status.tolist() == ["ok"] * 2 + ["failed"] + ["ok"] * 3
    assert "Fe" in found.info["reason"][2]
    assert np.isnan(found.energies[2])
    assert results["dataset"].sources[2] == node.called[0].uuid


def test_a_failed_job_leaves_its_structures_failed_with_its_uuid(builder, candidates):
    builder.ase.metadata.options.prepend_text = "exit 1"
    results, node = run_get_node(builder)
    assert node.is_finished_ok
    found = results["dataset"].configurations
    job = next(child for child in node.called if isinstance(child, orm.CalcJobNode))
    assert found.status.tolist() == ["failed"] * len(candidates)
    assert "exit code" in found.info["reason"][0]
    assert set(results["dataset"].sources) == {job.uuid}


def test_an_exit_code_tells_that_too_many_failed(builder, frames):
    for atoms in frames[:4]:
        atoms.symbols[0] = "Fe"
    builder.dataset = DatasetData.from_ase(frames)
    builder.max_failed_share = 0.5
    results, node = run_get_node(builder)
    assert node.exit_status == 410
    assert "4 of 6" in node.exit_message
    assert results["dataset"].configurations.status.tolist() == ["failed"] * 4 + ["ok"] * 2


def test_equal_labels_are_not_computed_again(builder, candidates):
    from aiida.manage.caching import enable_caching

    first, _ = run_get_node(builder)
    builder.dataset = DatasetData(candidates.configurations)
    with enable_caching(identifier="aiida.calculations:mlal.label.ase"):
        second, node = run_get_node(builder)
    assert node.called[0].base.caching.is_created_from_cache
    assert second["dataset"].sha256 == first["dataset"].sha256


def test_misspelt_inputs_are_refused(builder):
    builder.ase["calculater"] = orm.Dict({"name": "emt"})
    with pytest.raises(ValueError, match=r"ase\.calculater.*did you mean 'calculator'"):
        run_get_node(builder)


def test_misspelt_overrides_are_refused(mlal_code, candidates):
    workflow = WorkflowFactory("mlal.label.ase")
    with pytest.raises(ValueError, match=r"overrides\.ase\.metadata\.optoins.*'options'"):
        workflow.get_builder_from_protocol(
            mlal_code, candidates, overrides={"ase": {"metadata": {"optoins": {}}}}
        )


def test_nothing_to_label_is_no_error(builder):
    builder.dataset = DatasetData(Configurations.empty())
    results, node = run_get_node(builder)
    assert node.is_finished_ok
    assert len(results["dataset"]) == 0


@pytest.mark.parametrize(
    ("calculator", "message"),
    [
        ({"factory": "ase.calculators.emt:EMD"}, "no function 'EMD', did you mean 'EMT'"),
        ({"factory": "ase.calculators.emd:EMT"}, "cannot be imported"),
        ({"factory": "no_such_module:f"}, "cannot be imported"),
        ({"factory": "json:loads", "options": {"z": 1}}, "json:loads does not take its options"),
        ({"factory": "os:system"}, "'os:system' is code that is not allowed on this computer"),
    ],
)
def test_a_calculator_that_cannot_be_built_is_refused_before_any_job(
    builder, calculator, message, monkeypatch, aiida_code_installed
):
    mlal = Path(sys.executable).with_name("mlal")  # that of this very environment
    builder.ase.code = aiida_code_installed(label="here", filepath_executable=str(mlal))
    monkeypatch.setenv("MLAL_ALLOWED_FACTORIES", "json,no_such_module")
    builder.ase.calculator = orm.Dict({"name": "mine", **calculator})
    with pytest.raises(ValueError, match=message):
        run_get_node(builder)


def test_a_module_that_is_not_here_may_be_where_the_job_runs(builder):
    builder.ase.calculator = orm.Dict({"name": "mine", "factory": "no_such_module:f"})
    builder.ase.metadata.options.prepend_text = "export PYTHONPATH=$HOME/calculators"
    results, _ = run_get_node(builder)
    assert set(results["dataset"].configurations.status) == {"failed"}


def test_code_of_others_is_refused_where_the_job_runs(builder, tmp_path):
    """Here it is allowed by who submits; nobody but the computer's user allows it there."""
    victim = tmp_path / "victim"
    builder.ase.calculator = {
        "name": "mine",
        "factory": "os:system",
        "options": {"command": f"touch {victim}"},
    }
    builder.ase.metadata.options.prepend_text = "unset MLAL_ALLOWED_FACTORIES"
    results, node = run_get_node(builder)
    assert not victim.exists()
    assert set(results["dataset"].configurations.status) == {"failed"}
    assert "not allowed on this computer" in node.called[0].exit_message


def test_moments_and_tags_come_back_with_the_labels(builder, frames):
    for atoms in frames:
        atoms.set_tags([1, 2, 3, 0])
        atoms.set_initial_magnetic_moments([1.0, -1.0, 0.5, 0.0])
    builder.dataset = DatasetData.from_ase(frames)
    results, _ = run_get_node(builder)
    found = results["dataset"].configurations
    assert found.keys == builder.dataset.configurations.keys
    assert found.arrays["tags"].tolist() == [1, 2, 3, 0] * 6
    assert found.arrays["initial_magmoms"].tolist() == [1.0, -1.0, 0.5, 0.0] * 6


def test_a_structure_that_kills_its_jobs_costs_no_other_label(builder, frames, tmp_path, caplog):
    """The first job ends in it, the second one after all others, the third one at once."""
    (tmp_path / "mode").write_text("killed")
    frames[1].set_tags([1, 0, 0, 0])
    builder.dataset = DatasetData.from_ase(frames[:4])
    options = {"folder": str(tmp_path)}
    builder.ase.calculator = {
        "name": "fatal", "factory": "broken_calculators:Fatal", "options": options,
    }  # fmt: skip
    path = Path(__file__).parents[2] / "ml" / "labelling"
    allowed = "MLAL_ALLOWED_FACTORIES=broken_calculators"
    builder.ase.metadata.options.prepend_text = f"export PYTHONPATH={path} {allowed}"
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    jobs = [child for child in node.called if isinstance(child, orm.CalcJobNode)]
    assert [job.exit_status for job in jobs] == [420, 420, 420]
    assert len((tmp_path / "calls").read_text().split()) == 2 + 3 + 1
    found, sources = results["dataset"].configurations, results["dataset"].sources
    assert found.keys == builder.dataset.configurations.keys
    assert found.status.tolist() == ["ok", "failed", "ok", "ok"]
    assert "3 processes ended while they computed it" in found.info["reason"][1]
    assert sources == tuple(jobs[i].uuid for i in (0, 2, 1, 1))
    assert "attempts" not in found.info
    said = [one.message for one in caplog.records if one.levelname == "REPORT"]
    assert "ended after 1 of 4 structures" in said[0]
    assert "the rest goes to another job" in said[0]


def test_structures_that_no_job_can_come_to_are_not_tried(builder, caplog):
    """The limit of a file's size stands for that of a disk which is full from the beginning."""
    builder.ase.metadata.options.prepend_text = "export PYTHONPATH=/\nulimit -f 8"
    results, node = run_get_node(builder)
    jobs = [child for child in node.called if isinstance(child, orm.CalcJobNode)]
    assert [job.exit_status for job in jobs] == [311, 311]
    assert "File too large" in jobs[0].exit_message
    assert node.exit_status == 412
    assert "6 of 6 structures were not tried" in node.exit_message
    assert set(results["dataset"].configurations.status) == {"unlabelled"}
    assert not any(results["dataset"].sources)
    said = [one.message for one in caplog.records if one.levelname == "REPORT"]
    assert "another job would come no further: the rest is not tried" in said[1]


def test_jobs_that_went_on_are_joined_in_their_places(aiida_profile_clean, configurations):
    """Of batches of two the first was labelled by two jobs, the third not at all."""
    mine = [f"{i}1234567-89ab-cdef-0123-456789abcdef" for i in range(4)]
    good = configurations.with_info(status=["ok"] * 6)
    blank = configurations.with_labels(np.full(6, np.nan), np.full((24, 3), np.nan))
    blank = blank.with_info(status=["unlabelled"] * 6, attempts=[1] * 6)

    def job(frames, number):
        sources = [mine[number] if status == "ok" else "" for status in frames.status]
        return {
            "dataset": DatasetData(frames, sources),
            "description": orm.Dict({"description": {}, "fingerprint": "f"}),
        }

    begun = Configurations.concatenate([blank[0], good[1]])
    found = join(
        dataset=DatasetData(blank),
        calculator=orm.Dict({"name": "emt"}),
        size=orm.Int(2),
        labelled={
            "batch_000": job(begun, 0),
            "batch_000_again_01": job(good[0], 1),
            "batch_001": job(good[2:4], 2),
        },
    )["dataset"]
    assert found.configurations.keys == configurations.keys
    assert found.configurations.status.tolist() == ["ok"] * 4 + ["unlabelled"] * 2
    assert found.configurations.energies[:4].tolist() == configurations.energies[:4].tolist()
    assert found.sources == (mine[1], mine[0], mine[2], mine[2], "", "")
    assert "attempts" not in found.configurations.info


def test_the_sentence_of_an_exit_code_is_told_up_to_what_each_process_fills_in():
    from aiida_mlal.calculations.label import LabelCalculation
    from aiida_mlal.workflows.labelling.base import failure_reason

    said = failure_reason("exit_310", LabelCalculation)
    assert said == "exit code 310, ERROR_INVALID_INPUT: Options or files do not fit"
