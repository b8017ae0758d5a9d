"""Restarts: jobs that first end as they are told to, and then work."""

import json

import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode
from aiida.plugins import WorkflowFactory
from aiida_fixtures import MODEL

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml.configurations import Configurations

NAMESPACES = {"mlal.train": "train", "mlal.simulate": "simulate"}


@pytest.fixture
def build_base(build, aiida_code_installed, warm_mlal, tmp_path):
    """Return a factory of builders whose first jobs write given files instead of working."""

    def factory(entry_point, *endings, **changes):
        for number, files in enumerate(endings):
            folder = tmp_path / f"ending_{number}"
            folder.mkdir()
            for name, content in files.items():
                inside = content if isinstance(content, dict) else {"": content}
                for part, its in inside.items():
                    (folder / name / part).parent.mkdir(exist_ok=True)
                    (folder / name / part).write_bytes(its)
        script = tmp_path / "mlal.sh"
        script.write_text(
            "#!/bin/bash\n"
            f"for folder in {tmp_path}/ending_*; do\n"
            "  [ -e $folder ] || break\n"
            f"  cp -r $folder/* . 2>/dev/null\n"
            "  mv $folder ${folder/ending/done}\n"
            "  exit 1\n"
            "done\n"
            f'exec {warm_mlal} "$@"\n'
        )
        script.chmod(0o755)
        code = aiida_code_installed(
            filepath_executable=str(script), prepend_text="export OMP_NUM_THREADS=1"
        )
        builder = WorkflowFactory(f"{entry_point}.base").get_builder()
        inside = getattr(builder, NAMESPACES[entry_point])
        for name, value in build(entry_point, **{"code": code, **changes}).items():
            if name != "metadata":
                setattr(builder if name in builder.process_class.OUTSIDE else inside, name, value)
        return builder

    return factory


def ending(task, status, **more):
    values = {"task": task, "status": status, "message": f"it {status}", **more}
    return {"result.json": json.dumps(values).encode()}


def jobs(node):
    return sorted((job for job in node.called if isinstance(job, CalcJobNode)), key=lambda j: j.pk)


def test_diverged_training_is_tried_again_with_another_seed_and_smaller_steps(build_base):
    training = {"epochs": 1, "optimizer": {"name": "lbfgs", "learning_rate": 0.5}}
    builder = build_base("mlal.train", ending("train", "diverged"), training=training)
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    first, second = jobs(node)
    assert (first.exit_status, second.exit_status) == (410, 0)
    assert second.inputs.seed.value == first.inputs.seed.value + 1000
    assert second.inputs.training["optimizer"]["learning_rate"] == pytest.approx(0.15)
    assert second.inputs.training["epochs"] == 1
    assert second.inputs.training.creator.process_label == "more_carefully"
    assert outputs["potential"].creator.uuid == second.uuid


def test_training_that_learned_nothing_says_so(build_base, caplog):
    """In its results, in the log of the calculation and in the report of the WorkChain."""
    still = {"name": "adam", "learning_rate": 1e-12}
    training = {"epochs": 1, "starts": 1, "patience": None, "optimizer": still}
    _, node = run_get_node(build_base("mlal.train", training=training))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    (job,) = jobs(node)
    (start,) = job.outputs.results["curves"][0]["starts"]
    assert start["unexplained"] > 0.05
    assert job.outputs.results["learned"] is False
    (warning,) = job.outputs.results["warnings"]
    assert warning.startswith("the potential has learned")
    # not by nodes of logs, which there are none of after commands were run in this process
    levels = {one.levelname for one in caplog.records if warning in one.message}
    assert levels == {"WARNING", "REPORT"}


def test_training_that_always_diverges_says_so(build_base):
    builder = build_base("mlal.train", *[ending("train", "diverged")] * 3)
    _, node = run_get_node(builder)
    assert node.exit_status == 410
    assert "it diverged" in node.exit_message
    assert len(jobs(node)) == 3


