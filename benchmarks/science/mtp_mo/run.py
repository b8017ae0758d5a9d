"""Mo of table 1 of the paper on MLIP: errors of a potential of level 16, and what training costs.

``python run.py [SEED]`` trains one potential by ``mlal train`` in a temporary folder and adds a row
to results.json and table.md. Times are CPU times of the whole process, import and compilation left
out. The data are those of Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), with their labels; the
paper's authors computed their own. Structures with a distance below 1.9 Å are left out, as in the
paper.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.tasks.runner import execute

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("AIIDA_MLAL_SHARED", HERE.parents[2] / ".." / "shared"))
MODEL = {
    "architecture": "mtp",
    "level": 16,
    "radial_basis_size": 8,
    "min_dist": 1.9,
    "cutoff": 5.2,
}
TRAINING = {
    "epochs": 200,
    "optimizer": {"name": "variable_projection"},
    "loss": {"energy": 1, "force": 0.01, "stress": 0.001, "scaling": "vibrations"},
}
PAPER = "paper, table 1 (its own labels) | | | 5.54, 175, 0.46 | 5.10, 180, 0.46"
"""RMSE in meV/atom, meV/Å by component, GPa by component."""


def read(name: str) -> Configurations:
    found = files.read(SHARED / "data" / "mlearn" / f"Mo_{name}.extxyz.xz")
    far = [not neighbours(a.positions, a.cell.array, a.pbc, 1.9)[0].size for a in found.to_ase()]
    return found[np.flatnonzero(far)]


def errors(potential: Potential, known: Configurations) -> dict[str, float]:
    """Equations 8 to 10 of the paper: meV/atom, meV/Å by component, GPa by component of nine."""
    said = potential.predict(known)
    energies = (said.energies - known.energies) / known.counts
    pairs = {
        "energy_meV": 1e3 * energies,
        "force_meV": 1e3 * (said.forces - known.forces),
        "stress_GPa": (said.stresses - known.stresses) / GPa,
    }
    return {name: round(float(np.sqrt(np.mean(e**2))), 3) for name, e in pairs.items()}


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| run | loss | CPU s | train: E, F, stress | test: E, F, stress |", "|" + "---|" * 5]
    for row in rows:
        cells = [f"seed {row['seed']}, {row['epochs']} steps", f"{row['loss']:.5f}", row["cpu_s"]]
        cells += [", ".join(f"{v:.2f}" for v in row[part].values()) for part in ("train", "test")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, f"| {PAPER} |"]) + "\n"


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    train, test = read("train"), read("test")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        train[[0]].save("one.safetensors")
        train.save("dataset.safetensors")
        task = {"task": "train", "model": MODEL, "training": TRAINING, "seed": seed}
        short = {**TRAINING, "epochs": 2}
        execute({**task, "dataset": "one.safetensors", "training": short})  # compiles
        begin, wall = time.process_time(), time.perf_counter()
        result = execute(task)
        seconds = {"cpu_s": time.process_time() - begin, "wall_s": time.perf_counter() - wall}
        if result["status"] != "ok":
            raise SystemExit(result["message"])
        potential = load_potential("potential.safetensors")
    row = {
        "seed": seed,
        "epochs": result["epochs"],
        "loss": 2 * result["curves"][0]["train"][-1] / len(train),
        **{name: round(value, 1) for name, value in seconds.items()},
        "train": errors(potential, train),
        "test": errors(potential, test),
        "curve": [2 * loss / len(train) for loss in result["curves"][0]["train"]],
    }
    print(json.dumps(row))
    path = HERE / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows.append(row)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "table.md").write_text(table(rows))


if __name__ == "__main__":
    main()
