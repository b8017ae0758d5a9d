"""The interfaces of engines and kernels, and the evaluation of one structure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.surroundings import Surroundings

if TYPE_CHECKING:
    from ase import Atoms

    from aiida_mlal.ml.fast.verlet import AtomRange
    from aiida_mlal.ml.graph import Graph

EngineName = Literal["auto", "torch", "numba"]
"""What evaluates one structure after another."""


@dataclass(frozen=True, eq=False)
class Members:
    """Energies and forces of one structure by each member of a committee.

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
    """Energy, forces and virial of one structure: of a committee the mean.

    Attributes
    ----------
    energy
        In eV.
    forces
        In eV/Å.
    virial
        Derivative of the energy by the strain, in eV: the stress times the volume. NaN may stand
        where there is no volume.
    members
        What each member of a committee finds; a single potential is its only member.
    contacts
        Returns pairs of atoms and their distances in Å: for each atom at least its nearest
        neighbour of each element within the cutoff.
    surroundings
        Returns how near and how many the neighbours within the cutoff are.
    energies
        Of each atom, in eV; None where not known.
    gradients
        Derivatives of the energy of each atom by the parameters that are not fixed, in their
        order in ``Potential.parameters()``; None where not asked for.
    graph
        Returns the structure as torch sees it, for measures of uncertainty that look at it.
    """

    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, "3 3"]
    members: Members
    contacts: "Contacts"
    surroundings: Callable[[], Surroundings]
    energies: Float[np.ndarray, " atoms"] | None = None
    gradients: Float[np.ndarray, "atoms parameters"] | None = None
    graph: "Callable[[], Graph] | None" = None


Contacts = Callable[[], tuple[Int[np.ndarray, "2 pairs"], Float[np.ndarray, " pairs"]]]


class Engine(Protocol):
    """Evaluates a potential for one structure after another.

    Attributes
    ----------
    name
        Of the engine.
    computed_by
        What computes, by name: an engine may leave parts to another one.
    has_gradients
        Whether it finds derivatives by the parameters.
    """

    name: str

    @property
    def computed_by(self) -> tuple[str, ...]:
        """What computes, by name."""

    @property
    def has_gradients(self) -> bool:
        """Whether it finds derivatives by the parameters."""

    def __call__(self, atoms: "Atoms", gradients: bool = False) -> Evaluation:
        """Evaluate atoms as they are now; with ``gradients`` also derivatives by parameters."""

    def remember(self) -> Mapping[str, Any]:
        """Return the state that results depend on to the last bit: the last search for neighbours.

        Its positions and cell decide the order in which numbers are added.
        """

    def recall(self, atoms: "Atoms", memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned: results are the same to the last bit."""


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
        part: "AtomRange",
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
