"""Deviations of Gaussian processes far from labels of SevenNet-0, against the errors of forces.

    python far.py [SET ...]

Learned from: rattles of a structure at one volume (copper: those of ``tests/ml/uncertainty``).
Asked about: other volumes and strains, larger rattles; adsorbates at other heights. Models are
those of the recipes. The table is written to ``far.md``, where all sets are asked for.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from run import ROOT, force_errors, judged
from sevenn.calculator import SevenNetCalculator

from aiida_mlal import protocols
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd

HERE = Path(__file__).parent
CALCULATOR = SevenNetCalculator("7net-0", device="cpu")
SCALES = (0.9, 0.94, 0.97, 0.985, 1.0, 1.0, 1.0, 1.015, 1.03, 1.06, 1.1)
WRONG = 0.5
"""Error of forces, in eV/Å, that the certain half should not have."""

Parts = tuple[list[Atoms], list[Atoms]]


def labelled(frames: list[Atoms]) -> Configurations:
    """Label structures by SevenNet-0, with stresses where they are periodic."""
    found = []
    for one in frames:
        atoms = one.copy()
        atoms.calc = CALCULATOR
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if atoms.pbc.all():
            results["stress"] = atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return Configurations.from_ase(found)


def rattled(atoms: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    moved = atoms.copy()
    moved.positions += rng.normal(0, width, moved.positions.shape)
    return moved


def crystal(atoms: Atoms, seed: int) -> Parts:
    """Ten rattles at one volume; other volumes, rattles to 0.4 Å, and strains of all kinds."""
    rng, width = np.random.default_rng(seed), 0.08
    train = [rattled(atoms, width * (0.3 + 0.7 * rng.random()), rng) for _ in range(10)]
    pool = []
    for scale in np.repeat(SCALES, 2):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * scale, scale_atoms=True)
        pool.append(rattled(strained, width * (0.5 + rng.random()), rng))
    pool += [rattled(atoms, larger, rng) for larger in (0.15, 0.2, 0.25, 0.3, 0.35, 0.4)]
    for _ in range(4):
        strained, strain = atoms.copy(), rng.normal(0, 0.04, (3, 3))
        cell = atoms.cell @ (np.eye(3) + (strain + strain.T) / 2)
        strained.set_cell(cell, scale_atoms=True)
        pool.append(rattled(strained, width, rng))
    return train, pool


def copper() -> Parts:
    folder = ROOT / "tests" / "ml" / "uncertainty"
    train, pool = (read(folder / f"cu_{part}.extxyz").to_ase() for part in ("train", "pool"))
    return train, pool


def copper_palladium() -> Parts:
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.symbols[[1, 2]] = "Pd"
    return crystal(atoms, 3)


def adsorbate() -> Parts:
    rng = np.random.default_rng(5)
    slab = fcc100("Cu", (2, 2, 2), a=3.63, vacuum=6, periodic=True)

    def at(height: float, width: float) -> Atoms:
        atoms = slab.copy()
        add_adsorbate(atoms, "O", height, "hollow")
        return rattled(atoms, width, rng)

    heights = (-0.2, 0.2, 0.5, 0.8, 1.0, 1.3, 1.7, 2.2, 2.8)
    train = [at(0.9 + 0.1 * rng.random(), 0.05) for _ in range(8)]
    return train, [at(height, width) for height in heights for width in (0.04, 0.1, 0.2)]


def methanol() -> Parts:
    rng, atoms = np.random.default_rng(5), molecule("CH3OH")
    atoms.center(5)
    train = [rattled(atoms, 0.04, rng) for _ in range(8)]
    return train, [rattled(atoms, width, rng) for width in np.linspace(0.02, 0.25, 24)]


SETS = {
    "Cu": copper,
    "CuPd": copper_palladium,
    "NaCl": lambda: crystal(bulk("NaCl", "rocksalt", a=5.69, cubic=True), 0),
    "Al": lambda: crystal(bulk("Al", cubic=True, a=4.04), 1),
    "Mg": lambda: crystal(bulk("Mg", "hcp", a=3.19, c=5.21) * (2, 2, 1), 2),
    "Si": lambda: crystal(bulk("Si", cubic=True, a=5.46), 4),
    "O on Cu(100)": adsorbate,
    "methanol": methanol,
}
FIXED = ("O on Cu(100)", "methanol")
"""Those whose cell is none that moves."""


def row(name: str, train: Configurations, pool: Configurations, recipe: str, cell: str) -> str:
    """Train a model of a recipe, and compare its deviations with its errors."""
    given = protocols.inputs(recipe, None, {}, "moving_cell" if cell == "moving" else None)
    options = ModelOptions.parse(given["model"])
    potential = options.build(train.elements, 0, train)
    fit(potential, train, options.training(given["training"]), 0)
    carry(potential, {"name": "gp_std"}, train)
    errors = force_errors(potential, pool)
    values = ProcessForceStd().measure(potential, pool).values
    found, wrong = judged(values, errors), errors > WRONG
    least = f"{values[wrong].min():.2f}" if wrong.any() else "–"
    order = np.sort(errors)[: len(errors) // 2].max()
    return (
        f"| {name} | `{recipe}`, {cell} | {found['spearman']:.2f} | {found['worst']:.2f} | "
        f"{order:.2f} | {(errors <= values).mean():.2f} | {(errors / values).max():.1f} | "
        f"{wrong.sum()} of {len(errors)}, {least} |"
    )


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    asked = sys.argv[1:] or list(SETS)
    rows = [
        "| structures | model of, cell | rank | worst of the certain half (eV/Å) | "
        "order of errors | errors within one deviation | largest error in deviations | "
        "errors above 0.5 eV/Å, least deviation of these |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in asked:
        train, pool = map(labelled, SETS[name]())
        cells = ("fixed",) if name in FIXED else ("fixed", "moving")
        for recipe in ("gp", "online"):
            for cell in cells:
                rows.append(row(name, train, pool, recipe, cell))
                print(rows[-1], flush=True)
    if asked == list(SETS):
        (HERE / "far.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
