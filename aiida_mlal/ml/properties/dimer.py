"""Energies of pairs of atoms alone."""

from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.cold_curve import holes
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.minimum import minimum

PRECISE = 1e-4
"""To which the distance of the lowest energy is found, in Å."""


@dataclass(frozen=True)
class Dimer(CrystalProperty):
    """Energy of two atoms by their distance, for each pair of elements of a structure.

    The numbers are the distance of the lowest energy, searched for between its neighbours among the
    distances of the curve, and how far that energy is below the one at the longest distance.

    Attributes
    ----------
    shortest, longest
        Distances, as parts of the sum of the covalent radii.
    n
        Number of distances.
    box
        Edge in Å of a periodic cube around the dimer, for calculators that want one.
    """

    shortest: float = 0.6
    longest: float = 2.5
    n: int = 39
    box: float | None = None

    def __post_init__(self) -> None:
        """Refuse distances that are no range."""
        check_positive(self, "shortest")
        if not self.longest > self.shortest:
            raise ValueError(
                f"expected longest above shortest, got {self.longest:g} and {self.shortest:g}"
            )
        if self.n < 3:
            raise ValueError(f"expected 3 distances or more, got {self.n}")

    def of(self, crystal: Crystal) -> Found:
        """Pull the atoms of each pair apart."""
        numbers: dict[str, float | np.ndarray] = {}
        curves: dict[str, np.ndarray] = {}
        said = []
        elements = sorted(set(crystal.given.symbols))
        for pair in combinations_with_replacement(elements, 2):
            radii = sum(covalent_radii[atomic_numbers[e]] for e in pair)
            distances = np.linspace(self.shortest, self.longest, self.n) * radii
            energies = np.array([self._energy(crystal, pair, float(d)) for d in distances])
            name, best = "_".join(pair), int(energies.argmin())
            energy = partial(self._energy, crystal, pair)
            distance, lowest = minimum(energy, distances, energies, PRECISE)
            numbers[f"{name}_distance_A"] = distance
            numbers[f"{name}_depth_eV"] = float(energies[-1]) - lowest
            curves |= {f"{name}_distance_A": distances, f"{name}_energy_eV": energies}
            gaps = holes(distances, energies, best, "approach", "Å")
            said += [f"{'-'.join(pair)}: {sentence}" for sentence in gaps]
            if best == 0:
                said.append(f"{'-'.join(pair)}: the energy is lowest at the shortest distance")
            if best == self.n - 1:
                said.append(f"{'-'.join(pair)}: the energy is lowest at the longest distance")
        return Found(numbers, curves, said)

    def _energy(self, crystal: Crystal, pair: tuple[str, ...], distance: float) -> float:
        atoms = Atoms(pair, [[0, 0, 0], [distance, 0, 0]])
        if self.box is not None:
            atoms.set_cell([self.box] * 3)
            atoms.pbc = True
            atoms.center()
        return crystal.evaluator.evaluate(atoms, "dimer").energy