@pytest.mark.parametrize("killed", [False, True])
def test_interrupted_training_goes_on_from_its_weights(build_base, dataset, killed):
    from aiida_mlal.ml.models.checkpoint import Checkpoint
    from aiida_mlal.ml.models.factory import ModelOptions

    first_weights = ModelOptions.parse(MODEL).build(["C", "Cu"], seed=9)
    partial = Checkpoint(first_weights, {"epochs": 3}).to_bytes()
    files = {} if killed else ending("train", "interrupted", epochs=3)
    files["potential.safetensors.begun" if killed else "potential.safetensors"] = partial
    _, node = run_get_node(build_base("mlal.train", files, training={"epochs": 4}))
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    first, second = jobs(node)
    assert first.exit_status == 420
    assert second.inputs.initial.uuid == first.outputs.potential.uuid
    assert second.inputs.initial.content == partial
    assert second.inputs.training.get_dict() == {"epochs": 1}


def test_training_interrupted_before_its_first_epoch_begins_again(build_base):
    builder = build_base("mlal.train", ending("train", "interrupted", epochs=0))
    _, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    first, second = jobs(node)
    assert second.base.caching.compute_hash() == first.base.caching.compute_hash()


@pytest.mark.parametrize(
    ("status", "code"), [("invalid_input", 310), ("internal_error", 311), ("out_of_memory", 320)]
)
def test_what_a_restart_cannot_change_ends_the_work(build_base, status, code):
    _, node = run_get_node(build_base("mlal.train", ending("train", status)))
    assert node.exit_status == code
    assert f"it {status}" in node.exit_message
    assert len(jobs(node)) == 1


def test_an_unknown_failure_aborts_by_default(build_base):
    _, node = run_get_node(build_base("mlal.train", {}))
    assert node.exit_status == 402
    assert jobs(node)[0].exit_status == 300


def test_wrong_options_are_found_before_submission(build_base):
    from aiida.engine.utils import instantiate_process
    from aiida.manage.manager import get_manager

    builder = build_base("mlal.train", training={"epochs": 1})
    builder.train.training = {"epoch": 1}
    with pytest.raises(ValueError, match="unknown option 'epoch', did you mean 'epochs'"):
        instantiate_process(get_manager().get_runner(), builder)


def left_of(relax, potential, structures, at=(1, 2)):
    """Return what is left of a simulation that is stopped at a run and step."""
    from aiida_mlal.ml.stopping import Interrupted

    def stop(**values):
        if (values["run"], values["step"]) == at:
            raise Interrupted("enough")

    with pytest.raises(Interrupted) as caught:
        relax.run(potential, structures, stop)
    return caught.value.computed


@pytest.mark.parametrize("killed", [False, True])
def test_interrupted_simulation_goes_on_and_gives_the_whole(
    build_base, potential, configurations, killed
):
    """The same as without interruption; a job that was killed left frames in parts, no result."""
    from aiida_mlal.ml.options import as_dict
    from aiida_mlal.ml.simulation.relax import Relax

    relax = Relax(fmax=1e-4, max_steps=4)
    structures = configurations[:3]
    whole = relax.run(potential, structures)
    left = left_of(relax, potential, structures)
    state, frames = left.checkpoint.to_bytes(), left.trajectory
    if killed:
        files = {
            "trajectory.frames": {
                "000000.safetensors": frames[:3].to_bytes(),
                "000001.safetensors": frames[3:].to_bytes(),
            },
        }
    else:
        files = {
            **ending("simulate", "interrupted", runs=[as_dict(run) for run in left.runs]),
            "trajectory.safetensors": frames.to_bytes(),
        }
    builder = build_base(
        "mlal.simulate",
        {**files, "state.safetensors": state},
        structures=DatasetData(structures),
        potential=PotentialData.from_potential(potential),
        simulation={"name": "relax", "fmax": 1e-4, "max_steps": 4},
    )
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    first, second = jobs(node)
    assert first.exit_status == 420
    assert second.inputs.structures.uuid == first.inputs.structures.uuid
    assert second.inputs.state.uuid == first.outputs.state.uuid
    assert second.inputs.state.base.attributes.get("run") == 1
    assert second.inputs.state.base.attributes.get("step") == 2
    assert "state" not in outputs

    trajectory: Configurations = outputs["trajectory"].configurations
    runs = outputs["results"]["runs"]
    assert [run["steps"] for run in runs] == [4, 4, 4]
    assert trajectory.to_bytes() == whole.trajectory.to_bytes()
    assert outputs["trajectory"].creator.process_label == "join"
    joined = outputs["trajectory"].creator.inputs
    assert joined.trajectory.uuid == first.outputs.trajectory.uuid
    assert joined.continuation.uuid == second.outputs.trajectory.uuid
