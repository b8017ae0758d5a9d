"""Energies of vacancies."""

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
from ase import Atoms

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.evaluator import Evaluated


@dataclass(frozen=True)
class Vacancy(CrystalProperty):
    """Formation energy of a vacancy; in a compound, of a Schottky set.

    The set is a vacancy of each atom of the formula unit, each alone in its supercell, so that the
    energy depends on no chemical potential. Of inequivalent sites of an element that of the lowest
    energy is taken. Supercells keep the shape and volume of the perfect crystal, and are neutral.

    Attributes
    ----------
    length
        Distance of opposite faces of the supercell in Å, at least.
    """

    length: float = 10.0

    def __post_init__(self) -> None:
        """Refuse a length that is none."""
        check_positive(self, "length")

    def of(self, crystal: Crystal) -> Found:
        """Take atoms out of a supercell, and relax the others."""
        perfect = crystal.supercell(self.length)
        unit = crystal.conventional
        counts = Counter(unit.symbols)
        formula = {e: n // reduce(gcd, counts.values()) for e, n in counts.items()}
        whole = crystal.energy_per_atom * len(perfect)
        cost: dict[str, list[float]] = {}
        frozen: dict[str, list[float]] = {}
        said = []
        for site in np.unique(crystal.symmetry.equivalent):
            element, before = unit.symbols[site], _without(perfect, site)
            at_once = crystal.evaluator.evaluate(before, "vacancy")
            after: Evaluated = crystal.evaluator.relax(before, "vacancy")
            if not after.converged:
                said.append(f"the vacancy of {element} is not relaxed: {after.fmax:.2g} eV/Å")
            cost.setdefault(element, []).append(after.energy - whole)
            frozen.setdefault(element, []).append(at_once.energy - whole)
        atoms_back = crystal.energy_per_atom * sum(formula.values())
        kind = "vacancy" if len(formula) == 1 else "schottky"
        numbers = {
            f"{kind}_energy_eV": sum(n * min(cost[e]) for e, n in formula.items()) + atoms_back,
            f"unrelaxed_{kind}_energy_eV": sum(n * min(frozen[e]) for e, n in formula.items())
            + atoms_back,
        }
        return Found({name: float(value) for name, value in numbers.items()}, warnings=said)


def _without(perfect: Atoms, site: int) -> Atoms:
    """Return a supercell without an atom of the unit cell; its first atoms are that cell's."""
    atoms = perfect.copy()
    del atoms[site]
    return atoms
