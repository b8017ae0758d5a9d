"""What kernels without derivatives by parameters have in common."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.verlet import AtomRange, Neighbours


class PlainKernel(ABC):
    """A kernel of energies and forces alone; see ``engines.base.Kernel``."""

    cutoff: float
    n_members: int = 1
    n_parameters: int | None = None

    def add(
        self,
        part: AtomRange,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts, of each member."""
        self._add(part.arrays, energies, forces)

    @abstractmethod
    def _add(self, atoms: Neighbours, energies: np.ndarray, forces: np.ndarray) -> None:
        """Do it, by compiled code."""
