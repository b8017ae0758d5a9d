"""One job that trains, simulates and chooses, against a job for each."""

import json
import subprocess

import pytest
from aiida.common.exceptions import InputValidationError
from aiida.common.folders import Folder
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage.manager import get_manager
from aiida.plugins import CalculationFactory

from aiida_mlal.calculations.folder import write_folder


@pytest.fixture
def make(inputs, mlal_code):
    """Return a factory of builders; a step that is None is left out."""

    def factory(**changes):
        steps = {
            "train": inputs["mlal.train"],
            "simulate": {k: v for k, v in inputs["mlal.simulate"].items() if k != "potential"},
            "select": {
                "train": inputs["mlal.train"]["dataset"],
                "query": {"name": "final", "n": 1},
                "seed": 5,
            },
        }
        builder = CalculationFactory("mlal.iterate").get_builder()
        builder.code = mlal_code
        for name, value in {**steps, **changes}.items():
            if value is not None:
                builder[name] = value
        return builder

    return factory


def test_outputs_are_those_of_a_job_for_each(make, build):
    results, node = run_get_node(make())
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    one, _ = run_get_node(build("mlal.train"))
    potential = one["potential"]
    assert results["train"]["potential"].content == potential.content
    assert results["train"]["potential"].creator == node
    two, _ = run_get_node(build("mlal.simulate", potential=potential))
    assert results["simulate"]["trajectory"].configurations.keys == (
        two["trajectory"].configurations.keys
    )
    assert results["simulate"]["results"]["runs"] == two["results"]["runs"]
    three, _ = run_get_node(
        build(
            "mlal.select",
            pool=two["trajectory"],
            train=node.inputs.select.train,
            query={"name": "final", "n": 1},
        )
    )
    assert results["select"]["selection"].selected == three["selection"].selected
    assert results["select"]["selected"].creator == node


def test_a_potential_that_is_given_simulates(make, inputs):
    given = inputs["mlal.simulate"]["potential"]
    results, node = run_get_node(make(train=None, potential=given))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    assert "train" not in results
    assert node.inputs.potential.uuid == given.uuid
    assert len(results["simulate"]["trajectory"])


def test_what_came_before_a_step_that_failed_is_kept(make, inputs, dataset):
    wrong = {**inputs["mlal.simulate"], "simulation": {"name": "neb", "images": 5}}
    del wrong["potential"]
    results, node = run_get_node(make(simulate={**wrong, "structures": dataset.subset([0, 2, 1])}))
    assert node.exit_status == 310
    assert node.exit_message.startswith("simulate: ")
    assert results["train"]["results"]["status"] == "ok"
    assert "select" not in results


def test_either_a_training_or_a_potential(make, inputs):
    given = inputs["mlal.simulate"]["potential"]
    for builder in (make(train=None), make(potential=given)):
        with pytest.raises((ValueError, InputValidationError), match="either inputs of 'train'"):
            instantiate_process(get_manager().get_runner(), builder)


def test_mistakes_are_of_a_step(make, inputs):
    training = {**inputs["mlal.train"], "training": {"epoch": 3}}
    with pytest.raises(ValueError, match=r"train.*unknown option 'epoch', did you mean"):
        instantiate_process(get_manager().get_runner(), make(train=training))


def test_the_folder_can_be_run_again(make, warm_mlal, tmp_path):
    _, node = run_get_node(make())
    tasks = write_folder(node, tmp_path)
    assert tasks == ["train/task.json", "simulate/task.json", "select/task.json"]
    for task in tasks:
        subprocess.run([warm_mlal, "run", tmp_path / task], check=True)
    chosen = json.loads((tmp_path / "select" / "result.json").read_text())["selected"]
    assert chosen == node.outputs.select.selection.selected


def test_every_file_that_a_task_reads_is_there_or_made(make, tmp_path):
    process = instantiate_process(get_manager().get_runner(), make())
    info = process.prepare_for_submission(Folder(str(tmp_path)))
    there = {target for _, _, target in info.local_copy_list}
    there |= {"train/potential.safetensors", "simulate/trajectory.safetensors"}
    for step in ("train", "simulate", "select"):
        task = json.loads((tmp_path / step / "task.json").read_text())
        for name in task.values():
            if isinstance(name, str) and name.endswith(".safetensors") and name != task["output"]:
                path = str((tmp_path / step / name).resolve().relative_to(tmp_path.resolve()))
                assert path in there
