"""Which surroundings of atoms a potential has learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float, Int
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

NEVER = 10.0
"""The score of an atom of an element, or with a neighbour of an element, never labelled so."""


@dataclass(frozen=True, eq=False)
class Domain:
    r"""How far the nearest neighbours of the atoms of a training set are, element by element.

    The score of an atom is 0 within the domain. For its nearest neighbour of each element, at the
    distance d within the cutoff (or at the cutoff, if there is none), and the range from
    :math:`d_-` to :math:`d_+` of the same two elements in the training set it is

    .. math::

        x = \max\left(0, \frac{d_- - d}{0.1\,\mathrm{Å}}, \frac{d - d_+}{1\,\mathrm{Å}}\right)

    the largest over the elements; at least 10 for an atom of an element that has no label, and for
    one with a neighbour of an element that none of its own element had within the cutoff. An
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
    """

    elements: tuple[str, ...]
    cutoff: float
    low: Float[np.ndarray, "elements elements"]
    high: Float[np.ndarray, "elements elements"]

    @classmethod
    def of(cls, potential: "Potential", structures: Configurations) -> "Domain":
        """Return the domain of a training set."""
        n = len(potential.elements)
        never = np.full((n, n), np.nan)
        domain = cls(potential.elements, potential.cutoff, never, never.copy())
        distances, species = domain.nearest(structures), domain._species(structures.numbers)
        for element in np.unique(species):
            mine = distances[species == element]
            domain.low[element], domain.high[element] = mine.min(axis=0), mine.max(axis=0)
        return domain

    @classmethod
    def stored(cls, potential: "Potential") -> "Domain | None":
        """Return the domain that a potential carries, if it does."""
        extras: Mapping[str, Tensor] = potential.extras
        if f"{PREFIX}low" not in extras:
            return None
        low, high = (extras[PREFIX + name].cpu().numpy() for name in ("low", "high"))
        return cls(potential.elements, potential.cutoff, low, high)

    def store(self, potential: "Potential") -> None:
        """Let a potential carry this domain, in its file too."""
        tensors = {PREFIX + "low": torch.tensor(self.low), PREFIX + "high": torch.tensor(self.high)}
        potential.extras = {**potential.extras, **tensors}

    def nearest(self, structures: Configurations) -> Float[np.ndarray, "atoms elements"]:
        """Return how far the nearest neighbour of each element is; the cutoff if there is none."""
        found = [np.zeros((0, len(self.elements)))]
        for one in structures:
            pairs, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], self.cutoff)
            apart = one.positions[pairs[1]] - one.positions[pairs[0]] + shifts @ one.cells[0]
            found.append(self.shortest(one.numbers, pairs, np.linalg.norm(apart, axis=1)))
        return np.concatenate(found)

    def shortest(
        self,
        numbers: Int[np.ndarray, " atoms"],
        pairs: Int[np.ndarray, "2 pairs"],
        distances: Float[np.ndarray, " pairs"],
    ) -> Float[np.ndarray, "atoms elements"]:
        """Return the same from pairs of neighbours, in both directions, and their distances."""
        found = np.full((len(numbers), len(self.elements)), self.cutoff)
        species = self._species(numbers)
        np.minimum.at(found, (pairs[0], species[pairs[1]]), distances)
        return found

    def scores(
        self,
        numbers: Int[np.ndarray, " atoms"],
        nearest: Float[np.ndarray, "atoms elements"],
    ) -> Float[np.ndarray, " atoms"]:
        """Return the score of each atom, 0 within the domain."""
        species = self._species(numbers)
        low, high = self.low[species], self.high[species]
        beyond = np.maximum((low - nearest) / NEARER, (nearest - high) / FARTHER)
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
        """Say which elements and pairs have no label, and which neighbours are too near or far."""
        nearest, species = self.nearest(structures), self._species(structures.numbers)
        names = self.elements
        new, strange, away = [], [], []
        for a in np.unique(species):
            if np.isnan(self.low[a]).any():
                new.append(names[a])
                continue
            mine = nearest[species == a]
            for b in range(len(names)):
                least, most = mine[:, b].min(), mine[:, b].max()
                low, high, pair = self.low[a, b], self.high[a, b], f"{names[a]}-{names[b]}"
                if low >= self.cutoff and least < self.cutoff:
                    strange.append(pair)
                elif least < low - NEARER:
                    away.append(f"{pair} {least:.2f} Å (labelled from {low:.2f})")
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
        return "; ".join(said)

    def _species(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        table = np.full(len(chemical_symbols), -1)
        table[[atomic_numbers[element] for element in self.elements]] = np.arange(
            len(self.elements)
        )
        found: np.ndarray = table[numbers]
        return found


def _largest(
    values: Float[np.ndarray, " atoms"], owner: Int[np.ndarray, " atoms"], n: int
) -> Float[np.ndarray, " structures"]:
    found = np.zeros(n)
    np.maximum.at(found, owner, values)
    return found
