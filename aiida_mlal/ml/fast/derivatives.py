"""Symmetry functions of atoms and their derivatives by the positions of neighbours, in numba."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.fast.gather import from_edges, gather
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.symmetry_functions import Functions, buffers, describe
from aiida_mlal.ml.fast.verlet import Neighbours


def derivatives(
    functions: Functions,
    real: Bool[np.ndarray, " filled"],
    species: Int[np.ndarray, " atoms"],
    centre: Int[np.ndarray, " edges"],
    neighbour: Int[np.ndarray, " edges"],
    vectors: Float[np.ndarray, "edges 3"],
    pair: Int[np.ndarray, " edges"],
    n_pairs: int,
) -> tuple[
    Float[np.ndarray, "atoms features"],
    Float[np.ndarray, "pairs features 3"],
    Float[np.ndarray, "atoms features 3 3"],
    Float[np.ndarray, "atoms features"],
]:
    """Compute features of atoms and derivatives by the vectors to their neighbours.

    Parameters
    ----------
    functions, real
        As ``symmetry_functions.functions`` returns them.
    species
        The row of each atom's element.
    centre, neighbour, vectors
        Atoms of each edge, and the way from the first to (an image of) the second, in Å.
    pair
        Pair that each edge belongs to: derivatives are summed over the edges of a pair.
    n_pairs
        Number of pairs.

    Returns
    -------
    tuple
        Features; their derivatives by vectors, in 1/Å; by the strain; and the squares of those by
        vectors, in 1/Å², summed over the edges of an atom, images each for itself.
    """
    atoms = from_edges(species, np.stack([centre, neighbour]), vectors, len(functions.couple))
    column = np.where(real, np.cumsum(real) - 1, -1)
    n_features = int(real.sum())
    features = np.zeros((len(species), n_features))
    by_pair = np.zeros((n_pairs, n_features, 3))
    by_strain = np.zeros((len(species), n_features, 3, 3))
    squares = np.zeros_like(features)
    _derivatives(atoms, pair, functions, column, features, by_pair, by_strain, squares)
    return features, by_pair, by_strain, squares


_inlined: Any = inlined(fastmath=True)


@_inlined
def _add(
    i: int, pair: int, feature: int, x: float, y: float, z: float, u: float, v: float, w: float,
    by_pair: np.ndarray, by_strain: np.ndarray, squares: np.ndarray,
) -> None:  # fmt: skip
    """Add the derivative (u, v, w) of a feature of atom i by the vector (x, y, z) of an edge."""
    squares[i, feature] += u * u + v * v + w * w
    by_pair[pair, feature, 0] += u
    by_pair[pair, feature, 1] += v
    by_pair[pair, feature, 2] += w
    strain = by_strain[i, feature]
    strain[0, 0] += x * u
    strain[0, 1] += x * v
    strain[0, 2] += x * w
    strain[1, 0] += y * u
    strain[1, 1] += y * v
    strain[1, 2] += y * w
    strain[2, 0] += z * u
    strain[2, 1] += z * v
    strain[2, 2] += z * w


@jit(fastmath=True, nogil=True)
def _derivatives(
    atoms: Neighbours, pair: np.ndarray, functions: Functions, column: np.ndarray,
    features: np.ndarray, by_pair: np.ndarray, by_strain: np.ndarray, squares: np.ndarray,
) -> None:  # fmt: skip
    """Write features and derivatives; ``column`` is where each feature stands, -1 for nowhere."""
    cutoff, couple, norms = functions.cutoffs[0], functions.couple, functions.norms
    n_species, n_radial = couple.shape[0], functions.radial.shape[0]
    n_angular = functions.angular.shape[0] * functions.zetas.size
    n_atoms = features.shape[0]
    here = buffers(functions, n_atoms, atoms.begin, 0)
    stride, flat, who, ends, _, D2, D4, values, _ = here
    for i in range(n_atoms):
        gather(i, atoms, cutoff, flat, stride, who, ends)
        describe(functions, here)
        for k in range(values.size):
            if column[k] >= 0:
                features[i, column[k]] = values[k] * norms[k]
        for s in range(n_species):
            for p in range(ends[s, 0], ends[s, 1]):
                x, y, z = flat[p], flat[stride + p], flat[2 * stride + p]
                square, own = flat[3 * stride + p], pair[who[p] - n_atoms]
                for g in range(n_radial):
                    k, a = s * n_radial + g, D2[g * stride + p]
                    _add(
                        i, own, column[k], x, y, z, a * x, a * y, a * z,
                        by_pair, by_strain, squares,
                    )  # fmt: skip
                for t in range(n_species):
                    if ends[t, 0] == ends[t, 1]:
                        continue
                    first = n_species * n_radial + couple[s, t] * n_angular
                    for h in range(n_angular):
                        k, at = first + h, (t * n_angular + h) * 4 * stride + p
                        if column[k] < 0:
                            continue
                        u, v, w = D4[at + stride], D4[at + 2 * stride], D4[at + 3 * stride]
                        a, norm = (D4[at] - u * x - v * y - w * z) / square, norms[k]
                        u, v, w = norm * (u + a * x), norm * (v + a * y), norm * (w + a * z)
                        _add(
                            i, own, column[k], x, y, z, u, v, w, by_pair, by_strain, squares
                        )  # fmt: skip
