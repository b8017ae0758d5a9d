"""How near and how many the neighbours of atoms are."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Surroundings:
    r"""Of each atom, the distances of its nearest neighbours and a smooth number of all.

    Attributes
    ----------
    nearest
        Distance of the nearest neighbour of each element in Å; the cutoff if there is none.
    crowding
        :math:`n = \sum_j (1 - r_{ij}^2 / r_c^2)^2` over all neighbours within the cutoff.
    swell
        :math:`-\sum_j r_{ij}\, \partial n / \partial r_{ij}`, what an isotropic compression changes
        of it.
    """

    nearest: Float[np.ndarray, "atoms elements"]
    crowding: Float[np.ndarray, " atoms"]
    swell: Float[np.ndarray, " atoms"]

    @classmethod
    def of_pairs(
        cls,
        species: Int[np.ndarray, " atoms"],
        n_elements: int,
        pairs: Int[np.ndarray, "2 pairs"],
        distances: Float[np.ndarray, " pairs"],
        cutoff: float,
    ) -> "Surroundings":
        """Compute them from all pairs within the cutoff, each in both directions."""
        nearest = np.full((len(species), n_elements), cutoff)
        np.minimum.at(nearest, (pairs[0], species[pairs[1]]), distances)
        squares = (distances / cutoff) ** 2
        crowding, swell = (
            np.bincount(pairs[0], weights, minlength=len(species))
            for weights in ((1 - squares) ** 2, 4 * squares * (1 - squares))
        )
        return cls(nearest, crowding, swell)

    @classmethod
    def none(cls, n_elements: int) -> "Surroundings":
        """Return the surroundings of no atoms."""
        return cls(np.zeros((0, n_elements)), np.zeros(0), np.zeros(0))

    @classmethod
    def join(cls, several: Sequence["Surroundings"]) -> "Surroundings":
        """Join the surroundings of the atoms of several structures."""
        return cls(
            *(np.concatenate([getattr(one, f.name) for one in several]) for f in fields(cls))
        )

    def take(self, atoms: Bool[np.ndarray, " atoms"]) -> "Surroundings":
        """Select some atoms."""
        return Surroundings(*(getattr(self, f.name)[atoms] for f in fields(self)))
