"""Gaussian-moment networks on the CPU, in numba: one structure after another.

Moments and invariants are in double precision with explicit SIMD; the network, which has most of
the operations, is multiplied with all atoms at once by BLAS, in the precision of its weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.gather import from_edges, gather, most_neighbours
from aiida_mlal.ml.fast.gaussian_moments import (
    Gaussians,
    Mixing,
    N,
    Program,
    add_moments,
    add_terms,
    add_terms_back,
    rows_of,
    write_all_gradients,
    write_rows,
)
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.kernel import PlainKernel
from aiida_mlal.ml.fast.simd import W, load, splat, store, vexp
from aiida_mlal.ml.fast.verlet import Neighbours

PORTION = 256
"""Atoms that are handled together, so that their slots stay in the caches."""

PART = 256
"""Nodes that are activated together, in double precision; a multiple of W."""


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


class FastGMNN(PlainKernel):
    """Networks with fixed weights and the same Gaussians and invariants."""

    def __init__(self, gaussians: Gaussians, program: Program, members: Sequence[Network]) -> None:
        self.cutoff, self.n_members = gaussians.cutoff, len(members)
        self._gaussians, self._program = gaussians, program
        self._members = [
            Weights(
                Mixing.of(member.coefficients),
                np.array([program.n_slots - program.n_inner, *(len(b) for _, b in member.layers)]),
                np.concatenate([weight.ravel() for weight, _ in member.layers]),
                np.concatenate([bias for _, bias in member.layers]),
                np.array(member.scale, float),
                np.array(member.shift, float),
            )
            for member in members
        ]

    def of_edges(
        self,
        species: Int[np.ndarray, " atoms"],
        pairs: Int[np.ndarray, "2 edges"],
        vectors: Float[np.ndarray, "edges 3"],
    ) -> tuple[Float[np.ndarray, "members atoms"], Float[np.ndarray, "members edges 3"]]:
        """Return energies (eV) of atoms and their derivatives (eV/Å) by edges, of each member."""
        n_atoms, n_species = len(species), len(self._members[0].scale)
        atoms = from_edges(species, pairs, vectors, n_species)
        energies = np.zeros((self.n_members, n_atoms))
        forces = np.zeros((self.n_members, *atoms.positions.shape))
        self._add(atoms, energies, forces)
        return energies, -forces[:, n_atoms:]

    def _add(self, atoms: Neighbours, energies: np.ndarray, forces: np.ndarray) -> None:
        for member, energy, force in zip(self._members, energies, forces):
            _chunk(atoms, self._gaussians, self._program, member, energy, force)


class Weights(NamedTuple):
    """The weights of a network as compiled code takes them.

    Attributes
    ----------
    mixing
        The coefficients of the radial functions.
    sizes
        Nodes of the layers, the invariants first.
    weights, biases
        Of all layers, one after the other, in one precision.
    scale, shift
        Of the energies of atoms in eV, for each element.
    """

    mixing: Mixing
    sizes: Int[np.ndarray, " layers"]
    weights: Float[np.ndarray, " weights"]
    biases: Float[np.ndarray, " biases"]
    scale: Float[np.ndarray, " elements"]
    shift: Float[np.ndarray, " elements"]


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
    inputs: np.ndarray, member: Weights, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs, and the adjoints of the inputs for those of the outputs, ``start``."""
    sizes, weights, biases = member.sizes, member.weights, member.biases
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
    atoms: Neighbours, gaussians: Gaussians, program: Program, member: Weights,
    energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on atoms and ghosts, of one member."""
    species, scale, shift = atoms.species, member.scale, member.shift
    n_inner, n_slots, cutoff = program.n_inner, program.n_slots, gaussians.cutoff
    last, first, n_radial = member.mixing.forth, member.mixing.back, gaussians.n_radial
    n_atoms, n_basis, n_species = energies.size, gaussians.centres.size, last.shape[0]
    n_portions = (n_atoms + PORTION - 1) // PORTION
    n_blocks = (n_atoms + n_portions * W - 1) // (n_portions * W) if n_portions else 0
    width = (n_basis + W - 1) // W * W
    most = most_neighbours(atoms.begin, n_atoms, n_species)
    stride = (most + (n_species + 2) * W) // W * W
    flat, turned = np.empty(rows_of(n_basis) * stride), np.zeros(stride * width)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    sums, gradients = np.empty(n_species * N * width), np.empty(3 * stride)
    work, by_sums = np.empty(N * W), np.empty(N * width)
    slots, adjoints = np.empty((n_blocks, n_slots * W)), np.empty(n_slots * W)
    inputs = np.empty((n_slots - n_inner, n_blocks * W), member.weights.dtype)
    start = np.zeros((1, n_blocks * W), member.weights.dtype)
    forth_mixing, back_mixing = last.reshape(-1), first.reshape(-1)
    for portion in range(0, n_atoms, max(1, n_blocks * W)):
        for block in range(n_blocks):
            mine, at = slots[block], portion + block * W
            mine[:] = 0.0
            store(mine, 0, splat(1.0))
            for i in range(at, min(at + W, n_atoms)):
                start[0, i - portion] = scale[species[i]]
                gather(i, atoms, cutoff, flat, stride, who, ends)
                write_rows(flat, stride, ends[n_species, 0], gaussians)
                sums[:] = 0.0
                add_moments(
                    flat, stride, turned, ends, species[i], n_basis, forth_mixing, n_radial, sums,
                    mine, i - at, work,
                )  # fmt: skip
            add_terms(program.forth, mine, 1 + n_radial * N)
            for f in range(inputs.shape[0]):
                for q in range(W):
                    inputs[f, block * W + q] = mine[(n_inner + f) * W + q]
        outputs, by_inputs = _network(inputs, member, start)
        for block in range(n_blocks):
            at = portion + block * W
            adjoints[: n_inner * W] = 0.0
            for f in range(inputs.shape[0]):
                for q in range(W):
                    adjoints[(n_inner + f) * W + q] = by_inputs[f, block * W + q]
            add_terms_back(program.back, adjoints, slots[block], adjoints)
            for i in range(at, min(at + W, n_atoms)):
                energies[i] += scale[species[i]] * outputs[0, i - portion] + shift[species[i]]
                gather(i, atoms, cutoff, flat, stride, who, ends)
                write_rows(flat, stride, ends[n_species, 0], gaussians)
                write_all_gradients(
                    flat, stride, ends, species[i], n_basis, back_mixing, n_radial, adjoints,
                    i - at, by_sums, gradients, work,
                )  # fmt: skip
                for s in range(n_species):
                    for q in range(ends[s, 0], ends[s, 1]):
                        for axis in range(3):
                            force = gradients[axis * stride + q]
                            forces[i, axis] += force
                            forces[who[q], axis] -= force
