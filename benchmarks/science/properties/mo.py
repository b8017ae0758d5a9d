"""Molybdenum: table 2 and figure 4 of the paper on MLIP, with the labels of Zuo et al.

``python mo.py [--level 16] [--potential FILE]`` trains five moment tensor potentials as
``../mtp_fit/run.py`` does, which differ in their first weights alone, and computes lattice and
elastic constants by ``mlal properties`` with strains of 2 % as in the paper, and E(V). Writes
mo.md, mo.json and mo.png.

Paper: Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), whose authors computed labels
of their own. The DFT of these labels: stresses of the strained cells in the data, fitted.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk
from ase.units import GPa

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.properties.spread import interval95
from aiida_mlal.ml.tasks.base import plain
from aiida_mlal.ml.tasks.runner import execute

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "mtp_fit"))
from run import SYSTEMS, data, read  # noqa: E402

PAPER = {
    "a_A": (3.15928, 0.00097, 3.15918),
    "C11_GPa": (466, 22, 472),
    "C12_GPa": (161, 20, 154),
    "C44_GPa": (98, 14, 95),
}
"""MTP, its 95 % interval, DFT of the paper."""


def of_data() -> dict[str, float]:
    """Fit the stresses of cells among the labels that are strained by up to 2 %."""
    every = read(SYSTEMS["Mo"].train)
    described = every.info["description"].astype(str)
    rest = every[int(np.flatnonzero(described == "Mo 3x3x3 cell relaxed")[0])]
    strained = every[np.flatnonzero(np.char.find(described, "strain") >= 0)]
    undone = np.linalg.inv(3 * rest.cells[0])
    rows, values = [], []
    for cell, stress in zip(strained.cells, strained.stresses):
        gradient = undone @ cell
        e = (gradient + gradient.T) / 2 - np.eye(3)
        if np.abs(e).max() > 0.021:
            continue
        s = (stress - rest.stresses[0]) / GPa
        for i in range(3):
            rows.append([e[i, i], np.trace(e) - e[i, i], 0])
            values.append(s[i, i])
        for i, j in ((1, 2), (0, 2), (0, 1)):
            rows.append([0, 0, 2 * e[i, j]])
            values.append(s[i, j])
    c = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return {"a_A": rest.cells[0, 0, 0], "C11_GPa": c[0], "C12_GPa": c[1], "C44_GPa": c[2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--level", type=int, default=16)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--potential", type=Path, help="Trained before; made if it isn't there.")
    given = parser.parse_args()
    kept = given.potential and given.potential.absolute()
    system = SYSTEMS["Mo"]
    train, _ = data(system)
    model = {"architecture": "mtp", "level": given.level, "radial_basis_size": 8}
    model |= {"ensemble": given.members, "min_dist": system.min_dist, "cutoff": system.cutoff}
    training = {
        "epochs": 200,
        "optimizer": {"name": "variable_projection"},
        "loss": {"energy": 1, "force": 0.01, "stress": 0.001, "scaling": "vibrations"},
        "bootstrap": False,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        train.save("dataset.safetensors")
        if kept and kept.exists():
            shutil.copy(kept, "potential.safetensors")
        else:
            trained = execute({"task": "train", "model": model, "training": training, "seed": 0})
            if trained["status"] != "ok":
                raise SystemExit(trained["message"])
            if kept:
                shutil.copy("potential.safetensors", kept)
        Configurations.from_ase(bulk("Mo")).save("structures.safetensors")
        begin = time.process_time()
        wanted = [
            {"name": "lattice"},
            {"name": "equation_of_state"},
            {"name": "elastic", "strain": 0.02},
            {"name": "cold_curve", "shortest": 0.85, "longest": 1.15, "n": 31},
        ]
        found = execute({"task": "properties", "properties": wanted})
        seconds = time.process_time() - begin
        curves = json.loads(Path("properties.curves.json").read_text())
        os.chdir(HERE)
    (row,) = found["structures"]
    data_of = of_data()
    lines = [
        "| | mean | members | 95 %, Student | 2 s | DFT of the labels | paper: MTP | paper: DFT |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (paper, spread, dft) in PAPER.items():
        part = row["lattice" if name == "a_A" else "elastic"][name]
        digits = 5 if name == "a_A" else 1
        values = ", ".join(f"{v:.{digits}f}" for v in part["members"])
        lines.append(
            f"| {name.replace('_', ', ').replace(', A', ', Å')} | {part['value']:.{digits}f} | "
            f"{values} | ± {part['interval95']:.{digits}f} | "
            f"± {2 * np.std(part['members'], ddof=1):.{digits}f} | {data_of[name]:.{digits}f} | "
            f"{paper} ± {spread} | {dft} |"
        )
    text = "\n".join(lines) + f"\n\nLevel {given.level}; properties took {seconds:.1f} s of CPU "
    text += f"for {given.members} members. Warnings: {found['message'] or 'none'}.\n"
    (HERE / "mo.md").write_text(text)
    (HERE / "mo.json").write_text(json.dumps(plain({"level": given.level, **row}), indent=1) + "\n")
    draw(curves)
    print(text)


def draw(curves: dict) -> None:
    volumes = np.array(curves["s0_cold_curve_volume_A3_per_atom"])
    energies = np.array(curves["s0_cold_curve_energy_eV_per_atom"])
    mean = energies.mean(axis=0)
    half = interval95(list(energies))
    figure, axes = plt.subplots(figsize=(5, 3.6), constrained_layout=True)
    x = volumes.mean(axis=0)
    axes.fill_between(x, mean - half, mean + half, alpha=0.3, lw=0, label="95 %, Student")
    axes.plot(x, mean, label="mean of five potentials")
    axes.set_xlabel("volume, Å³/atom")
    axes.set_ylabel("energy, eV/atom")
    axes.legend(frameon=False)
    figure.savefig(HERE / "mo.png", dpi=150)


if __name__ == "__main__":
    main()
