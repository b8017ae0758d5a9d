"""Metals and an alloy: errors of moment tensor potentials of level 16, and what training costs.

``python run.py [--system Mo] [--seed 0] [--ensemble 1] [--threads 1]`` trains by ``mlal train`` in
a temporary folder and adds a row to results.json and table.md. Times are CPU times of the process
and its children, and wall times; import and compilation are left out. The members of an ensemble
differ in their first weights alone, and are trained side by side on the cores that there are;
errors are then those of single members, mean and twice the standard deviation.

Mo, Cu and Ni: Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), the training sets of Cu and Ni those
of X.-G. Li et al., Phys. Rev. B 98, 094104 (2018), with their labels. Structures with a distance
below ``min_dist`` are left out of the training, as in the paper on MLIP, whose authors computed
labels of Mo of their own; so are those of the test set, which for Cu and Ni are among them.
The training set of Ni has no molecular dynamics, but 12 of the 31 structures of its test set have.
Stresses of Cu and Ni do not fit their energies and have no weight. CuPd: 523 structures of the
self-tests of MLIP-3, one in five at random as the test set.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.tasks.runner import execute

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("AIIDA_MLAL_SHARED", HERE.parents[2] / ".." / "shared"))

PAPER = {"Mo": "| Mo | paper, table 1 (its own labels) | | | | 5.54, 175, 0.46 | 5.10, 180, 0.46 |"}
"""RMSE in meV/atom, meV/Å by component, GPa by component."""


@dataclass(frozen=True)
class System:
    """Data and settings; without a test set one structure in five is one."""

    train: str
    test: str | None
    min_dist: float
    cutoff: float
    stress: float = 0.001


SYSTEMS = {
    "Mo": System("mlearn/Mo_train", "mlearn/Mo_test", 1.9, 5.2),
    "Cu": System("mlearn/Cu_snap2018_train", "mlearn/Cu_test", 1.8, 5.0, stress=0.0),
    "Ni": System("mlearn/Ni_snap2018_train_noAIMD", "mlearn/Ni_test", 1.7, 4.8, stress=0.0),
    "CuPd": System("mlip3_selftest/CuPd_523", None, 2.2, 5.0),
}


def read(name: str) -> Configurations:
    return files.read(SHARED / "data" / f"{name}.extxyz.xz")


def data(system: System) -> tuple[Configurations, Configurations]:
    train = read(system.train)
    if system.test is None:
        order = np.random.default_rng(0).permutation(len(train))
        cut = len(train) // 5
        return train[np.sort(order[cut:])], train[np.sort(order[:cut])]
    test = read(system.test)
    held_out = set(test.keys)
    good = [
        key not in held_out
        and not neighbours(atoms.positions, atoms.cell.array, atoms.pbc, system.min_dist)[0].size
        for key, atoms in zip(train.keys, train.to_ase())
    ]
    return train[np.flatnonzero(good)], test


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


def of_members(members: list[Potential], known: Configurations) -> dict[str, list[float]]:
    found = [errors(member, known) for member in members]
    return {name: [one[name] for one in found] for name in found[0]}


def cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def table(rows: list[dict[str, Any]]) -> str:
    heads = "system", "run", "loss", "CPU s", "wall s", "train: E, F, stress", "test: E, F, stress"
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in SYSTEMS:
        for row in rows:
            if row["system"] == name:
                lines.append("| " + " | ".join(_cells(row)) + " |")
        lines += [PAPER[name]] if name in PAPER else []
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    members = len(row["loss"])
    what = f"seed {row['seed']}" + (f", {members} members" if members > 1 else "")
    what += f", {row['threads']} threads" if row.get("threads", 1) > 1 else ""
    found = [row["system"], f"{what}, {max(row['epochs'])} steps", f"{min(row['loss']):.5f}"]
    found += [f"{row['cpu_s']:.0f}", f"{row['wall_s']:.0f}" if "wall_s" in row else ""]
    for part in ("train", "test"):
        values = [
            f"{np.mean(v):.2f}" + (f" ± {2 * np.std(v, ddof=1):.2f}" if members > 1 else "")
            for v in row[part].values()
        ]
        found.append(", ".join(values))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=SYSTEMS, default="Mo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    system = SYSTEMS[given.system]
    train, test = data(system)
    model = {"architecture": "mtp", "level": 16, "radial_basis_size": 8, "ensemble": given.ensemble}
    model |= {"min_dist": system.min_dist, "cutoff": system.cutoff}
    training = {
        "epochs": 200,
        "optimizer": {"name": "variable_projection"},
        "loss": {"energy": 1, "force": 0.01, "stress": system.stress, "scaling": "vibrations"},
        "bootstrap": False,
        "threads": given.threads,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        train[[0]].save("one.safetensors")
        train.save("dataset.safetensors")
        task = {"task": "train", "model": model, "training": training, "seed": given.seed}
        short = {**task, "training": {**training, "epochs": 2}, "model": {**model, "ensemble": 1}}
        execute({**short, "dataset": "one.safetensors"})  # compiles
        begin, wall = cpu(), time.perf_counter()
        result = execute(task)
        seconds = {"cpu_s": cpu() - begin, "wall_s": time.perf_counter() - wall}
        if result["status"] != "ok":
            raise SystemExit(result["message"])
        potential = load_potential("potential.safetensors")
        os.chdir(HERE)
    members = list(potential.members) if isinstance(potential, Ensemble) else [potential]
    curves = [[2 * loss / len(train) for loss in curve["train"]] for curve in result["curves"]]
    row = {
        "system": given.system,
        "seed": given.seed,
        "threads": given.threads,
        "structures": [len(train), len(test)],
        "epochs": [len(curve) for curve in curves],
        "loss": [curve[-1] for curve in curves],
        **{name: round(value, 1) for name, value in seconds.items()},
        "train": of_members(members, train),
        "test": of_members(members, test),
        "curves": curves,
    }
    print(json.dumps({key: value for key, value in row.items() if key != "curves"}))
    path = HERE / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows.append(row)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "table.md").write_text(table(rows))


if __name__ == "__main__":
    main()
