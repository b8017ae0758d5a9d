"""Hashes of all that tasks of a campaign compute, with cold and warm caches, on 1 core and more.

Labels by EMT, training, relaxations, a query and an evaluation, in a process of their own for each
setting: ``python tasks.py``. Lines of a model must be equal.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = {
    "bpnn x 2 on morse": {
        "architecture": "bpnn",
        "cutoff": 4.0,
        "hidden": [8],
        "prior": {"architecture": "morse"},
        "ensemble": 2,
    },
    "mtp on zbl": {"architecture": "mtp", "level": 6, "prior": {"architecture": "zbl"}},
    "gmnn": {"architecture": "gmnn", "hidden": [16]},
}


def campaign(name: str) -> None:
    from ase.build import bulk

    from aiida_mlal.ml.configurations import Configurations
    from aiida_mlal.ml.tasks.runner import execute

    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        atoms.rattle(0.15, seed=seed)
        frames.append(atoms)
    Path("structures.safetensors").write_bytes(Configurations.from_ase(frames).to_bytes())
    training = {"epochs": 10}
    tasks = [
        {
            "task": "label",
            "calculator": {"name": "emt"},
            "dataset": "structures.safetensors",
            "output": "dataset.safetensors",
        },
        {"task": "train", "model": MODELS[name], "training": training},
        {"task": "simulate", "simulation": {"name": "relax", "max_steps": 15}},
        {
            "task": "select",
            "pool": "trajectory.safetensors",
            "train": None,
            "strategy": {"name": "random", "n": 4},
        },
        {"task": "evaluate"},
    ]
    engines = set()
    for task in tasks:
        result = execute({"version": 1, **task})
        if result["status"] != "ok":
            raise SystemExit(f"{task['task']}: {result['message']}")
        engines |= {e for run in result.get("runs", [result]) for e in run.get("engines", [])}
    hashes = [
        f"{path.stem} {hashlib.sha256(path.read_bytes()).hexdigest()[:10]}"
        for path in sorted(Path().glob("*.safetensors"))
    ]
    print(*hashes, *sorted(engines), sep="  ")


def main() -> None:
    settings = {"cold, all cores": False, "warm, all cores": False, "warm, one core": True}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as cache:
            for setting, one_core in settings.items():
                environment = {k: v for k, v in os.environ.items() if "_NUM_THREADS" not in k}
                command = [sys.executable, str(Path(__file__).resolve()), name]
                command = ["taskset", "-c", "0", *command] if one_core else command
                with tempfile.TemporaryDirectory() as folder:
                    done = subprocess.run(
                        command,
                        env=environment | {"NUMBA_CACHE_DIR": cache},
                        cwd=folder,
                        capture_output=True,
                        text=True,
                    )
                said = done.stdout.strip() or done.stderr[-500:]
                print(f"{name:18s} {setting:16s} {said}", flush=True)


if __name__ == "__main__":
    campaign(sys.argv[1]) if len(sys.argv) > 1 else main()
