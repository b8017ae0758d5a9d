"""Gaussian moments of fixed structures, and their derivatives, on the CPU in numba.

Invariants of W atoms at a time, their derivatives by the edges, the same along a tangent of the
edges, and the derivatives of all this by the coefficients. Only sums and slots are kept between:
what belongs to single edges is computed again, which costs less than to read it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.gaussian_moments import (
    BASIS,
    MONOMIALS,
    N,
    Program,
    Radial,
    add_moments,
    add_products,
    add_terms,
    add_terms_back,
    add_terms_tangent,
    mix,
    rows_of,
    turn,
    write_all_gradients,
    write_rows,
    write_tangents,
)
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.simd import W, fill, load, splat, store


@dataclass(frozen=True, eq=False)
class Edges:
    """Atoms and their neighbours.

    Attributes
    ----------
    species
        Of the atoms.
    begin
        The edges that leave atom i are those from ``begin[i]`` to ``begin[i + 1]``.
    neighbours
        Species at the end of each edge.
    vectors
        In Å.
    """

    species: Int[np.ndarray, " atoms"]
    begin: Int[np.ndarray, " atoms_and_end"]
    neighbours: Int[np.ndarray, " edges"]
    vectors: Float[np.ndarray, "edges 3"]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What kernels get."""
        return self.species, self.begin, self.neighbours, self.vectors

    @property
    def n_places(self) -> int:
        """How many atoms there are, filled up to whole vectors."""
        return -(-len(self.species) // W) * W


class Described:
    """Invariants of atoms with certain coefficients, and all derivatives of them.

    Attributes
    ----------
    features
        The invariants, columns filled up with those of no neighbours.
    """

    features: Float[np.ndarray, "features places"]

    def __init__(
        self,
        edges: Edges,
        radial: Radial,
        program: Program,
        coefficients: Float[np.ndarray, "elements elements radial basis"],
    ) -> None:
        self._edges, self._radial, self._program = edges, radial, program
        self._last, self._first = radial.coefficients(coefficients)
        self._n_features = program.n_slots - program.n_inner
        self._sums, self._slots = self._new_sums(), self._new_slots()
        self.features = np.empty((self._n_features, edges.n_places))
        _describe(
            *edges.arrays, radial.arrays, radial.n_radial, self._last, program.forth.arrays,
            program.n_inner, self._sums, self._slots, self.features,
        )  # fmt: skip

    def gradients(
        self, slopes: Float[np.ndarray, "features places"]
    ) -> Float[np.ndarray, "edges 3"]:
        """Return the derivatives by the edges of what has these derivatives by the invariants."""
        program = self._program
        self._bars = self._new_slots()
        found = np.zeros_like(self._edges.vectors)
        _differentiate(
            *self._edges.arrays, self._radial.arrays, self._radial.n_radial, self._first,
            program.back.arrays, program.n_inner, slopes, self._slots, self._bars, found,
        )  # fmt: skip
        return found

    def tangents(self, along: Float[np.ndarray, "edges 3"]) -> Float[np.ndarray, "features places"]:
        """Return the derivative of the invariants where the edges move along a direction."""
        program = self._program
        self._dot_sums, self._dots = self._new_sums(), self._new_slots()
        found = np.empty_like(self.features)
        _move(
            *self._edges.arrays, along, self._radial.arrays, self._radial.n_radial, self._last,
            program.forth.arrays, program.n_inner, self._slots, self._dot_sums, self._dots, found,
        )  # fmt: skip
        return found

    def by_coefficients(
        self, slopes: Float[np.ndarray, "features places"]
    ) -> Float[np.ndarray, "elements elements radial basis"]:
        """Return those by the coefficients of what has these derivatives by the invariants."""
        program, found = self._program, np.zeros_like(self._first)
        _by_coefficients(
            self._edges.species, self._radial.n_radial, program.back.arrays, program.n_inner,
            slopes, self._sums, self._slots, found,
        )  # fmt: skip
        return found[..., : self._radial.n_basis]

    def by_coefficients_along(
        self, slopes: Float[np.ndarray, "features places"]
    ) -> Float[np.ndarray, "elements elements radial basis"]:
        """Return derivatives by the coefficients, after ``gradients`` and ``tangents``.

        Of the sum of what has these derivatives by the invariants, and of the tangents times what
        was given to ``gradients``.
        """
        program, found = self._program, np.zeros_like(self._first)
        _by_coefficients_along(
            self._edges.species, self._radial.n_radial, program.back.arrays, program.n_inner,
            slopes, self._sums, self._slots, self._dot_sums, self._dots, self._bars, found,
        )  # fmt: skip
        return found[..., : self._radial.n_basis]

    def _new_sums(self) -> np.ndarray:
        n_elements, width = len(self._first), self._first.shape[-1]
        return np.zeros((len(self._edges.species), n_elements, N * width))

    def _new_slots(self) -> np.ndarray:
        return np.zeros((self._edges.n_places // W, self._program.n_slots * W))


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)
_kernel: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)


@_inlined
def _gather(
    i: int, begin: np.ndarray, neighbours: np.ndarray, vectors: np.ndarray, flat: np.ndarray,
    stride: int, far: float, who: np.ndarray, ends: np.ndarray,
) -> None:  # fmt: skip
    """Pack the edges of an atom by species, those of each beginning at a multiple of W."""
    n, n_species = 0, ends.shape[0] - 1
    for s in range(n_species):
        ends[s, 0] = n
        for e in range(begin[i], begin[i + 1]):
            if neighbours[e] == s:
                flat[n], who[n] = vectors[e, 0], e
                flat[stride + n], flat[2 * stride + n] = vectors[e, 1], vectors[e, 2]
                n += 1
        ends[s, 1] = n
        while n % W:
            flat[n], flat[stride + n], flat[2 * stride + n] = far, 0.0, 0.0
            n += 1
    ends[n_species, 0] = n


@_inlined
def _most(begin: np.ndarray, n_species: int) -> int:
    """Return how many edges of an atom there are at most, with what fills up vectors."""
    most = 0
    for i in range(begin.size - 1):
        most = max(most, begin[i + 1] - begin[i])
    return (most + (n_species + 1) * W) // W * W


@_kernel
def _describe(
    species: np.ndarray, begin: np.ndarray, neighbours: np.ndarray, vectors: np.ndarray,
    radial: tuple[np.ndarray, ...], n_radial: int, coefficients: np.ndarray,
    forth: tuple[np.ndarray, ...], n_inner: int, sums: np.ndarray, slots: np.ndarray,
    features: np.ndarray,
) -> None:  # fmt: skip
    constants, centres, polynomial = radial
    n_basis, n_species, flat_features = centres.size, sums.shape[1], features.reshape(-1)
    width, stride = sums.shape[2] // N, _most(begin, n_species)
    flat, turned = np.empty(rows_of(n_basis) * stride), np.zeros(stride * width)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    mixing, work = coefficients.reshape(-1), np.empty(N * W)
    for block in range(slots.shape[0]):
        mine = slots[block]
        store(mine, 0, splat(1.0))
        for i in range(block * W, min(block * W + W, species.size)):
            _gather(i, begin, neighbours, vectors, flat, stride, 3 * constants[0], who, ends)
            write_rows(flat, stride, ends[n_species, 0], constants, centres, polynomial)
            own = sums[i].reshape(-1)
            add_moments(
                flat, stride, turned, ends, species[i], n_basis, mixing, n_radial, own, mine,
                i - block * W, work,
            )  # fmt: skip
        add_terms(forth[0], forth[1], forth[2], forth[3], mine, mine, mine, 1 + n_radial * N)
        for f in range(features.shape[0]):
            store(flat_features, f * features.shape[1] + block * W, load(mine, (n_inner + f) * W))


@_kernel
def _differentiate(
    species: np.ndarray, begin: np.ndarray, neighbours: np.ndarray, vectors: np.ndarray,
    radial: tuple[np.ndarray, ...], n_radial: int, coefficients: np.ndarray,
    back: tuple[np.ndarray, ...], n_inner: int, slopes: np.ndarray, slots: np.ndarray,
    bars: np.ndarray, gradients: np.ndarray,
) -> None:  # fmt: skip
    constants, centres, polynomial = radial
    n_basis, n_species, flat_slopes = centres.size, coefficients.shape[0], slopes.reshape(-1)
    width, stride = coefficients.shape[3], _most(begin, n_species)
    flat, found = np.empty(rows_of(n_basis) * stride), np.empty(3 * stride)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    mixing, work, by_sums = coefficients.reshape(-1), np.empty(N * W), np.empty(N * width)
    for block in range(slots.shape[0]):
        mine, bar = slots[block], bars[block]
        for f in range(slopes.shape[0]):
            store(bar, (n_inner + f) * W, load(flat_slopes, f * slopes.shape[1] + block * W))
        add_terms_back(back[0], back[1], back[2], back[3], bar, mine, bar)
        for i in range(block * W, min(block * W + W, species.size)):
            _gather(i, begin, neighbours, vectors, flat, stride, 3 * constants[0], who, ends)
            write_rows(flat, stride, ends[n_species, 0], constants, centres, polynomial)
            write_all_gradients(
                flat, stride, ends, species[i], n_basis, mixing, n_radial, bar, i - block * W,
                by_sums, found, work,
            )  # fmt: skip
            for s in range(n_species):
                for q in range(ends[s, 0], ends[s, 1]):
                    for axis in range(3):
                        gradients[who[q], axis] = found[axis * stride + q]


@_kernel
def _move(
    species: np.ndarray, begin: np.ndarray, neighbours: np.ndarray, vectors: np.ndarray,
    along: np.ndarray, radial: tuple[np.ndarray, ...], n_radial: int, coefficients: np.ndarray,
    forth: tuple[np.ndarray, ...], n_inner: int, slots: np.ndarray, sums: np.ndarray,
    dots: np.ndarray, features: np.ndarray,
) -> None:  # fmt: skip
    constants, centres, polynomial = radial
    n_basis, n_species, flat_features = centres.size, sums.shape[1], features.reshape(-1)
    width, size = sums.shape[2] // N, coefficients.shape[2] * coefficients.shape[3]
    stride = _most(begin, n_species)
    flat, moved = np.empty(rows_of(n_basis) * stride), np.zeros(rows_of(n_basis) * stride)
    turned, turned_dots = np.zeros(stride * width), np.zeros(stride * width)
    who, ends = np.empty(stride, np.int64), np.zeros((n_species + 1, 2), np.int64)
    mixing, work = coefficients.reshape(-1), np.empty(N * W)
    for block in range(slots.shape[0]):
        mine, dot = slots[block], dots[block]
        for i in range(block * W, min(block * W + W, species.size)):
            _gather(i, begin, neighbours, vectors, flat, stride, 3 * constants[0], who, ends)
            end = ends[n_species, 0]
            write_rows(flat, stride, end, constants, centres, polynomial)
            for s in range(n_species):
                for q in range(ends[s, 0], ends[s, 1]):
                    for axis in range(3):
                        moved[axis * stride + q] = along[who[q], axis]
            write_tangents(flat, stride, end, n_basis, moved)
            turn(flat, stride, BASIS, n_basis, 0, end, turned)
            turn(moved, stride, BASIS, n_basis, 0, end, turned_dots)
            own = sums[i].reshape(-1)
            for s in range(n_species):
                if ends[s, 0] == ends[s, 1]:
                    continue
                low, high, at = ends[s, 0], ends[s, 1], s * N * width
                add_products(flat, stride, MONOMIALS, turned_dots, low, high, width, own, at)
                add_products(moved, stride, MONOMIALS, turned, low, high, width, own, at)
                first = (species[i] * n_species + s) * size
                mix(own, at, width, n_basis, mixing, first, n_radial, dot, i - block * W, work)
        add_terms_tangent(forth[0], forth[1], forth[2], forth[3], mine, dot, 1 + n_radial * N)
        for f in range(features.shape[0]):
            store(flat_features, f * features.shape[1] + block * W, load(dot, (n_inner + f) * W))


@_inlined
def _add_by_coefficients(
    species: np.ndarray, block: int, n_radial: int, bar: np.ndarray, sums: np.ndarray,
    found: np.ndarray,
) -> None:  # fmt: skip
    """Add the derivatives by the coefficients from those by the moments of W atoms."""
    n_species, width = sums.shape[1], sums.shape[2] // N
    flat_sums, total = sums.reshape(-1), found.reshape(-1)
    for i in range(block * W, min(block * W + W, species.size)):
        for s in range(n_species):
            at = (i * n_species + s) * N * width
            for p in range(0, width, W):
                for radial in range(n_radial):
                    k = (1 + radial * N) * W + i - block * W
                    sum0, sum1 = splat(0.0), splat(0.0)
                    for c in range(0, N, 2):
                        j = at + c * width + p
                        sum0 = sum0 + fill(bar, k + c * W) * load(flat_sums, j)
                        sum1 = sum1 + fill(bar, k + (c + 1) * W) * load(flat_sums, j + width)
                    place = ((species[i] * n_species + s) * n_radial + radial) * width + p
                    store(total, place, load(total, place) + sum0 + sum1)


@_kernel
def _by_coefficients(
    species: np.ndarray, n_radial: int, back: tuple[np.ndarray, ...], n_inner: int,
    slopes: np.ndarray, sums: np.ndarray, slots: np.ndarray, found: np.ndarray,
) -> None:  # fmt: skip
    flat_slopes, bar = slopes.reshape(-1), np.empty(slots.shape[1])
    for block in range(slots.shape[0]):
        bar[:] = 0.0
        for f in range(slopes.shape[0]):
            store(bar, (n_inner + f) * W, load(flat_slopes, f * slopes.shape[1] + block * W))
        add_terms_back(back[0], back[1], back[2], back[3], bar, slots[block], bar)
        _add_by_coefficients(species, block, n_radial, bar, sums, found)


@_kernel
def _by_coefficients_along(
    species: np.ndarray, n_radial: int, back: tuple[np.ndarray, ...], n_inner: int,
    slopes: np.ndarray, sums: np.ndarray, slots: np.ndarray, dot_sums: np.ndarray,
    dots: np.ndarray, bars: np.ndarray, found: np.ndarray,
) -> None:  # fmt: skip
    flat_slopes, bar_dot = slopes.reshape(-1), np.empty(slots.shape[1])
    for block in range(slots.shape[0]):
        bar_dot[:] = 0.0
        for f in range(slopes.shape[0]):
            store(bar_dot, (n_inner + f) * W, load(flat_slopes, f * slopes.shape[1] + block * W))
        bar = bars[block]
        add_terms_back(back[0], back[1], back[2], back[3], bar, dots[block], bar_dot)
        add_terms_back(back[0], back[1], back[2], back[3], bar_dot, slots[block], bar_dot)
        _add_by_coefficients(species, block, n_radial, bar_dot, sums, found)
        _add_by_coefficients(species, block, n_radial, bar, dot_sums, found)
