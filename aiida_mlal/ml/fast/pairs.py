"""What kernels of potentials of pairs share."""

from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.jit import inlined
from aiida_mlal.ml.fast.verlet import AtomRange


class FastPairs:
    """A potential of pairs on the CPU, for one structure after another.

    Parameters
    ----------
    kernel
        Compiled, it takes positions, species, neighbours and where those of each atom begin, the
        cutoff, the constants, and the arrays of energies and forces to add to.
    cutoff
        In Å.
    constants
        Of the potential, as the kernel takes them.
    """

    n_members = 1
    n_parameters: int | None = 0

    def __init__(self, kernel: Any, cutoff: float, *constants: Any) -> None:
        self.cutoff, self._kernel, self._constants = float(cutoff), kernel, constants

    def add(
        self,
        part: AtomRange,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts."""
        self._kernel(
            part.positions, part.species, part.neighbours, part.begin, self.cutoff,
            *self._constants, energies[0], forces[0],
        )  # fmt: skip


@inlined(fastmath=True)
def switched(
    r: float, cutoff: float, switch: float, energy: float, slope: float
) -> tuple[float, float]:
    """Let an energy and its slope go to zero over the last ``switch`` Å; 0 lets them be.

    With :math:`1 - 10 t^3 + 15 t^4 - 6 t^5`, whose first two derivatives are continuous.
    """
    if switch > 0.0 and r > cutoff - switch:
        t = (r - cutoff) / switch + 1.0
        f = 1.0 - t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
        df = -30.0 * t * t * (1.0 - t) * (1.0 - t) / switch
        return energy * f, slope * f + energy * df
    return energy, slope
