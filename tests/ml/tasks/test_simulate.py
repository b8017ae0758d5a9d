import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute

TASK = {"task": "simulate", "simulation": {"name": "relax", "fmax": 0.01, "max_steps": 50}}

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
    trajectory = Configurations.load("trajectory.safetensors")
    assert len(trajectory) == sum(run["steps"] + 1 for run in result["runs"])
    assert result["runs"][-1]["reason"] == "interrupted"


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
