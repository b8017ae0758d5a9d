"""Morse potentials on the CPU, in numba."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.jit import jit
from aiida_mlal.ml.fast.pairs import FastPairs, displacement, switched
from aiida_mlal.ml.fast.verlet import Neighbours


def fast_morse(
    cutoff: float, tables: Float[np.ndarray, "3 elements elements"], switch: float
) -> FastPairs:
    """Return the kernel of a Morse potential between all pairs of elements.

    Parameters
    ----------
    cutoff
        In Å.
    tables
        Depths (eV), distances of the minimum (Å) and stiffnesses (1/Å).
    switch
        Width in Å of the range below the cutoff in which the energy goes to zero; 0 for none.
    """
    return FastPairs(_chunk, cutoff, np.array(tables, dtype=float, order="C"), float(switch))


_jit: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)


@_jit
def _chunk(
    atoms: Neighbours, cutoff: float, tables: np.ndarray, switch: float, energies: np.ndarray,
    forces: np.ndarray,
) -> None:  # fmt: skip
    positions, species, neighbours, begin = atoms
    n_species = tables.shape[1]
    for i in range(energies.size):
        total = x = y = z = 0.0
        for s in range(n_species):
            depth, length = tables[0, species[i], s], tables[1, species[i], s]
            width = tables[2, species[i], s]
            for p in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
                j = neighbours[p]
                dx, dy, dz, square = displacement(positions, i, j)
                if square >= cutoff * cutoff:
                    continue
                r = np.sqrt(square)
                decay = np.exp(-width * (r - length))
                energy = depth * decay * (decay - 2.0)
                slope = 2.0 * width * depth * decay * (1.0 - decay)
                energy, slope = switched(r, cutoff, switch, energy, slope)
                total += energy
                push = 0.5 * slope / r
                forces[j, 0] -= push * dx
                forces[j, 1] -= push * dy
                forces[j, 2] -= push * dz
                x, y, z = x + push * dx, y + push * dy, z + push * dz
        energies[i] += 0.5 * total
        forces[i, 0] += x
        forces[i, 1] += y
        forces[i, 2] += z
