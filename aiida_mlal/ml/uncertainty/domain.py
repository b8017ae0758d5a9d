"""Which surroundings of atoms a potential has learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import neighbours

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainties

PREFIX = "domain."
"""Before the names of its tensors, among the extras of a potential."""

NEARER, FARTHER = 0.1, 1.0
"""How many Å nearer, or farther, than any labelled one a nearest neighbour has a score of 1."""

RANGES = ("low", "high", "crowded", "swell")
"""Of its attributes, what depends on the training set."""

CROWDED = 0.05
"""The strain by which surroundings are compressed, beyond any labelled ones, at a score of 1."""

NEVER = 10.0
"""The score of an atom of an element, or with a neighbour of an element, never labelled so."""


@dataclass(frozen=True, eq=False)
class Domain:
    r"""How near and how many the neighbours of the atoms of a training set are, by elements.

    The score of an atom is 0 within the domain. For its nearest neighbour of each element, at the
    distance d within the cutoff (or at the cutoff, if there is none), and the range from
    :math:`d_-` to :math:`d_+` of the same two elements in the training set it is

    .. math::

        x = \max\left(0, \frac{d_- - d}{0.1\,\mathrm{Å}}, \frac{d - d_+}{1\,\mathrm{Å}},
            \frac{n - n_+}{0.05\,\max(1, s)}\right)

    the largest over the elements. Here :math:`n = \sum_j (1 - r_{ij}^2 / r_c^2)^2` is the crowding
    by neighbours of the element within the cutoff, :math:`n_+` its largest in the training set, and
    :math:`s = -\sum_j r_{ij}\, \partial n / \partial r_{ij}` what an isotropic strain changes of it
    there, on average. The score is at least 10 for an atom of an element that has no label, and
    for one with a neighbour of an element that none of its own element had within the cutoff. An
    uncertainty in units of errors is multiplied by :math:`1 + x`, one in units of their squares by
    :math:`(1 + x)^2`.

    Attributes
    ----------
    elements
        In the order of the rows and columns.
    cutoff
        In Å.
    low, high
        The range, by the elements of the atom and of its neighbour. NaN for elements without a
        label; the cutoff where there was no neighbour.
    crowded, swell
        The largest crowding, and what a strain changes of it on average, by the same elements.
    """

    elements: tuple[str, ...]
    cutoff: float
    low: Float[np.ndarray, "elements elements"]
    high: Float[np.ndarray, "elements elements"]
    crowded: Float[np.ndarray, "elements elements"]
    swell: Float[np.ndarray, "elements elements"]

    @classmethod
    def of(cls, potential: "Potential", structures: Configurations) -> "Domain":
        """Return the domain of a training set."""
        n = len(potential.elements)
        never = (np.full((n, n), np.nan) for _ in range(4))
        domain = cls(potential.elements, potential.cutoff, *never)
        found, species = domain.surroundings(structures), domain._species(structures.numbers)
        for element in np.unique(species):
            mine = found.take(species == element)
            domain.low[element] = mine.nearest.min(axis=0)
            domain.high[element] = mine.nearest.max(axis=0)
            domain.crowded[element] = mine.crowding.max(axis=0)
            domain.swell[element] = mine.swell.mean(axis=0)
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

    def surroundings(self, structures: Configurations) -> "Surroundings":
        """Return those of the atoms of some structures."""
        found = [Surroundings.none(len(self.elements))]
        for one in structures:
            pairs, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], self.cutoff)
            apart = one.positions[pairs[1]] - one.positions[pairs[0]] + shifts @ one.cells[0]
            found.append(self.around(one.numbers, pairs, np.linalg.norm(apart, axis=1)))
        return Surroundings.join(found)

    def around(
        self,
        numbers: Int[np.ndarray, " atoms"],
        pairs: Int[np.ndarray, "2 pairs"],
        distances: Float[np.ndarray, " pairs"],
    ) -> "Surroundings":
        """Return the same from all pairs within the cutoff, in both directions."""
        n = len(self.elements)
        nearest = np.full((len(numbers), n), self.cutoff)
        species = self._species(numbers)
        np.minimum.at(nearest, (pairs[0], species[pairs[1]]), distances)
        place, squares = pairs[0] * n + species[pairs[1]], (distances / self.cutoff) ** 2
        crowding, swell = (
            np.bincount(place, weights, minlength=nearest.size).reshape(nearest.shape)
            for weights in ((1 - squares) ** 2, 4 * squares * (1 - squares))
        )
        return Surroundings(nearest, crowding, swell)

    def scores(
        self,
        numbers: Int[np.ndarray, " atoms"],
        around: "Surroundings",
    ) -> Float[np.ndarray, " atoms"]:
        """Return the score of each atom, 0 within the domain."""
        species = self._species(numbers)
        low, high, nearest = self.low[species], self.high[species], around.nearest
        beyond = np.maximum((low - nearest) / NEARER, (nearest - high) / FARTHER)
        denser = (around.crowding - self.crowded[species]) / np.maximum(1, self.swell[species])
        beyond = np.maximum(beyond, denser / CROWDED)
        strange = (nearest < self.cutoff) & (low >= self.cutoff)
        beyond = np.where(strange, np.maximum(beyond, NEVER), beyond)
        beyond = np.where(np.isnan(low), NEVER, beyond)
        found: np.ndarray = beyond.max(axis=1, initial=0.0)
        return found

    def widen(
        self,
        found: "Uncertainties",
        scores: Float[np.ndarray, " atoms"],
        owner: Int[np.ndarray, " atoms"],
        is_variance: bool = False,
    ) -> "Uncertainties":
        """Return uncertainties that are larger outside of the domain.

        That of a structure grows as the largest of its atoms does, or, where atoms have none, as
        for the atom of the highest score.
        """
        factors = (1 + scores) ** (2 if is_variance else 1)
        n = len(found.values)
        if found.per_atom is None:
            return replace(found, values=found.values * _largest(factors, owner, n))
        per_atom = found.per_atom * factors
        before, after = _largest(found.per_atom, owner, n), _largest(per_atom, owner, n)
        growth = np.divide(after, before, out=np.ones(n), where=(before > 0) & np.isfinite(after))
        return replace(found, values=found.values * growth, per_atom=per_atom)

    def remarks(self, structures: Configurations) -> str:
        """Say which elements and pairs have no label, and which neighbours are outside."""
        around, species = self.surroundings(structures), self._species(structures.numbers)
        nearest, names = around.nearest, self.elements
        new, strange, away, dense = [], [], [], []
        for a in np.unique(species):
            if np.isnan(self.low[a]).any():
                new.append(names[a])
                continue
            mine, crowding = nearest[species == a], around.crowding[species == a].max(axis=0)
            strains = (crowding - self.crowded[a]) / np.maximum(1, self.swell[a])
            for b in range(len(names)):
                least, most = mine[:, b].min(), mine[:, b].max()
                low, high, pair = self.low[a, b], self.high[a, b], f"{names[a]}-{names[b]}"
                if low >= self.cutoff and least < self.cutoff:
                    strange.append(pair)
                elif least < low - NEARER:
                    away.append(f"{pair} {least:.2f} Å (labelled from {low:.2f})")
                elif strains[b] > CROWDED:
                    dense.append(pair)
                elif most > high + FARTHER:
                    far = f"{most:.2f} Å" if most < self.cutoff else "beyond the cutoff"
                    away.append(f"{pair} {far} (labelled up to {high:.2f})")
        said = []
        if new:
            said.append(f"elements without a label: {', '.join(new)}")
        if strange:
            said.append(f"neighbours never labelled within the cutoff: {', '.join(strange)}")
        if away:
            said.append(f"nearest neighbours outside of what was labelled: {', '.join(away)}")
        if dense:
            said.append(f"neighbours more crowded than any that were labelled: {', '.join(dense)}")
        return "; ".join(said)

    def _species(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        table = np.full(len(chemical_symbols), -1)
        table[[atomic_numbers[element] for element in self.elements]] = np.arange(
            len(self.elements)
        )
        found: np.ndarray = table[numbers]
        return found


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a ``Domain`` looks at: of each atom, by the element of its neighbours.

    Attributes
    ----------
    nearest
        Distance of the nearest one in Å; the cutoff if there is none.
    crowding, swell
        The sums n and s of the domain.
    """

    nearest: Float[np.ndarray, "atoms elements"]
    crowding: Float[np.ndarray, "atoms elements"]
    swell: Float[np.ndarray, "atoms elements"]

    @classmethod
    def none(cls, n_elements: int) -> "Surroundings":
        """Return those of no atoms."""
        return cls(*(np.zeros((0, n_elements)) for _ in fields(cls)))

    @classmethod
    def join(cls, several: Sequence["Surroundings"]) -> "Surroundings":
        """Return those of the atoms of several structures."""
        return cls(
            *(np.concatenate([getattr(one, f.name) for one in several]) for f in fields(cls))
        )

    def take(self, atoms: Bool[np.ndarray, " atoms"]) -> "Surroundings":
        """Return those of some atoms."""
        return Surroundings(*(getattr(self, f.name)[atoms] for f in fields(self)))


def _largest(
    values: Float[np.ndarray, " atoms"], owner: Int[np.ndarray, " atoms"], n: int
) -> Float[np.ndarray, " structures"]:
    found = np.zeros(n)
    np.maximum.at(found, owner, values)
    return found
