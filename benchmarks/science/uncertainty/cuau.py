"""Cells of eight atoms of CuAu, labelled by SevenNet-0: ``cuau_train`` and ``cuau_pool.extxyz``.

Learned from: 20 of equal shares at one volume, in random order, rattled by 0.08 Å. Asked about:
scales of 0.9 to 1.1, rattles of 0.04 to 0.35 Å, and 0, 2, 6 and 8 atoms of gold, two of each.
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from sevenn.calculator import SevenNetCalculator

HERE = Path(__file__).parent
RNG = np.random.default_rng(1)
CALCULATOR = SevenNetCalculator("7net-0", device="cpu")


def cell(a: float, n_gold: int, rattle: float, **info: float) -> Atoms:
    atoms = bulk("Cu", "fcc", a=a, cubic=True) * (2, 1, 1)
    names = np.array(["Cu"] * len(atoms))
    names[RNG.permutation(len(atoms))[:n_gold]] = "Au"
    atoms.symbols = list(names)
    atoms.positions += RNG.normal(0, rattle, atoms.positions.shape)
    atoms.calc = CALCULATOR
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info.update(info)
    return atoms


if __name__ == "__main__":
    write(HERE / "cuau_train.extxyz", [cell(3.85, 4, 0.08) for _ in range(20)])
    scales = (0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1)
    pool = [cell(3.85 * s, 4, 0.08, scale=s) for s in scales for _ in range(2)]
    pool += [cell(3.85, 4, r, rattle=r) for r in (0.04, 0.15, 0.25, 0.35) for _ in range(2)]
    pool += [cell(3.85, n, 0.08, au=n) for n in (2, 6, 0, 8) for _ in range(2)]
    write(HERE / "cuau_pool.extxyz", pool)
