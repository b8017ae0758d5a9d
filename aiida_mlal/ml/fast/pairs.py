"""Kernels of pair potentials."""

from typing import Any

import numpy as np

from aiida_mlal.ml.fast.jit import inlined
from aiida_mlal.ml.fast.kernel import PlainKernel
from aiida_mlal.ml.fast.verlet import Neighbours


class FastPairs(PlainKernel):
    """A pair potential.

    Parameters
    ----------
    kernel
        Compiled, it takes the atoms, the cutoff, the constants, and the arrays of energies and
        forces to add to.
    cutoff
        In Å.
    constants
        Of the potential, as the kernel takes them.
    """

    n_parameters: int | None = 0

    def __init__(self, kernel: Any, cutoff: float, *constants: Any) -> None:
        self.cutoff, self._kernel, self._constants = float(cutoff), kernel, constants

    def _add(self, atoms: Neighbours, energies: np.ndarray, forces: np.ndarray) -> None:
        self._kernel(atoms, self.cutoff, *self._constants, energies[0], forces[0])


@inlined(fastmath=True)
def displacement(positions: np.ndarray, i: int, j: int) -> tuple[float, float, float, float]:
    """Return the vector from atom i to image j (Å) and its square (Å²)."""
    x = positions[j, 0] - positions[i, 0]
    y = positions[j, 1] - positions[i, 1]
    z = positions[j, 2] - positions[i, 2]
    return x, y, z, x * x + y * y + z * z


@inlined(fastmath=True)
def switched(
    r: float, cutoff: float, switch: float, energy: float, slope: float
) -> tuple[float, float]:
    """Switch an energy (eV) and its derivative by r off over the last ``switch`` Å; 0 for none.

    With :math:`1 - 10 t^3 + 15 t^4 - 6 t^5`, whose first two derivatives are continuous.
    """
    if switch > 0.0 and r > cutoff - switch:
        t = (r - cutoff) / switch + 1.0
        f = 1.0 - t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
        df = -30.0 * t * t * (1.0 - t) * (1.0 - t) / switch
        return energy * f, slope * f + energy * df
    return energy, slope
