import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.continuation import join
from aiida_mlal.ml.simulation.state import Checkpoint
from aiida_mlal.ml.tasks.runner import execute

TASK = {"task": "simulate", "simulation": {"name": "relax", "fmax": 0.01, "max_steps": 50}}

SLOW = """
import time
from aiida_mlal.ml.simulation.recorder import Recorder
from aiida_mlal.ml.tasks.runner import run_file

keep = Recorder.__call__

def slowly(self, frame):
    time.sleep(0.02)
    keep(self, frame)

Recorder.__call__ = slowly
run_file("task.json")
"""

MLAL = "from aiida_mlal.ml.cli import mlal; mlal()"


def test_relaxes_every_structure(start, potential):
    result = execute(TASK)
    assert result["status"] == "ok", result
    trajectory = Configurations.load("trajectory.safetensors")
    assert [run["converged"] for run in result["runs"]] == [True, True]
    assert sorted(set(trajectory.info["run"])) == [0, 1]
    assert len(trajectory) == sum(run["steps"] + 1 for run in result["runs"])
    last = trajectory[np.flatnonzero(trajectory.info["run"] == 1)[-1]]
    assert potential.predict(last).max_forces[0] < 0.01


def test_predictions_are_no_labels(start, potential):
    execute(TASK)
    trajectory = Configurations.load("trajectory.safetensors")
    assert np.isnan(trajectory.energies).all()
    assert np.isfinite(trajectory.info["predicted_energy"]).all()
    assert len(trajectory.learnable) == 0


def test_a_guard_that_stops_it_is_no_error(start, potential):
    simulation = {**TASK["simulation"], "guard": {"break": 1e-6}}
    result = execute({**TASK, "simulation": simulation})
    assert result["status"] == "ok"
    assert [run["reason"] for run in result["runs"]] == ["uncertain", "uncertain"]


def test_elements_that_the_potential_does_not_know(start, potential, folder):
    start.__class__.from_ase([a.__class__("Ag2", a.positions[:2]) for a in start.to_ase()]).save(
        "structures.safetensors"
    )
    result = execute(TASK)
    assert result["status"] == "invalid_input"
    assert "['Ag']" in result["message"]


def test_a_missing_potential_is_explained(start, folder):
    result = execute(TASK)
    assert result["status"] == "invalid_input"
    assert result["message"] == "there is no file potential.safetensors"


def test_what_was_simulated_before_an_interrupt_is_kept(start, potential, folder):
    many = Configurations.concatenate([start] * 2)
    many.save("structures.safetensors")
    simulation = {"name": "relax", "fmax": 1e-30, "max_steps": 1000000}
    (folder / "task.json").write_text(json.dumps({**TASK, "simulation": simulation}))
    process = subprocess.Popen(
        [sys.executable, "-c", MLAL, "run", "task.json"], stderr=subprocess.PIPE
    )
    try:
        begin = time.monotonic()
        while time.monotonic() - begin < 120 and not (folder / "progress.json").exists():
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert "go on from (option 'begun') in state.safetensors" in result["message"]
    trajectory = Configurations.load("trajectory.safetensors")
    assert len(trajectory) == sum(run["steps"] + 1 for run in result["runs"])
    assert result["runs"][-1]["reason"] == "interrupted"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    "simulation",
    [
        {"name": "relax", "fmax": 1e-30, "max_steps": 300, "optimizer": "fire"},
        {"name": "md", "steps": 300, "every": 3, "temperature": 300.0, "thermostat": "bussi"},
    ],
)
def test_a_job_that_was_stopped_or_killed_goes_on(start, potential, folder, sent, simulation):
    """Its frames and the later ones are those of a job that was left in peace."""
    task = {**TASK, "simulation": simulation, "checkpoint_seconds": 0.2}
    whole = execute(task)
    assert whole["status"] == "ok", whole
    assert not (folder / "state.safetensors").exists()
    assert not (folder / "trajectory.frames").exists()
    (folder / "trajectory.safetensors").rename("whole.safetensors")

    slow = folder / "slow.py"
    slow.write_text(SLOW)
    (folder / "task.json").write_text(json.dumps(task))
    process = subprocess.Popen([sys.executable, slow], stderr=subprocess.PIPE)
    try:
        begin = time.monotonic()
        while time.monotonic() - begin < 120 and not (folder / "state.safetensors").exists():
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(sent)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    checkpoint = Checkpoint.load("state.safetensors")
    assert 0 < checkpoint.step < 300
    (folder / "state.safetensors").rename("begun.safetensors")
    task["begun"] = "begun.safetensors"
    if sent == signal.SIGKILL:  # its frames are in the folder of parts
        assert not (folder / "result.json").exists()
    else:
        assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
        refused = execute(task)
        assert "trajectory.safetensors is there, maybe with the frames before" in refused["message"]
        later = execute({**task, "output": "later.safetensors"})
        assert later["runs"] == whole["runs"]
        frames = [Configurations.load(f"{name}.safetensors") for name in ("trajectory", "later")]
        joined = join(frames[0], checkpoint, frames[1])
        assert joined.to_bytes() == (folder / "whole.safetensors").read_bytes()
        task["earlier"] = "trajectory.safetensors"
    rest = execute(task)
    assert rest["status"] == "ok"
    assert rest["runs"] == whole["runs"]
    assert (folder / "trajectory.safetensors").read_bytes() == (
        folder / "whole.safetensors"
    ).read_bytes()
    assert not (folder / "trajectory.frames").exists()


