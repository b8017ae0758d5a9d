"""The calculations for real: submitted to this computer, by the ``mlal`` of this environment."""

import os
import subprocess

import numpy as np
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching
from aiida.orm import CalcJobNode, QueryBuilder

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData


def finish(builder):
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    return outputs, node


def test_labels_of_a_calculation_are_those_of_ase(build, frames):
    bare = [atoms.copy() for atoms in frames]
    outputs, node = finish(build("mlal.label.ase", dataset=DatasetData.from_ase(bare)))
    labelled = outputs["dataset"]
    assert labelled.sources == (node.uuid,) * 6
    assert labelled.base.attributes.get("statuses") == {"ok": 6}
    energies = [atoms.get_potential_energy() for atoms in frames]
    assert np.allclose(labelled.configurations.energies, energies, atol=1e-10)
    assert labelled.creator.uuid == node.uuid


def test_a_potential_is_trained_and_used(build):
    outputs, _ = finish(build("mlal.train"))
    potential = outputs["potential"]
    assert potential.elements == ["C", "Cu"]
    assert potential.base.attributes.get("training")["seed"] == 3

    outputs, _ = finish(build("mlal.simulate", potential=potential))
    (first, second) = outputs["results"]["runs"]
    trajectory = outputs["trajectory"].configurations
    assert set(trajectory.info["run"].tolist()) == {0, 1}
    assert len(trajectory) == first["steps"] + second["steps"] + 2
    assert outputs["trajectory"].base.attributes.get("n_labelled") == 0

    outputs, _ = finish(
        build(
            "mlal.select",
            pool=outputs["trajectory"],
            potential=potential,
            query={"name": "final", "n": 1},
        )
    )
    assert len(outputs["selected"]) == outputs["selection"].base.attributes.get("n_selected")

    outputs, _ = finish(build("mlal.evaluate", potential=potential))
    assert len(outputs["predictions"]) == 6


def test_an_evaluation_leaves_what_it_measured(build):
    model = {"architecture": "bpnn", "hidden": [4], "ensemble": 2}
    trained, _ = finish(build("mlal.train", model=model))
    options = {"potential": trained["potential"], "uncertainty": {"name": "force_std"}}
    outputs, _ = finish(build("mlal.evaluate", **options))
    predictions = outputs["predictions"].configurations
    values = predictions.info["uncertainty"]
    assert np.allclose(outputs["results"]["uncertainty"]["values"], values)
    assert np.allclose(
        np.maximum.reduceat(predictions.arrays["uncertainties"], predictions.offsets[:-1]), values
    )


def test_a_potential_knows_what_it_has_learned(build, dataset):
    """With the active set that training keeps, and with one that is made of the training set."""
    model = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
    training = {"optimizer": {"name": "variable_projection"}, "epochs": 3}
    learned = dataset.subset([0, 1, 2])
    outputs, _ = finish(build("mlal.train", dataset=learned, model=model, training=training))
    builder = build("mlal.grade", potential=outputs["potential"])
    del builder.train
    carried, _ = finish(builder)
    made, _ = finish(build("mlal.grade", potential=outputs["potential"], train=learned))
    for graded in (carried["graded"].configurations, made["graded"].configurations):
        assert np.allclose(graded.info["grade"][:3], 1, atol=1e-4)
        assert (graded.info["grade"][3:] > 1).all()
    assert carried["results"]["max_grade"] > 1


def test_a_training_can_be_run_again_without_aiida_and_gives_the_same(build, warm_mlal, tmp_path):
    outputs, node = finish(build("mlal.train"))
    task = node.base.repository.get_object_content("task.json", mode="rb")
    (tmp_path / "task.json").write_bytes(task)
    (tmp_path / "dataset.safetensors").write_bytes(node.inputs.dataset.content)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([warm_mlal, "run", "task.json"], cwd=tmp_path, check=True, env=environment)
    assert (tmp_path / "potential.safetensors").read_bytes() == outputs["potential"].content


def test_links_lead_from_the_potential_to_what_labelled_its_structures(build):
    labelled, _ = finish(build("mlal.label.ase"))
    trained, _ = finish(build("mlal.train", dataset=labelled["dataset"]))
    (source,) = set(labelled["dataset"].sources)
    query = QueryBuilder().append(CalcJobNode, filters={"uuid": source}, tag="source")
    query.append(PotentialData, with_ancestors="source", project="uuid")
    assert query.all(flat=True) == [trained["potential"].uuid]


def test_equal_inputs_are_taken_from_the_cache(build, configurations):
    first = DatasetData(configurations).store()
    second = DatasetData(configurations, [first.uuid] * 6).store()
    assert first.base.caching.get_hash() == second.base.caching.get_hash()
    outputs, node = finish(build("mlal.label.ase", dataset=first))
    with enable_caching(identifier="aiida.calculations:mlal.label.ase"):
        again, cached = finish(build("mlal.label.ase", dataset=second))
        _, fresh = finish(build("mlal.label.ase", dataset=first.subset([1, 2])))
    assert cached.base.caching.get_cache_source() == node.uuid
    assert again["dataset"].content == outputs["dataset"].content
    assert not fresh.base.caching.is_created_from_cache


def test_files_that_do_not_fit_are_said_to_be_so(build, configurations):
    unlabelled = DatasetData(configurations.with_info(status=["failed"] * 6))
    _, node = run_get_node(build("mlal.train", dataset=unlabelled))
    assert node.exit_status == 310
    assert "no structure with a label of status 'ok'" in node.exit_message
