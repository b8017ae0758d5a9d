"""Neighbours of an atom, packed for kernels that handle W of them at a time."""

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.jit import inlined
from aiida_mlal.ml.fast.simd import W
from aiida_mlal.ml.fast.verlet import Neighbours


def from_edges(
    species: Int[np.ndarray, " atoms"],
    pairs: Int[np.ndarray, "2 edges"],
    vectors: Float[np.ndarray, "edges 3"],
    n_species: int,
) -> Neighbours:
    """Arrange the edges of structures for kernels: each ends at an image of its own.

    All atoms are at the origin. The image of edge e has the number ``len(species) + e``.

    Parameters
    ----------
    pairs, vectors
        Atom that an edge leaves, and that it leads to (an image of); the vector, in Å.
    """
    n_atoms = len(species)
    segment = pairs[0] * n_species + species[pairs[1]]
    begin = np.concatenate([[0], np.bincount(segment, minlength=n_atoms * n_species).cumsum()])
    return Neighbours(
        np.concatenate([np.zeros((n_atoms, 3)), vectors]),
        species.astype(np.int32),
        (n_atoms + np.argsort(segment, kind="stable")).astype(np.int32),
        begin,
    )


@inlined(fastmath=True)
def most_neighbours(begin: np.ndarray, n_atoms: int, n_species: int) -> int:
    """Return the largest number of neighbours of an atom."""
    most = 0
    for i in range(n_atoms):
        most = max(most, begin[(i + 1) * n_species] - begin[i * n_species])
    return most


@inlined(fastmath=True)
def gather(
    i: int, atoms: Neighbours, cutoff: float, flat: np.ndarray, stride: int, who: np.ndarray,
    ends: np.ndarray,
) -> None:  # fmt: skip
    """Pack the neighbours of atom i: x, y, z (Å), r² (Å²) in the first four rows of ``flat``.

    ``who`` gets their numbers. Those of species s are from ``ends[s, 0]`` to ``ends[s, 1]``; the
    next begin at a multiple of W, and what is between is so far away that it has no effect.
    """
    positions, neighbours, begin = atoms.positions, atoms.neighbours, atoms.begin
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
