"""The second-moment approximation on the CPU, in numba."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.jit import jit
from aiida_mlal.ml.fast.pairs import FastPairs, displacement, switched
from aiida_mlal.ml.fast.verlet import Neighbours


def fast_second_moment(
    cutoff: float, tables: Float[np.ndarray, "5 elements elements"], switch: float, smallest: float
) -> FastPairs:
    """Return the kernel of repulsive pairs and of a band energy of each atom.

    Parameters
    ----------
    cutoff
        In Å.
    tables
        Of each pair of elements: repulsion of an atom and hopping at the distance of the dimer
        (eV), this distance (Å), and how fast both decay (1/Å).
    switch
        Width in Å of the range below the cutoff in which both go to zero.
    smallest
        Second moment in eV² that each atom has of itself.
    """
    constants = np.array(tables, dtype=float, order="C")
    return FastPairs(_chunk, cutoff, constants, float(switch), float(smallest))


_jit: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)


@_jit
def _chunk(
    atoms: Neighbours, cutoff: float, tables: np.ndarray, switch: float, smallest: float,
    energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    positions, species, neighbours, begin = atoms
    n_species = tables.shape[1]
    for i in range(energies.size):
        moment, band = smallest, 0.0
        for forces_wanted in range(2):  # the band energy first, then its slopes too
            x = y = z = 0.0
            for s in range(n_species):
                repulsion, hopping = tables[0, species[i], s], tables[1, species[i], s]
                length = tables[2, species[i], s]
                p, q = tables[3, species[i], s], tables[4, species[i], s]
                for k in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
                    j = neighbours[k]
                    dx, dy, dz, square = displacement(positions, i, j)
                    if square >= cutoff * cutoff:
                        continue
                    r = np.sqrt(square)
                    hop = hopping * np.exp(-q * (r - length))
                    hop, fall = switched(r, cutoff, switch, hop, -q * hop)
                    if not forces_wanted:
                        moment += hop * hop
                        continue
                    push = repulsion * np.exp(-p * (r - length))
                    push, slope = switched(r, cutoff, switch, push, -p * push)
                    energies[i] += push
                    slope = (slope - hop * fall / band) / r
                    forces[j, 0] -= slope * dx
                    forces[j, 1] -= slope * dy
                    forces[j, 2] -= slope * dz
                    x, y, z = x + slope * dx, y + slope * dy, z + slope * dz
            band = np.sqrt(moment)
        energies[i] -= band
        forces[i, 0] += x
        forces[i, 1] += y
        forces[i, 2] += z
