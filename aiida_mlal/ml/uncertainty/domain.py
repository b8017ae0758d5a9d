"""Which surroundings of atoms a potential has learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.surroundings import Surroundings
from aiida_mlal.ml.uncertainty.reduction import largest

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainties

PREFIX = "domain."
"""Before the names of its tensors, among the extras of a potential."""

NEARER, FARTHER = 0.1, 0.2
"""How many Å nearer, or farther, than any labelled one a nearest neighbour has a score of 1.

A Morse potential repels as :math:`e^{-2ar}` and attracts as :math:`e^{-ar}`: what is farther
changes a force half as much.
"""

CROWDED, THINNED = 0.05, 0.1
"""The strain by which all neighbours are nearer, or farther, than any labelled ones, likewise."""

RANGES = ("low", "high", "thinnest", "densest", "swell")
"""Attributes that depend on the training set."""

FORCE = 0.005
"""What a score of 1 adds to an uncertainty of forces, in eV/Å.

In many crystals forces are zero by symmetry, and all members of a committee agree on it, however
wrong their energies are. Small beside what members say of forces that are not zero, whose order
errors follow better.
"""

NEVER = 10.0
"""The score of an atom of an element, or with a neighbour of an element, never labelled so."""


@dataclass(frozen=True, eq=False)
class Domain:
    r"""How near and how many the neighbours of the atoms of a training set are, by elements.

    The score of an atom is 0 within the domain. With the distance :math:`d_b` of its nearest
    neighbour of the element b, the least :math:`d_{b-}` that an atom of its element had in the
    training set, the distance d of the nearest one of all, and the largest :math:`d_+` of these, it
    is

    .. math::

        x = \max\left(0, \max_b \frac{d_{b-} - d_b}{0.1\,\mathrm{Å}},
            \frac{d - d_+}{0.2\,\mathrm{Å}},
            \frac{n - n_+}{0.05\, s}, \frac{n_- - n}{0.1\, s}\right)

    Here :math:`n = \sum_j (1 - r_{ij}^2 / r_c^2)^2` is the crowding by all neighbours within the
    cutoff, :math:`n_-` and :math:`n_+` its range in the training set, and
    :math:`s = -\sum_j r_{ij}\, \partial n / \partial r_{ij}`, 1 or more, what an isotropic strain
    changes of it there, on average. Crowding does not ask for elements: one that takes the place of
    another neither compresses nor stretches anything. The score is at least 10 for an atom of an
    element that has no label, and for one with a neighbour of an element that none of its own
    element had within the cutoff. An uncertainty in units of errors is multiplied by
    :math:`1 + x`, one in units of their squares by :math:`(1 + x)^2`; to one of forces alone
    :math:`0.005 x` eV/Å are added.

    Attributes
    ----------
    elements
        In the order of the rows and columns.
    cutoff
        In Å.
    low
        The least distances, by the elements of the atom and of its neighbour. NaN for elements
        without a label; the cutoff where there was no neighbour.
    high
        The largest distance of a nearest neighbour, by the element of the atom.
    thinnest, densest, swell
        The range of the crowding, and what a strain changes of it on average, likewise.
    """

    elements: tuple[str, ...]
    cutoff: float
    low: Float[np.ndarray, "elements elements"]
    high: Float[np.ndarray, " elements"]
    thinnest: Float[np.ndarray, " elements"]
    densest: Float[np.ndarray, " elements"]
    swell: Float[np.ndarray, " elements"]

    @classmethod
    def of(cls, potential: "Potential", structures: Configurations) -> "Domain":
        """Return the domain of a training set."""
        n = len(potential.elements)
        per_element = (np.full(n, np.nan) for _ in range(4))
        domain = cls(potential.elements, potential.cutoff, np.full((n, n), np.nan), *per_element)
        surroundings, species = domain.surroundings(structures), domain._species(structures.numbers)
        for element in np.unique(species):
            mine = surroundings.take(species == element)
            domain.low[element] = mine.nearest.min(axis=0)
            domain.high[element] = mine.nearest.min(axis=1).max()
            domain.thinnest[element] = mine.crowding.min()
            domain.densest[element] = mine.crowding.max()
            domain.swell[element] = max(1.0, mine.swell.mean())
        return domain

    @classmethod
    def stored(cls, potential: "Potential") -> "Domain | None":
        """Return the domain that a potential carries, if it does."""
        extras: Mapping[str, Tensor] = potential.extras
        if f"{PREFIX}low" not in extras:
            return None
        known = (extras[PREFIX + name].cpu().numpy() for name in RANGES)
        return cls(potential.elements, potential.cutoff, *known)

    def store(self, potential: "Potential") -> None:
        """Let a potential carry this domain, in its file too."""
        tensors = {PREFIX + name: torch.tensor(getattr(self, name)) for name in RANGES}
        potential.extras = {**potential.extras, **tensors}

    def surroundings(self, structures: Configurations) -> Surroundings:
        """Compute the surroundings of the atoms of structures."""
        each = [Surroundings.none(len(self.elements))]
        for one in structures:
            pairs, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], self.cutoff)
            apart = one.positions[pairs[1]] - one.positions[pairs[0]] + shifts @ one.cells[0]
            distances, species = np.linalg.norm(apart, axis=1), self._species(one.numbers)
            size = len(self.elements)
            each.append(Surroundings.of_pairs(species, size, pairs, distances, self.cutoff))
        return Surroundings.join(each)

    def scores(
        self,
        numbers: Int[np.ndarray, " atoms"],
        around: Surroundings,
    ) -> Float[np.ndarray, " atoms"]:
        """Return the score of each atom, 0 within the domain."""
        species, nearest, crowding = self._species(numbers), around.nearest, around.crowding
        low = self.low[species]
        beyond = (low - nearest) / NEARER
        known = self._known
        if not known.all():
            beyond[(nearest < self.cutoff) & ~known[species]] = NEVER
        scores: np.ndarray = beyond.max(axis=1, initial=0.0)
        high, densest, thinnest, swell = self._limits[:, species]
        for score in (
            (nearest.min(axis=1, initial=self.cutoff) - high) / FARTHER,
            (crowding - densest) / (CROWDED * swell),
            (thinnest - crowding) / (THINNED * swell),
        ):
            np.maximum(scores, score, out=scores)
        return scores if known.all() else np.where(np.isnan(scores), NEVER, scores)

    def widen(
        self,
        measured: "Uncertainties",
        scores: Float[np.ndarray, " atoms"],
        owner: Int[np.ndarray, " atoms"],
        is_variance: bool = False,
        is_of_forces: bool = False,
    ) -> "Uncertainties":
        """Return uncertainties that are larger outside of the domain.

        That of a structure grows as the largest of its atoms does, or, where atoms have none, as
        for the atom of the highest score.
        """
        if not scores.any():
            return measured
        power = 2 if is_variance else 1
        factors, more = (1 + scores) ** power, (is_of_forces * FORCE * scores) ** power
        n = len(measured.values)
        if measured.per_atom is None:
            values = measured.values * largest(factors, owner, n) + largest(more, owner, n)
            return replace(measured, values=values)
        per_atom = measured.per_atom * factors + more
        before, after = largest(measured.per_atom, owner, n), largest(per_atom, owner, n)
        some = (before > 0) & np.isfinite(after)
        growth = np.divide(after, before, out=np.ones(n), where=some)
        values = np.where(before > 0, measured.values * growth, measured.values + after)
        return replace(measured, values=values, per_atom=per_atom)

    def warnings(self, structures: Configurations) -> str:
        """Name elements and pairs without a label, and neighbours outside of what was labelled."""
        around, species = self.surroundings(structures), self._species(structures.numbers)
        names = self.elements
        new, strange, away, dense, thin = [], [], [], [], []
        for a in np.unique(species):
            if np.isnan(self.low[a]).any():
                new.append(names[a])
                continue
            mine = around.take(species == a)
            nearer = False
            for b, least in enumerate(mine.nearest.min(axis=0)):
                low, pair = self.low[a, b], f"{names[a]}-{names[b]}"
                if low >= self.cutoff and least < self.cutoff:
                    strange.append(pair)
                elif least < low - NEARER:
                    nearer = True
                    away.append(f"{pair} {least:.2f} Å (labelled from {low:.2f})")
            if not nearer and mine.crowding.max() > self.densest[a] + CROWDED * self.swell[a]:
                dense.append(names[a])
            most = mine.nearest.min(axis=1).max()
            if most > self.high[a] + FARTHER:
                far = f"{most:.2f} Å" if most < self.cutoff else "beyond the cutoff"
                away.append(f"{names[a]} {far} (labelled up to {self.high[a]:.2f})")
            elif mine.crowding.min() < self.thinnest[a] - THINNED * self.swell[a]:
                thin.append(names[a])
        return "; ".join(
            f"{said}: {', '.join(which)}"
            for said, which in (
                ("elements without a label", new),
                ("neighbours never labelled within the cutoff", strange),
                ("nearest neighbours outside of what was labelled", away),
                ("more crowded by neighbours than any that were labelled", dense),
                ("fewer or farther neighbours than any that were labelled", thin),
            )
            if which
        )

    def _species(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        species: np.ndarray = self._rows[numbers]
        return species

    @cached_property
    def _rows(self) -> Int[np.ndarray, " numbers"]:
        """The row of each atomic number."""
        rows = np.full(len(chemical_symbols), -1)
        rows[[atomic_numbers[element] for element in self.elements]] = np.arange(len(self.elements))
        return rows

    @cached_property
    def _known(self) -> Bool[np.ndarray, "elements elements"]:
        """Which elements were neighbours within the cutoff."""
        known: np.ndarray = self.low < self.cutoff
        return known

    @cached_property
    def _limits(self) -> Float[np.ndarray, "4 elements"]:
        return np.stack([self.high, self.densest, self.thinnest, self.swell])
