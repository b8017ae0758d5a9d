"""Behler-Parrinello networks on the CPU, in numba with explicit SIMD.

The members of a committee share their symmetry functions: each has only its networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.fast.gather import gather
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.kernel import PlainKernel
from aiida_mlal.ml.fast.simd import W, fill, load, splat, store, vexp, vlog, vsqrt
from aiida_mlal.ml.fast.symmetry_functions import (
    Functions,
    add_forces,
    buffers,
    describe,
    spread,
)
from aiida_mlal.ml.fast.verlet import Neighbours

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


class FastBPNN(PlainKernel):
    """Networks with fixed weights on the same symmetry functions, for all members at once.

    Parameters
    ----------
    functions, real
        As ``symmetry_functions.functions`` returns them.
    members
        The networks, all with layers of the same sizes.
    """

    def __init__(
        self,
        functions: Functions,
        real: Bool[np.ndarray, " filled"],
        members: Sequence[Networks],
    ) -> None:
        self.cutoff, self.n_members = float(functions.cutoffs[0]), len(members)
        self._functions = functions
        first = members[0].layers[0]
        sizes = [len(real), *(len(bias) for _, bias in first)]
        low, gain, weights = [], [], []
        for z in range(len(functions.couple)):
            low.append([spread(m.low[z], real, 0.0) for m in members])
            gain.append([spread(2 / (m.high[z] - m.low[z]), real, 0.0) for m in members])
            weights.append([_pack(m.layers[z], real) for m in members])
        self._constants = Constants(
            np.array(low),
            np.array(gain),
            np.array([m.scale for m in members], float),
            np.array([m.shift for m in members], float),
            np.array(weights),
            np.array(sizes, dtype=np.int64),
        )

    def _add(self, atoms: Neighbours, energies: np.ndarray, forces: np.ndarray) -> None:
        _chunk(atoms, self._functions, self._constants, energies, forces)


class Constants(NamedTuple):
    """What compiled code takes of the networks of all members.

    Attributes
    ----------
    low, gain
        A feature enters as ``(feature - low) * gain - 1``; they are filled up.
    scales, shifts
        Of the energies, in eV.
    weights
        Of all layers, as ``_pack`` arranges them.
    sizes
        Nodes of the layers, the inputs first.
    """

    low: Float[np.ndarray, "elements members features"]
    gain: Float[np.ndarray, "elements members features"]
    scales: Float[np.ndarray, " members"]
    shifts: Float[np.ndarray, "members elements"]
    weights: Float[np.ndarray, "elements members numbers"]
    sizes: Int[np.ndarray, " layers"]


def _pack(layers: Sequence[tuple[np.ndarray, np.ndarray]], real: np.ndarray) -> np.ndarray:
    """Arrange the weights of a network in the order in which ``_network`` reads them."""
    forth, back = [], []
    for i, (weight, bias) in enumerate(layers):
        weight = spread(weight, real, 0.0) if i == 0 else weight
        forth += [_filled(weight.T), _filled(bias[None])]
        back.append(_filled(weight))
    return np.concatenate([part.ravel() for part in forth + back[::-1]])


def _filled(rows: np.ndarray) -> np.ndarray:
    """Pad rows with zeros, so that vectors fit."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % W)))


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def _network(
    weights: np.ndarray, sizes: np.ndarray, nodes: np.ndarray, adjoints: np.ndarray,
    work: np.ndarray,
) -> float:  # fmt: skip
    """Return the output for the inputs in row 0 of the nodes; write its derivatives by these."""
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
    adjoints[0] = 1.0
    for layer in range(n - 1, -1, -1):
        n_out, stride = sizes[layer + 1], (sizes[layer] + W - 1) // W * W
        for p in range(0, stride, W):
            g = splat(0.0)
            for i in range(n_out):
                g = g + fill(adjoints, i) * load(weights, at + i * stride + p)
            if layer > 0:
                y = vexp(load(flat, layer * width + p))  # 1 / cosh
                g = g * (y * 2.0 / (y * y + 1.0))
            store(work, p, g)
        for p in range(stride):
            adjoints[p] = work[p]
        at += n_out * stride
    return nodes[n, 0]


@jit(fastmath=True, nogil=True)
def _chunk(
    atoms: Neighbours, functions: Functions, networks: Constants, energies: np.ndarray,
    forces: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on atoms and ghosts, of each member."""
    low, gain, scales, shifts, weights, sizes = networks
    cutoff, norms, (n_members, n_atoms) = functions.cutoffs[0], functions.norms, energies.shape
    widest = 0
    for n in sizes:
        widest = max(widest, (n + W - 1) // W * W)
    here = buffers(functions, n_atoms, atoms.begin, widest)
    features, work = here.features, here.work
    nodes, adjoints = np.zeros((sizes.size, widest)), np.zeros(widest)
    for i in range(n_atoms):
        z = atoms.species[i]
        gather(i, atoms, cutoff, here.flat, here.stride, here.who, here.ends)
        describe(functions, here)
        for m in range(n_members):
            for k in range(features.size):
                nodes[0, k] = (features[k] * norms[k] - low[z, m, k]) * gain[z, m, k] - 1.0
            energy = _network(weights[z, m], sizes, nodes, adjoints, work)
            energies[m, i] += energy * scales[m] + shifts[m, z]
            for k in range(features.size):
                adjoints[k] *= scales[m] * gain[z, m, k] * norms[k]
            add_forces(i, functions, here, adjoints, forces[m])
