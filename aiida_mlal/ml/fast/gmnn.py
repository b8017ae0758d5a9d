"""Gaussian-moment networks on the CPU, in numba: one structure after another.

Moments and invariants are in double precision with explicit SIMD; the network, which has most of
the operations, is multiplied with all atoms at once by BLAS, in the precision of its weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.gather import gather
from aiida_mlal.ml.fast.gaussian_moments import (
    N,
    Program,
    Radial,
    add_moments,
    add_terms,
    add_terms_back,
    rows_of,
    write_all_gradients,
    write_rows,
)
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.simd import W, load, splat, store, vexp
from aiida_mlal.ml.fast.verlet import AtomRange

PORTION = 256
"""How many atoms are handled together, so that their slots stay in the caches."""

PART = 256
"""How many nodes are activated together, in double precision; a multiple of W."""


@dataclass(frozen=True, eq=False)
class Network:
    """The weights of one member, all of one precision.

    Attributes
    ----------
    coefficients
        Of the radial functions.
    layers
        Weights and biases of each layer, the first one first; the activation is SiLU.
    scale, shift
        Of the energies of atoms, for each element.
    """

    coefficients: Float[np.ndarray, "elements elements radial basis"]
    layers: Sequence[tuple[Float[np.ndarray, "out in"], Float[np.ndarray, " out"]]]
    scale: Float[np.ndarray, " elements"]
    shift: Float[np.ndarray, " elements"]


class FastGMNN:
    """Networks with fixed weights and the same Gaussians and invariants."""

    n_parameters: int | None = None

    def __init__(self, radial: Radial, program: Program, members: Sequence[Network]) -> None:
        self.cutoff, self.n_members = radial.cutoff, len(members)
        self._radial, self._program = radial, program
        self._members = [
            (
                *radial.coefficients(member.coefficients),
                np.array([program.n_slots - program.n_inner, *(len(b) for _, b in member.layers)]),
                np.concatenate([weight.ravel() for weight, _ in member.layers]),
                np.concatenate([bias for _, bias in member.layers]),
                np.array(member.scale, float),
                np.array(member.shift, float),
            )
            for member in members
        ]

    def add(
        self,
        part: AtomRange,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts, of each member."""
        self._add((part.positions, part.species, part.neighbours, part.begin), energies, forces)

    def of_edges(
        self,
        species: Int[np.ndarray, " atoms"],
        pairs: Int[np.ndarray, "2 edges"],
        vectors: Float[np.ndarray, "edges 3"],
    ) -> tuple[Float[np.ndarray, "members atoms"], Float[np.ndarray, "members edges 3"]]:
        """Return energies (eV) of atoms and their derivatives (eV/Å) by edges, of each member.

        Each edge ends at an image of its own, as seen from the origin.
        """
        n_atoms, n_species = len(species), len(self._members[0][0])
        group = pairs[0] * n_species + species[pairs[1]]
        order = np.argsort(group, kind="stable")
        begin = np.concatenate([[0], np.bincount(group, minlength=n_atoms * n_species).cumsum()])
        images = np.concatenate([np.zeros((n_atoms, 3)), vectors])
        energies = np.zeros((self.n_members, n_atoms))
        forces = np.zeros((self.n_members, *images.shape))
        neighbours = (n_atoms + order).astype(np.int32)
        self._add((images, species.astype(np.int32), neighbours, begin), energies, forces)
        return energies, -forces[:, n_atoms:]

    def _add(
        self, structure: tuple[np.ndarray, ...], energies: np.ndarray, forces: np.ndarray
    ) -> None:
        program = self._program
        for member, energy, force in zip(self._members, energies, forces):
            _chunk(
                *structure, self._radial.arrays, self._radial.n_radial, program.forth.arrays,
                program.back.arrays, program.n_inner, program.n_slots, *member, energy, force,
            )  # fmt: skip


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def _activate(nodes: np.ndarray, slopes: np.ndarray, work: np.ndarray) -> None:
    """Apply SiLU to nodes in place, write its derivative."""
    for start in range(0, nodes.size, PART):
        n = min(PART, nodes.size - start)
        for q in range(n):
            work[q] = nodes[start + q]
        for q in range(0, n, W):
            x = load(work, q)
            logistic = splat(1.0) / (vexp(x * -1.0) + 1.0)
            y = x * logistic
            store(work, q, y)
            store(work, PART + q, logistic + y * (splat(1.0) - logistic))
        for q in range(n):
            nodes[start + q], slopes[start + q] = work[q], work[PART + q]


