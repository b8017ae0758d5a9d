"""Gaussian moments of fixed structures, and their derivatives, on the CPU in numba.

Invariants of W atoms at a time, their derivatives by the edges, the same along a tangent of the
edges, and the derivatives of all this by the coefficients of the radial functions. Only sums and
slots are kept between: what belongs to single edges is computed again, which costs less than to
read it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.gather import gather, most_neighbours
from aiida_mlal.ml.fast.gaussian_moments import (
    BASIS,
    MONOMIALS,
    Gaussians,
    Mixing,
    N,
    Program,
    add_moments,
    add_products,
    add_terms,
    add_terms_back,
    add_terms_tangent,
    mix,
    rows_of,
    transpose,
    write_all_gradients,
    write_rows,
    write_tangents,
)
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.simd import W, fill, load, splat, store
from aiida_mlal.ml.fast.verlet import Neighbours


class Described:
    """Invariants of atoms with certain coefficients, and all derivatives of them.

    Attributes
    ----------
    features
        The invariants, columns filled up to whole vectors with those of no neighbours.

    Parameters
    ----------
    edges
        As ``gather.from_edges`` arranges them.
    """

    features: Float[np.ndarray, "features filled"]

    def __init__(
        self,
        edges: Neighbours,
        gaussians: Gaussians,
        program: Program,
        coefficients: Float[np.ndarray, "elements elements radial basis"],
    ) -> None:
        self._edges, self._gaussians, self._program = edges, gaussians, program
        self._mixing = Mixing.of(coefficients)
        self._n_filled = -(-len(edges.species) // W) * W
        self._sums, self._slots = self._new_sums(), self._new_slots()
        self.features = np.empty((program.n_slots - program.n_inner, self._n_filled))
        _describe(
            edges, gaussians, program, self._mixing, self._sums, self._slots, self.features
        )  # fmt: skip

    def gradients(
        self, by_features: Float[np.ndarray, "features filled"]
    ) -> Float[np.ndarray, "edges 3"]:
        """Back-propagate dE/dB (features x atoms, in eV) to the edges: return dE/dr in eV/Å."""
        self._adjoints = self._new_slots()
        gradients = np.zeros((len(self._edges.positions) - len(self._edges.species), 3))
        _differentiate(
            self._edges, self._gaussians, self._program, self._mixing, by_features, self._slots,
            self._adjoints, gradients,
        )  # fmt: skip
        return gradients

    def tangents(self, along: Float[np.ndarray, "edges 3"]) -> Float[np.ndarray, "features filled"]:
        """Differentiate the invariants along displacements of the edges (Å): forward mode."""
        self._tangent_sums, self._tangents = self._new_sums(), self._new_slots()
        tangents = np.empty_like(self.features)
        _move(
            self._edges, along, self._gaussians, self._program, self._mixing, self._slots,
            self._tangent_sums, self._tangents, tangents,
        )  # fmt: skip
        return tangents

    def by_coefficients(
        self, by_features: Float[np.ndarray, "features filled"]
    ) -> Float[np.ndarray, "elements elements radial basis"]:
        """Back-propagate dL/dB (features x atoms) to the radial coefficients: return dL/dβ."""
        by_coefficients = np.zeros_like(self._mixing.back)
        _by_coefficients(
            self._edges.species, self._gaussians.n_radial, self._program, by_features, self._sums,
            self._slots, by_coefficients,
        )  # fmt: skip
        return by_coefficients[..., : len(self._gaussians.centres)]

    def by_coefficients_along(
        self, by_features: Float[np.ndarray, "features filled"]
    ) -> Float[np.ndarray, "elements elements radial basis"]:
        """Back-propagate to the radial coefficients through the tangents too; return dL/dβ.

        After ``gradients`` and ``tangents``, of a loss L with the derivatives ``by_features`` by
        the invariants, and by their tangents those that ``gradients`` was given.
        """
        by_coefficients = np.zeros_like(self._mixing.back)
        _by_coefficients_along(
            self._edges.species, self._gaussians.n_radial, self._program, by_features, self._sums,
            self._slots, self._tangent_sums, self._tangents, self._adjoints, by_coefficients,
        )  # fmt: skip
        return by_coefficients[..., : len(self._gaussians.centres)]

    def _new_sums(self) -> np.ndarray:
        n_elements, width = len(self._mixing.back), self._mixing.back.shape[-1]
        return np.zeros((len(self._edges.species), n_elements, N * width))

    def _new_slots(self) -> np.ndarray:
        return np.zeros((self._n_filled // W, self._program.n_slots * W))


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)
_kernel: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)


@_inlined
def _stride(edges: Neighbours, n_species: int) -> int:
    """Return the length of rows that have room for the neighbours of any atom, filled up."""
    most = most_neighbours(edges.begin, edges.species.size, n_species)
    return (most + (n_species + 2) * W) // W * W


@_inlined
def _load_adjoints(by_features: np.ndarray, block: int, n_inner: int, adjoints: np.ndarray) -> None:
    """Write the adjoints of the invariants of W atoms into their slots."""
    flat = by_features.reshape(-1)
    for f in range(by_features.shape[0]):
        at = f * by_features.shape[1] + block * W
        store(adjoints, (n_inner + f) * W, load(flat, at))


@_inlined
def _store_features(slots: np.ndarray, block: int, n_inner: int, features: np.ndarray) -> None:
    """Write the invariants of W atoms, or their tangents, from their slots."""
    flat = features.reshape(-1)
    for f in range(features.shape[0]):
        store(flat, f * features.shape[1] + block * W, load(slots, (n_inner + f) * W))


@_kernel
def _describe(
    edges: Neighbours, gaussians: Gaussians, program: Program, mixing: Mixing, sums: np.ndarray,
    slots: np.ndarray, features: np.ndarray,
) -> None:  # fmt: skip
    """Write the sums over Gaussians of each atom, the slots of W atoms, and the invariants."""
    species, n_basis, n_radial = edges.species, gaussians.centres.size, gaussians.n_radial
    n_species, width = sums.shape[1], sums.shape[2] // N
    stride = _stride(edges, n_species)
    flat, turned = np.empty(rows_of(n_basis) * stride), np.zeros(stride * width)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    coefficients, work = mixing.forth.reshape(-1), np.empty(N * W)
    for block in range(slots.shape[0]):
        mine = slots[block]
        store(mine, 0, splat(1.0))
        for i in range(block * W, min(block * W + W, species.size)):
            gather(i, edges, gaussians.cutoff, flat, stride, who, ends)
            write_rows(flat, stride, ends[n_species, 0], gaussians)
            own = sums[i].reshape(-1)
            add_moments(
                flat, stride, turned, ends, species[i], n_basis, coefficients, n_radial, own, mine,
                i - block * W, work,
            )  # fmt: skip
        add_terms(program.forth, mine, 1 + n_radial * N)
        _store_features(mine, block, program.n_inner, features)


@_kernel
def _differentiate(
    edges: Neighbours, gaussians: Gaussians, program: Program, mixing: Mixing,
    by_features: np.ndarray, slots: np.ndarray, adjoints: np.ndarray, gradients: np.ndarray,
) -> None:  # fmt: skip
    """Write the adjoints of slots, and the derivatives by the edges."""
    species, n_basis, n_radial = edges.species, gaussians.centres.size, gaussians.n_radial
    n_species, width = mixing.back.shape[0], mixing.back.shape[3]
    stride = _stride(edges, n_species)
    flat, by_edges = np.empty(rows_of(n_basis) * stride), np.empty(3 * stride)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    coefficients, work, by_sums = mixing.back.reshape(-1), np.empty(N * W), np.empty(N * width)
    for block in range(slots.shape[0]):
        mine = adjoints[block]
        _load_adjoints(by_features, block, program.n_inner, mine)
        add_terms_back(program.back, mine, slots[block], mine)
        for i in range(block * W, min(block * W + W, species.size)):
            gather(i, edges, gaussians.cutoff, flat, stride, who, ends)
            write_rows(flat, stride, ends[n_species, 0], gaussians)
            write_all_gradients(
                flat, stride, ends, species[i], n_basis, coefficients, n_radial, mine,
                i - block * W, by_sums, by_edges, work,
            )  # fmt: skip
            for s in range(n_species):
                for q in range(ends[s, 0], ends[s, 1]):
                    for axis in range(3):
                        gradients[who[q] - species.size, axis] = by_edges[axis * stride + q]


@_kernel
def _move(
    edges: Neighbours, along: np.ndarray, gaussians: Gaussians, program: Program, mixing: Mixing,
    slots: np.ndarray, sums: np.ndarray, tangents: np.ndarray, features: np.ndarray,
) -> None:  # fmt: skip
    """Write the tangents of sums, slots and invariants along displacements of the edges."""
    species, n_basis, n_radial = edges.species, gaussians.centres.size, gaussians.n_radial
    n_species, width = sums.shape[1], sums.shape[2] // N
    size, stride = mixing.forth.shape[2] * mixing.forth.shape[3], _stride(edges, n_species)
    flat, moved = np.empty(rows_of(n_basis) * stride), np.zeros(rows_of(n_basis) * stride)
    turned, turned_tangents = np.zeros(stride * width), np.zeros(stride * width)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    coefficients, work = mixing.forth.reshape(-1), np.empty(N * W)
    for block in range(slots.shape[0]):
        mine = tangents[block]
        for i in range(block * W, min(block * W + W, species.size)):
            gather(i, edges, gaussians.cutoff, flat, stride, who, ends)
            end = ends[n_species, 0]
            write_rows(flat, stride, end, gaussians)
            for s in range(n_species):
                for q in range(ends[s, 0], ends[s, 1]):
                    for axis in range(3):
                        moved[axis * stride + q] = along[who[q] - species.size, axis]
            write_tangents(flat, stride, end, n_basis, moved)
            transpose(flat, stride, BASIS, n_basis, 0, end, turned)
            transpose(moved, stride, BASIS, n_basis, 0, end, turned_tangents)
            own = sums[i].reshape(-1)
            for s in range(n_species):
                if ends[s, 0] == ends[s, 1]:
                    continue
                low, high, at = ends[s, 0], ends[s, 1], s * N * width
                add_products(flat, stride, MONOMIALS, turned_tangents, low, high, width, own, at)
                add_products(moved, stride, MONOMIALS, turned, low, high, width, own, at)
                first = (species[i] * n_species + s) * size
                lane = i - block * W
                mix(own, at, width, n_basis, coefficients, first, n_radial, mine, lane, work)
        add_terms_tangent(program.forth, slots[block], mine, 1 + n_radial * N)
        _store_features(mine, block, program.n_inner, features)


@_inlined
def _add_by_coefficients(
    species: np.ndarray, block: int, n_radial: int, adjoints: np.ndarray, sums: np.ndarray,
    by_coefficients: np.ndarray,
) -> None:  # fmt: skip
    """Add the derivatives by the coefficients, of the adjoints of the moments of W atoms."""
    n_species, width = sums.shape[1], sums.shape[2] // N
    flat_sums, total = sums.reshape(-1), by_coefficients.reshape(-1)
    for i in range(block * W, min(block * W + W, species.size)):
        for s in range(n_species):
            at = (i * n_species + s) * N * width
            for p in range(0, width, W):
                for radial in range(n_radial):
                    k = (1 + radial * N) * W + i - block * W
                    sum0, sum1 = splat(0.0), splat(0.0)
                    for c in range(0, N, 2):
                        j = at + c * width + p
                        sum0 = sum0 + fill(adjoints, k + c * W) * load(flat_sums, j)
                        sum1 = sum1 + fill(adjoints, k + (c + 1) * W) * load(flat_sums, j + width)
                    target = ((species[i] * n_species + s) * n_radial + radial) * width + p
                    store(total, target, load(total, target) + sum0 + sum1)


@_kernel
def _by_coefficients(
    species: np.ndarray, n_radial: int, program: Program, by_features: np.ndarray,
    sums: np.ndarray, slots: np.ndarray, by_coefficients: np.ndarray,
) -> None:  # fmt: skip
    """Write the derivatives by the coefficients."""
    adjoints = np.empty(slots.shape[1])
    for block in range(slots.shape[0]):
        adjoints[:] = 0.0
        _load_adjoints(by_features, block, program.n_inner, adjoints)
        add_terms_back(program.back, adjoints, slots[block], adjoints)
        _add_by_coefficients(species, block, n_radial, adjoints, sums, by_coefficients)


@_kernel
def _by_coefficients_along(
    species: np.ndarray, n_radial: int, program: Program, by_features: np.ndarray,
    sums: np.ndarray, slots: np.ndarray, tangent_sums: np.ndarray, tangents: np.ndarray,
    slot_adjoints: np.ndarray, by_coefficients: np.ndarray,
) -> None:  # fmt: skip
    """Write the derivatives by the coefficients, through slots and their tangents."""
    total = np.empty(slots.shape[1])
    for block in range(slots.shape[0]):
        total[:] = 0.0
        _load_adjoints(by_features, block, program.n_inner, total)
        of_tangents = slot_adjoints[block]
        add_terms_back(program.back, of_tangents, tangents[block], total)
        add_terms_back(program.back, total, slots[block], total)
        _add_by_coefficients(species, block, n_radial, total, sums, by_coefficients)
        _add_by_coefficients(species, block, n_radial, of_tangents, tangent_sums, by_coefficients)
