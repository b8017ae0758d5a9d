"""Rattled structures, mostly with labels of EMT."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations


def rattled(atoms: Atoms, n: int = 8, kick: float = 0.1, strain: float = 0.0) -> Configurations:
    """Return structures whose atoms moved by some ``kick`` Å, each larger by ``strain``."""
    frames = []
    for seed in range(n):
        one = atoms.copy()
        one.set_cell(one.cell * (1 + strain * seed), scale_atoms=strain > 0)
        one.rattle(kick, seed=seed)
        one.calc = EMT()
        one.get_forces()
        if one.pbc.all():
            one.get_stress()
        frames.append(one)
    return Configurations.from_ase(frames)


def alloys(n: int, seed: int = 0, labelled: bool = False) -> Configurations:
    """Return cells of AgPd of other lattice constants and orders."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Pd", "fcc", rng.uniform(3.9, 4.1), cubic=True)
        atoms.symbols[rng.permutation(4)[:2]] = "Ag"
        atoms.rattle(0.1, rng=rng)
        if labelled:
            atoms.calc = EMT()
            atoms.get_stress()
        frames.append(atoms)
    return Configurations.from_ase(frames)
