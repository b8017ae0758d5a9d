"""Faster ways than a torch model to evaluate one structure after another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.verlet import Part


@dataclass(frozen=True, eq=False)
class Members:
    """What the members of a committee find for one structure.

    Attributes
    ----------
    energies
        Of the structure, in eV.
    forces
        In eV/Å.
    """

    energies: Float[np.ndarray, " members"]
    forces: Float[np.ndarray, "members atoms 3"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluator finds for one structure: the mean, if it is one of a committee.

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
    members
        What each member finds; None for a single potential.
    """

    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]
    contacts: "Contacts"
    rows: Float[np.ndarray, "atoms parameters"] | None = None
    members: Members | None = None


Contacts = Callable[[], tuple[Int[np.ndarray, "2 pairs"], Float[np.ndarray, " pairs"]]]


class Evaluator(Protocol):
    """Evaluates a potential with fixed weights; may keep neighbours from call to call.

    Attributes
    ----------
    has_rows
        Whether it knows derivatives by the parameters.
    """

    has_rows: bool

    @property
    def is_ready(self) -> bool:
        """Whether it is fast from the first call: nothing has to be compiled."""

    def __call__(
        self,
        numbers: Int[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        rows: bool = False,
    ) -> Evaluation:
        """Evaluate one structure; with ``rows`` also derivatives by the parameters."""


class Kernel(Protocol):
    """A part of the energy with fixed weights, of one or more members of a committee."""

    cutoff: float
    n_members: int

    @property
    def is_ready(self) -> bool:
        """Whether nothing has to be compiled."""

    def add(
        self,
        verlet: "Part",
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts, of each member."""
