"""Faster ways than a torch model to evaluate one structure after another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluator finds for one structure.

    Attributes
    ----------
    energies
        Of each atom, in eV.
    forces
        In eV/Å.
    virial
        Derivative of the energy by the strain, in eV: the stress times the volume.
    contacts
        Returns each atom with its nearest neighbours of all elements, and their distances in Å.
    rows
        Derivatives of the energy of each atom by the parameters; None where not asked for.
    """

    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]
    contacts: "Contacts"
    rows: Float[np.ndarray, "atoms parameters"] | None = None


Contacts = Callable[[], tuple[Int[np.ndarray, "2 pairs"], Float[np.ndarray, " pairs"]]]


class Evaluator(Protocol):
    """Evaluates a potential with fixed weights; may keep neighbours from call to call."""

    def __call__(
        self,
        numbers: Int[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        rows: bool = False,
    ) -> Evaluation:
        """Evaluate one structure; with ``rows`` also derivatives by the parameters."""
