"""What kernels on the CPU find for one structure, and what they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.verlet import Part

EngineName = Literal["auto", "torch", "numba"]
"""What evaluates one structure after another."""


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
    """What is found for one structure: the mean, if it is by a committee.

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
    pairs
        Returns each atom with all its neighbours within the cutoff, and their distances in Å.
    gradients
        Derivatives of the energy of each atom by the parameters that are not fixed, in their
        order in ``Potential.parameters()``; None where not asked for.
    members
        What each member finds; None for a single potential.
    """

    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]
    contacts: "Contacts"
    pairs: "Contacts"
    gradients: Float[np.ndarray, "atoms parameters"] | None = None
    members: Members | None = None


Contacts = Callable[[], tuple[Int[np.ndarray, "2 pairs"], Float[np.ndarray, " pairs"]]]


class Kernel(Protocol):
    """A term of the energy with fixed weights, of one or more members of a committee.

    Attributes
    ----------
    cutoff
        In Å.
    n_members
        Of the committee.
    n_parameters
        By how many parameters of each member the derivatives are known: 0 for a term without any,
        None for one that has them and does not know its derivatives.
    """

    cutoff: float
    n_members: int
    n_parameters: int | None

    def add(
        self,
        part: "Part",
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add what each member finds for some of the atoms.

        Parameters
        ----------
        energies
            Of these atoms, in eV.
        forces
            On these atoms, their neighbours and ghosts, in eV/Å.
        gradients
            Derivatives of the energies by the parameters; None where not asked for.
        """
