"""The mean of a Gaussian process of symmetry functions, in numba with explicit SIMD."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.fast.gather import gather
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.kernel import PlainKernel
from aiida_mlal.ml.fast.simd import W, aligned, load, splat, store, vsum
from aiida_mlal.ml.fast.symmetry_functions import (
    Functions,
    add_forces,
    buffers,
    describe,
    spread,
)
from aiida_mlal.ml.fast.verlet import Neighbours


class FastGP(PlainKernel):
    """The mean of a Gaussian process of environments, a sum over those that were learned from.

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
        self._constants = Constants(
            spread(1 / scales, real, 0.0) * norms,
            spread(environments[order], real, 0.0),
            variance * spread(slopes[order], real, 0.0),
            variance * heights[order],
            np.searchsorted(element[order], np.arange(len(functions.couple) + 1)),
            np.array(constants, float),
        )

    def _add(self, atoms: Neighbours, energies: np.ndarray, forces: np.ndarray) -> None:
        _chunk(atoms, self._functions, self._constants, energies[0], forces[0])


class Constants(NamedTuple):
    """What compiled code takes of a process; features are filled up, environments sorted.

    Attributes
    ----------
    gain
        Norms of the features over the length scales of each element.
    environments, along, heights
        Scaled features of environments; slopes and heights times the variance.
    first
        Index of the first environment of each element, and at last their number.
    shifts
        Energies of the elements, in eV.
    """

    gain: Float[np.ndarray, "elements features"]
    environments: Float[np.ndarray, "environments features"]
    along: Float[np.ndarray, "environments features"]
    heights: Float[np.ndarray, " environments"]
    first: Int[np.ndarray, " elements_and_end"]
    shifts: Float[np.ndarray, " elements"]


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def _mean(process: Constants, begin: int, end: int, x: np.ndarray, adjoints: np.ndarray) -> float:
    """Return the energy (eV) of an environment x, write its derivatives by x as ``adjoints``.

    Sum over the environments from begin to end.
    """
    n, heights = x.size, process.heights
    flat, directions = process.environments.reshape(-1), process.along.reshape(-1)
    energy = 0.0
    for p in range(0, n, W):
        store(adjoints, p, splat(0.0))
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
            store(adjoints, p, load(adjoints, p) + along_b - apart * (k * height))
    return energy


@jit(fastmath=True, nogil=True)
def _chunk(
    atoms: Neighbours, functions: Functions, process: Constants, energies: np.ndarray,
    forces: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on atoms and ghosts."""
    gain, first = process.gain, process.first
    cutoff, n_atoms = functions.cutoffs[0], energies.size
    here = buffers(functions, n_atoms, atoms.begin, 0)
    features = here.features
    x, adjoints = aligned(gain.shape[1]), aligned(gain.shape[1])
    x[:] = 0.0
    for i in range(n_atoms):
        z = atoms.species[i]
        gather(i, atoms, cutoff, here.flat, here.stride, here.who, here.ends)
        describe(functions, here)
        for k in range(features.size):
            x[k] = features[k] * gain[z, k]
        energies[i] += process.shifts[z] + _mean(process, first[z], first[z + 1], x, adjoints)
        for k in range(features.size):
            adjoints[k] *= gain[z, k]
        add_forces(i, functions, here, adjoints, forces)