@_inlined
def _network(
    inputs: np.ndarray, sizes: np.ndarray, weights: np.ndarray, biases: np.ndarray,
    start: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the outputs, and the slopes by the inputs for these by the outputs."""
    n_layers, n = sizes.size - 1, inputs.shape[1]
    work, nodes = np.zeros(2 * PART), inputs
    slopes = [inputs]
    at = bias = 0
    for layer in range(n_layers):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        matrix = weights[at : at + n_in * n_out].reshape((n_out, n_in))
        nodes = np.dot(matrix, nodes)
        for i in range(n_out):
            for q in range(n):
                nodes[i, q] += biases[bias + i]
        at, bias = at + n_in * n_out, bias + n_out
        if layer < n_layers - 1:
            slope = np.empty_like(nodes)
            _activate(nodes.reshape(-1), slope.reshape(-1), work)
            slopes.append(slope)
    back = start
    for layer in range(n_layers - 1, -1, -1):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        at -= n_in * n_out
        matrix = weights[at : at + n_in * n_out].reshape((n_out, n_in))
        back = np.dot(matrix.T, back)
        if layer > 0:
            slope = slopes[layer]
            for i in range(n_in):
                for q in range(n):
                    back[i, q] *= slope[i, q]
    return nodes, back


@jit(fastmath=True, nogil=True)
def _chunk(
    positions: np.ndarray, species: np.ndarray, neighbours: np.ndarray, begin: np.ndarray,
    radial: tuple[np.ndarray, ...], n_radial: int, forth: tuple[np.ndarray, ...],
    back: tuple[np.ndarray, ...], n_inner: int, n_slots: int, last: np.ndarray,
    first: np.ndarray, sizes: np.ndarray, weights: np.ndarray, biases: np.ndarray,
    scale: np.ndarray, shift: np.ndarray, energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on atoms and ghosts, of one member."""
    constants, centres, polynomial = radial
    n_atoms, n_basis, n_species = energies.size, centres.size, last.shape[0]
    n_portions = (n_atoms + PORTION - 1) // PORTION
    n_blocks = (n_atoms + n_portions * W - 1) // (n_portions * W) if n_portions else 0
    width, most = (n_basis + W - 1) // W * W, 0
    for i in range(n_atoms):
        most = max(most, begin[(i + 1) * n_species] - begin[i * n_species])
    stride = (most + (n_species + 2) * W) // W * W
    flat, turned = np.empty(rows_of(n_basis) * stride), np.zeros(stride * width)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    sums, gradients = np.empty(n_species * N * width), np.empty(3 * stride)
    work, by_sums = np.empty(N * W), np.empty(N * width)
    slots, bars = np.empty((n_blocks, n_slots * W)), np.empty(n_slots * W)
    inputs = np.empty((n_slots - n_inner, n_blocks * W), weights.dtype)
    start = np.zeros((1, n_blocks * W), weights.dtype)
    forth_mixing, back_mixing = last.reshape(-1), first.reshape(-1)
    for portion in range(0, n_atoms, max(1, n_blocks * W)):
        for block in range(n_blocks):
            mine, at = slots[block], portion + block * W
            mine[:] = 0.0
            store(mine, 0, splat(1.0))
            for i in range(at, min(at + W, n_atoms)):
                start[0, i - portion] = scale[species[i]]
                gather(i, positions, neighbours, begin, constants[0], flat, stride, who, ends)
                write_rows(flat, stride, ends[n_species, 0], constants, centres, polynomial)
                sums[:] = 0.0
                add_moments(
                    flat, stride, turned, ends, species[i], n_basis, forth_mixing, n_radial, sums,
                    mine, i - at, work,
                )  # fmt: skip
            add_terms(forth[0], forth[1], forth[2], forth[3], mine, mine, mine, 1 + n_radial * N)
            for f in range(inputs.shape[0]):
                for q in range(W):
                    inputs[f, block * W + q] = mine[(n_inner + f) * W + q]
        outputs, slopes = _network(inputs, sizes, weights, biases, start)
        for block in range(n_blocks):
            at = portion + block * W
            bars[: n_inner * W] = 0.0
            for f in range(inputs.shape[0]):
                for q in range(W):
                    bars[(n_inner + f) * W + q] = slopes[f, block * W + q]
            add_terms_back(back[0], back[1], back[2], back[3], bars, slots[block], bars)
            for i in range(at, min(at + W, n_atoms)):
                energies[i] += scale[species[i]] * outputs[0, i - portion] + shift[species[i]]
                gather(i, positions, neighbours, begin, constants[0], flat, stride, who, ends)
                write_rows(flat, stride, ends[n_species, 0], constants, centres, polynomial)
                write_all_gradients(
                    flat, stride, ends, species[i], n_basis, back_mixing, n_radial, bars, i - at,
                    by_sums, gradients, work,
                )  # fmt: skip
                for s in range(n_species):
                    for q in range(ends[s, 0], ends[s, 1]):
                        for axis in range(3):
                            force = gradients[axis * stride + q]
                            forces[i, axis] += force
                            forces[who[q], axis] -= force
