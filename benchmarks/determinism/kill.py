"""Kill a job of molecular dynamics again and again, and compare with one that was left in peace.

    python benchmarks/determinism/kill.py

A job is what a compute node runs, ``mlal run task.json``: 108 atoms of copper (Morse), 500 K by
Langevin, 30000 steps, a frame every 50 steps, a checkpoint every second. It is killed twice, each
time so many seconds after its first checkpoint, goes on in the same folder, and is left to end at
last. ``walltime`` is what schedulers do: SIGTERM, and SIGKILL a moment later. Numbers are written
to kill.md.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import STEP
from aiida_mlal.ml.models import checkpoint
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.simulation.state import Checkpoint

STEPS, SECONDS = 30000, 2.0
TASK = {
    "task": "simulate",
    "simulation": {"name": "md", "steps": STEPS, "every": 50, "temperature": 500.0,
                   "thermostat": "langevin"},
    "checkpoint_seconds": 1.0,
}  # fmt: skip
KINDS = {
    "SIGKILL": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "walltime": [signal.SIGTERM, signal.SIGKILL],
}


def begin(**more: object) -> subprocess.Popen[bytes]:
    """Begin a job in this folder."""
    Path("task.json").write_text(json.dumps({**TASK, **more}))
    command = [sys.executable, "-c", "from aiida_mlal.ml.cli import mlal; mlal()", "run"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, "task.json"], stdout=quiet, stderr=quiet)


def killed(name: str) -> list[str]:
    """Return what is told of a job that is killed twice."""
    more: dict[str, object] = {}
    steps = []
    for turn in range(2):
        Path("state.safetensors").unlink(missing_ok=True)
        job = begin(**more)
        while not Path("state.safetensors").exists() and job.poll() is None:
            time.sleep(0.02)
        time.sleep(SECONDS)
        for one in KINDS[name]:
            job.send_signal(one)
            time.sleep(0.05)
        job.wait()
        begun = f"begun{turn}.safetensors"
        Path("state.safetensors").rename(begun)
        steps.append(Checkpoint.load(begun).step)
        more = {"begun": begun}
        if Path("trajectory.safetensors").exists():
            earlier = f"earlier{turn}.safetensors"
            Path("trajectory.safetensors").rename(earlier)
            more["earlier"] = earlier
    begin(**more).wait()
    frames = Configurations.load("trajectory.safetensors")
    twice = len(STEP.of(frames)) - len(np.unique(STEP.of(frames)))
    same = frames.to_bytes() == Path("whole.safetensors").read_bytes()
    results = json.loads(Path("result.json").read_text())["runs"]
    same_end = results == json.loads(Path("whole.json").read_text())["runs"]
    told = f"| {name} | {steps} | {STEPS - steps[-1]} | {len(frames)} | {twice} | {same} |"
    return [f"{told} {same_end} |"]


if __name__ == "__main__":
    rows = [
        "| killed by | went on from steps | steps after that | frames | twice | trajectory the "
        "same to the bit | results the same |",
        "|---|---|---|---|---|---|---|",
    ]
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        atoms = bulk("Cu", cubic=True) * 3
        Configurations.from_ase(atoms).save("structures.safetensors")
        potential = single({"architecture": "morse", "cutoff": 5.0}, ["Cu"], 0)
        checkpoint.Checkpoint(potential).save("potential.safetensors")
        begin().wait()
        Path("trajectory.safetensors").rename("whole.safetensors")
        Path("result.json").rename("whole.json")
        for kind in KINDS:
            rows += killed(kind)
            print(rows[-1], flush=True)
    (here / "kill.md").write_text("\n".join(rows) + "\n")
