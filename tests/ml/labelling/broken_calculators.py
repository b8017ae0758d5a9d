"""Calculators that fail, for tests."""

from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, SCFError, all_changes
from ase.calculators.emt import EMT

builds = []


class ConvergenceError(RuntimeError):
    """As other codes call it."""


class Fragile(Calculator):
    """Copper fails in a way that the number of atoms tells; afterwards it is of no use."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, **options):
        super().__init__()
        self.broken = False
        builds.append(options)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        problems = {
            2: SCFError("no convergence in 60 cycles"),
            3: ConvergenceError("density"),
            4: TypeError("a bug in the code"),
        }
        if self.broken:
            raise RuntimeError("left broken by the structure before")
        if len(atoms) in problems:
            self.broken = True
            raise problems[len(atoms)]
        if len(atoms) == 7:
            raise KeyboardInterrupt
        shape = (1, 3) if len(atoms) == 5 else (len(atoms), 3)
        energy = np.nan if len(atoms) == 6 else -1.0 * len(atoms)
        self.results = {"energy": energy, "forces": np.zeros(shape)}


class Smeared(Calculator):
    """Forces belong to the free energy."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -1.0, "free_energy": -2.0, "forces": np.zeros((len(atoms), 3))}


def emt(**options):
    return EMT(**options)


def nonsense():
    return "not a calculator"
