"""Behler-Parrinello networks on the CPU, in numba with explicit SIMD.

The members of a committee share their symmetry functions: each has only its networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.gather import gather
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.simd import W, fill, load, splat, store, vexp, vlog, vsqrt
from aiida_mlal.ml.fast.symmetry_functions import (
    GROUP,
    Functions,
    add_forces,
    describe,
    functions,
    room,
    spread,
)
from aiida_mlal.ml.fast.verlet import AtomRange

TINY = 1e-300
"""So small that a number's square is not changed by it, unless that is zero."""


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one member.

    Attributes
    ----------
    layers
        For each element, weights (output, input) and biases of each layer, the first one first.
    low, high
        Values of the features that become -1 and 1, for each element.
    scale, shift
        Of the energies of atoms; the shift for each element.
    """

    layers: Sequence[Sequence[tuple[Float[np.ndarray, "out in"], Float[np.ndarray, " out"]]]]
    low: Float[np.ndarray, "elements features"]
    high: Float[np.ndarray, "elements features"]
    scale: float
    shift: Float[np.ndarray, " elements"]


class FastBPNN:
    """Networks with fixed weights on the same symmetry functions, for all members at once.

    Parameters
    ----------
    cutoff, radial, etas, zetas, signs, couple
        As of ``functions``.
    members
        The networks, all with layers of the same sizes.
    """

    n_parameters: int | None = None

    def __init__(
        self,
        cutoff: float,
        radial: Float[np.ndarray, "functions 2"],
        etas: Sequence[float],
        zetas: Sequence[int],
        signs: Sequence[float],
        couple: Int[np.ndarray, "elements elements"],
        members: Sequence[Networks],
    ) -> None:
        self.cutoff, self.n_members = cutoff, len(members)
        self._functions, real = functions(cutoff, radial, etas, zetas, signs, couple)
        first = members[0].layers[0]
        sizes = [len(real), *(len(bias) for _, bias in first)]
        low, gain, weights = [], [], []
        for z in range(len(couple)):
            low.append([spread(m.low[z], real, 0.0) for m in members])
            gain.append([spread(2 / (m.high[z] - m.low[z]), real, 0.0) for m in members])
            weights.append([_pack(m.layers[z], real) for m in members])
        self._constants = (
            np.array(low),
            np.array(gain),
            np.array([m.scale for m in members], float),
            np.array([m.shift for m in members], float),
            np.array(weights),
            np.array(sizes, dtype=np.int64),
        )

    def add(
        self,
        part: AtomRange,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts, of each member."""
        _chunk(
            energies.shape[1], part.positions, part.species, part.neighbours, part.begin,
            self._functions, self._constants, energies, forces,
        )  # fmt: skip


def _pack(layers: Sequence[tuple[np.ndarray, np.ndarray]], real: np.ndarray) -> np.ndarray:
    """Return the weights of a network in the order in which ``_network`` reads them."""
    forth, back = [], []
    for i, (weight, bias) in enumerate(layers):
        weight = spread(weight, real, 0.0) if i == 0 else weight
        forth += [_filled(weight.T), _filled(bias[None])]
        back.append(_filled(weight))
    return np.concatenate([part.ravel() for part in forth + back[::-1]])


def _filled(rows: np.ndarray) -> np.ndarray:
    """Return rows with zeros at the end, so that vectors fit."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % W)))


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def _network(
    weights: np.ndarray, sizes: np.ndarray, nodes: np.ndarray, slopes: np.ndarray,
    work: np.ndarray,
) -> float:  # fmt: skip
    """Return the output for the inputs in row 0 of the nodes, and its slopes by the inputs."""
    n, width, at = sizes.size - 1, nodes.shape[1], 0
    flat = nodes.reshape(-1)
    for layer in range(n):
        n_in, stride = sizes[layer], (sizes[layer + 1] + W - 1) // W * W
        for p in range(0, stride, W):
            y = load(weights, at + n_in * stride + p)
            for i in range(n_in):
                y = y + fill(flat, layer * width + i) * load(weights, at + i * stride + p)
            if layer < n - 1:  # asinh, odd also where the logarithm is of the large and the small
                size = vsqrt(y * y + TINY)
                y = y / size * vlog(size + vsqrt(y * y + 1.0))
            store(flat, (layer + 1) * width + p, y)
        at += (n_in + 1) * stride
    slopes[0] = 1.0
    for layer in range(n - 1, -1, -1):
        n_out, stride = sizes[layer + 1], (sizes[layer] + W - 1) // W * W
        for p in range(0, stride, W):
            g = splat(0.0)
            for i in range(n_out):
                g = g + fill(slopes, i) * load(weights, at + i * stride + p)
            if layer > 0:
                y = vexp(load(flat, layer * width + p))  # 1 / cosh
                g = g * (y * 2.0 / (y * y + 1.0))
            store(work, p, g)
        for p in range(stride):
            slopes[p] = work[p]
        at += n_out * stride
    return nodes[n, 0]


@jit(fastmath=True, nogil=True)
def _chunk(
    n_atoms: int, positions: np.ndarray, species: np.ndarray, neighbours: np.ndarray,
    begin: np.ndarray, functions: Functions, constants: tuple[np.ndarray, ...],
    energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on atoms and ghosts, of each member."""
    low, gain, scales, shifts, weights, sizes = constants
    cutoff, norms, n_members = functions.cutoffs[0], functions.norms, scales.size
    stride, flat, who, ends, G, D2, D4, features = room(functions, n_atoms, begin)
    widest = 0
    for n in sizes:
        widest = max(widest, (n + W - 1) // W * W)
    nodes, slopes = np.zeros((sizes.size, widest)), np.zeros(widest)
    work = np.empty(max(widest, 4 * GROUP, 3 * W))
    for i in range(n_atoms):
        z = species[i]
        gather(i, positions, neighbours, begin, cutoff, flat, stride, who, ends)
        describe(functions, stride, flat, ends, G, D2, D4, work, features)
        for m in range(n_members):
            for k in range(features.size):
                nodes[0, k] = (features[k] * norms[k] - low[z, m, k]) * gain[z, m, k] - 1.0
            energy = _network(weights[z, m], sizes, nodes, slopes, work)
            energies[m, i] += energy * scales[m] + shifts[m, z]
            for k in range(features.size):
                slopes[k] *= scales[m] * gain[z, m, k] * norms[k]
            add_forces(i, functions, stride, flat, who, ends, slopes, D2, D4, forces[m], work)
