"""Crystals of a pair potential whose properties are known in closed form, and of EMT."""

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.evaluator import Evaluator, Relaxation


@dataclass(frozen=True)
class Bonds:
    """An fcc crystal of Lennard-Jones atoms that see their nearest neighbours alone.

    At equilibrium all bonds have the length ``d`` (Å) where their energy is lowest, so that each
    costs ``energy`` (eV), and has the ``curvature`` (eV/Å²).
    """

    d: float = 2.6
    epsilon: float = 0.5

    @property
    def calculator(self) -> LennardJones:
        return LennardJones(
            sigma=self.d / 2 ** (1 / 6), epsilon=self.epsilon, rc=1.2 * self.d, smooth=False
        )

    @property
    def curvature(self) -> float:
        return 72 * self.epsilon / self.d**2

    @property
    def energy(self) -> float:
        """What it costs to break a bond: the potential is shifted to vanish at its cutoff."""
        return self.epsilon * (1 - (2 / 1.2**6 - 1 / 1.2**12))

    def crystal(self, **options) -> Crystal:
        return crystal_of(bulk("Cu", a=np.sqrt(2) * self.d * 1.01, **options), self.calculator)


def crystal_of(atoms: Atoms, calculator=None, **relaxation) -> Crystal:
    evaluator = Evaluator(calculator or EMT(), Relaxation(**relaxation))
    return Crystal.at_equilibrium(atoms, evaluator)


@pytest.fixture(scope="session")
def bonds():
    return Bonds()


@pytest.fixture(scope="session")
def fcc(bonds):
    return bonds.crystal()


@pytest.fixture(scope="session")
def equilibrate():
    return crystal_of
