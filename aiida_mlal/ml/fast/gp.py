"""The mean of a Gaussian process of symmetry functions, in numba with explicit SIMD."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.fast.gather import gather
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.simd import W, aligned, load, splat, store, vsum
from aiida_mlal.ml.fast.symmetry_functions import (
    GROUP,
    Functions,
    add_forces,
    describe,
    room,
    spread,
)
from aiida_mlal.ml.fast.verlet import AtomRange


class FastGP:
    """Energies that are sums over environments that were learned from.

    Parameters
    ----------
    functions, real
        As ``symmetry_functions.functions`` returns them.
    scales
        Length scales of the features, for each element.
    environments
        Their features in units of the length scales.
    element
        The row of the element of each.
    heights, slopes
        What they add: the covariance (in units of the variance) times the height, and the slope
        along the difference of an environment from it.
    variance
        In eV².
    constants
        Of each element, in eV.
    """

    n_parameters: int | None = None
    n_members = 1

    def __init__(
        self,
        functions: Functions,
        real: Bool[np.ndarray, " filled"],
        scales: Float[np.ndarray, "elements features"],
        environments: Float[np.ndarray, "environments features"],
        element: Int[np.ndarray, " environments"],
        heights: Float[np.ndarray, " environments"],
        slopes: Float[np.ndarray, "environments features"],
        variance: float,
        constants: Float[np.ndarray, " elements"],
    ) -> None:
        self.cutoff, self._functions = float(functions.cutoffs[0]), functions
        order = np.argsort(element, kind="stable")
        more = -len(real) % W
        real = np.pad(real, (0, more))
        norms = np.pad(self._functions.norms, (0, more))
        self._constants = (
            spread(1 / scales, real, 0.0) * norms,
            spread(environments[order], real, 0.0),
            variance * spread(slopes[order], real, 0.0),
            variance * heights[order],
            np.searchsorted(element[order], np.arange(len(functions.couple) + 1)),
            np.array(constants, float),
        )

    def add(
        self,
        part: AtomRange,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts."""
        _chunk(
            energies.shape[1], part.positions, part.species, part.neighbours, part.begin,
            self._functions, self._constants, energies[0], forces[0],
        )  # fmt: skip


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def _mean(
    environments: np.ndarray, along: np.ndarray, heights: np.ndarray, begin: int, end: int,
    x: np.ndarray, slopes: np.ndarray,
) -> float:  # fmt: skip
    """Return the energy of an environment, and write its slopes by the features."""
    n = x.size
    flat, directions = environments.reshape(-1), along.reshape(-1)
    energy = 0.0
    for p in range(0, n, W):
        store(slopes, p, splat(0.0))
    for b in range(begin, end):
        square, rise = splat(0.0), splat(0.0)
        for p in range(0, n, W):
            apart = load(x, p) - load(flat, b * n + p)
            square = square + apart * apart
            rise = rise + apart * load(directions, b * n + p)
        k, height = np.exp(-0.5 * vsum(square)), heights[b] + vsum(rise)
        energy += k * height
        for p in range(0, n, W):
            apart = load(x, p) - load(flat, b * n + p)
            along_b = load(directions, b * n + p) * k
            store(slopes, p, load(slopes, p) + along_b - apart * (k * height))
    return energy


@jit(fastmath=True, nogil=True)
def _chunk(
    n_atoms: int, positions: np.ndarray, species: np.ndarray, neighbours: np.ndarray,
    begin: np.ndarray, functions: Functions, constants: tuple[np.ndarray, ...],
    energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on atoms and ghosts."""
    gain, environments, along, heights, first, shifts = constants
    cutoff = functions.cutoffs[0]
    stride, flat, who, ends, G, D2, D4, features = room(functions, n_atoms, begin)
    x, slopes = aligned(gain.shape[1]), aligned(gain.shape[1])
    x[:] = 0.0
    work = np.empty(max(4 * GROUP, 3 * W))
    for i in range(n_atoms):
        z = species[i]
        gather(i, positions, neighbours, begin, cutoff, flat, stride, who, ends)
        describe(functions, stride, flat, ends, G, D2, D4, work, features)
        for k in range(features.size):
            x[k] = features[k] * gain[z, k]
        energies[i] += shifts[z] + _mean(
            environments, along, heights, first[z], first[z + 1], x, slopes
        )
        for k in range(features.size):
            slopes[k] *= gain[z, k]
        add_forces(i, functions, stride, flat, who, ends, slopes, D2, D4, forces, work)