def test_a_state_of_other_simulations_is_refused(start, potential, folder):
    state = Checkpoint("of another system")
    (folder / "begun.safetensors").write_bytes(state.to_bytes())
    result = execute({**TASK, "begun": "begun.safetensors"})
    assert result["status"] == "invalid_input"
    assert result["message"].startswith("begun.safetensors: the state is that of simulations from")
    (folder / "begun.safetensors").write_bytes(start.to_bytes())
    result = execute({**TASK, "begun": "begun.safetensors"})
    assert "expected a file of aiida-mlal/simulation" in result["message"]


def test_a_result_says_where_it_went_on_from(start, potential, folder):
    start[:1].save("structures.safetensors")
    md = {"name": "md", "steps": 4}
    whole = execute({**TASK, "simulation": md, "keep_state": True})
    assert "went_on_from" not in whole
    (folder / "state.safetensors").rename("begun.safetensors")
    task = {**TASK, "begun": "begun.safetensors", "output": "later.safetensors"}
    longer = execute({**task, "simulation": {**md, "steps": 8}})
    assert longer["went_on_from"] == {"run": 0, "step": 4, "other_potential": False}
    assert longer["runs"][0]["steps"] == 8
    refused = execute({**task, "simulation": {**md, "steps": 2}})
    assert refused["message"].startswith("begun.safetensors: the state is that of step 4 of run 0")


def test_a_state_that_was_given_stays_whatever_its_name(start, potential, folder):
    start[:1].save("structures.safetensors")
    md = {"name": "md", "steps": 4}
    execute({**TASK, "simulation": md, "keep_state": True})
    task = {**TASK, "begun": "state.safetensors", "output": "later.safetensors"}
    assert execute({**task, "simulation": {**md, "steps": 8}})["status"] == "ok"
    assert Checkpoint.load("state.safetensors").step >= 4


def test_what_was_computed_is_written_whatever_happens(start, potential, folder, monkeypatch):
    from aiida_mlal.ml.simulation.relax import Relax

    def fail(self, atoms, found=Relax._is_relaxed):
        fail.calls += 1
        if fail.calls == 4:
            raise TypeError("a bug")
        return found(self, atoms)

    fail.calls = 0
    monkeypatch.setattr(Relax, "_is_relaxed", fail)
    result = execute({**TASK, "simulation": {"name": "relax", "fmax": 1e-9}})
    assert (result["status"], result["message"]) == (
        "internal_error",
        "simulation 'relax' failed: TypeError: a bug; frames are in trajectory.safetensors, and "
        "the state to go on from (option 'begun') in state.safetensors",
    )
    assert result["runs"][0]["steps"] == 2
    assert len(Configurations.load("trajectory.safetensors")) == 3
    assert Checkpoint.load("state.safetensors").step == 2


@pytest.mark.parametrize("output", ["path.extxyz", "path.safetensors"])
def test_output_in_a_format_of_choice(start, potential, folder, output):
    execute({**TASK, "output": output})
    assert (folder / output).exists()


def test_constraints_that_would_not_be_kept_are_named_with_file_and_structure(start, potential):
    dataset = Configurations.load("structures.safetensors")
    bad = dataset.with_info(constraints_not_kept=["", "FixBondLengths"])
    bad.save("structures.safetensors")
    result = execute(TASK)
    assert result["status"] == "invalid_input"
    assert result["message"].startswith("structures.safetensors: structure 1 (")
    assert "its constraints FixBondLengths would not be kept" in result["message"]
