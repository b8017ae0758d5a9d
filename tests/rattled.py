"""Rattled structures with labels of EMT."""

from ase import Atoms
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
