"""Neighbours of an atom, packed for kernels that handle W of them at a time."""

import numpy as np

from aiida_mlal.ml.fast.jit import inlined
from aiida_mlal.ml.fast.simd import W


@inlined(fastmath=True)
def gather(
    i: int, positions: np.ndarray, neighbours: np.ndarray, begin: np.ndarray, cutoff: float,
    flat: np.ndarray, stride: int, who: np.ndarray, ends: np.ndarray,
) -> None:  # fmt: skip
    """Pack neighbours inside the cutoff: x, y, z, r² in the first four rows of the buffer.

    Those of species s are from ``ends[s, 0]`` to ``ends[s, 1]``; the next begin at a multiple of
    W, and what is between is so far away that it has no effect.
    """
    n, n_species, far = 0, ends.shape[0] - 1, 3.0 * cutoff
    x, y, z = positions[i, 0], positions[i, 1], positions[i, 2]
    for s in range(n_species):
        ends[s, 0] = n
        for q in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
            j = neighbours[q]
            dx, dy, dz = positions[j, 0] - x, positions[j, 1] - y, positions[j, 2] - z
            square = dx * dx + dy * dy + dz * dz
            flat[n], flat[stride + n] = dx, dy
            flat[2 * stride + n], flat[3 * stride + n] = dz, square
            who[n] = j
            n += square < cutoff * cutoff
        ends[s, 1] = n
        while n % W:
            flat[n], flat[stride + n] = far, 0.0
            flat[2 * stride + n], flat[3 * stride + n] = 0.0, far * far
            n += 1
    ends[n_species, 0] = n
