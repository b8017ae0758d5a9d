"""ZBL repulsion of nuclei on the CPU, in numba."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.jit import jit
from aiida_mlal.ml.fast.pairs import FastPairs, displacement, switched
from aiida_mlal.ml.fast.verlet import Neighbours


def fast_zbl(
    cutoff: float,
    tables: Float[np.ndarray, "2 elements elements"],
    switch: float,
    screening: Sequence[tuple[float, float]],
) -> FastPairs:
    """Return the kernel of a screened repulsion between all pairs of elements.

    Parameters
    ----------
    cutoff
        In Å.
    tables
        Energies of the bare charges at 1 Å (eV), lengths of the screening (Å).
    switch
        Width in Å of the range below the cutoff in which the energy goes to zero.
    screening
        Heights and decays of the exponentials of the screening function of :math:`r / a_{ab}`.
    """
    tables = np.array(tables, dtype=float, order="C")
    return FastPairs(_chunk, cutoff, tables, float(switch), np.array(screening, dtype=float))


_jit: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)


@_jit
def _chunk(
    atoms: Neighbours, cutoff: float, tables: np.ndarray, switch: float, screening: np.ndarray,
    energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    positions, species, neighbours, begin = atoms
    n_species = tables.shape[1]
    for i in range(energies.size):
        for s in range(n_species):
            charge, length = tables[0, species[i], s], tables[1, species[i], s]
            for p in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
                j = neighbours[p]
                dx, dy, dz, square = displacement(positions, i, j)
                if square >= cutoff * cutoff:
                    continue
                r = np.sqrt(square)
                screened = slope = 0.0
                for k in range(screening.shape[0]):
                    part = screening[k, 0] * np.exp(-screening[k, 1] * r / length)
                    screened += part
                    slope -= part * screening[k, 1] / length
                energy = charge / r * screened
                slope = charge / r * (slope - screened / r)
                energy, slope = switched(r, cutoff, switch, energy, slope)
                energies[i] += 0.5 * energy
                push = 0.5 * slope / r
                for q, d in enumerate((dx, dy, dz)):
                    forces[j, q] -= push * d
                    forces[i, q] += push * d
