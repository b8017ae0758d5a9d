"""Gaussian moments on the CPU, in numba with explicit SIMD: all that does not look for neighbours.

Neighbours of an atom are worked on W at a time: components of the powers of their directions and
Gaussians of their distances, each a row of a buffer. Their products, summed for each element, are
mixed to the moments by the trainable coefficients.

The invariants of moments are sums of products, first of tensors of two moments, then of these
with a third. All of this is one list of bilinear terms, which gives derivatives of any order as
well, for W atoms at a time. The same number of W atoms is a slot; each atom has a lane of it.
Adjoints are derivatives of the energy by the slots (reverse mode), tangents those of the slots
along a displacement of the edges (forward mode).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations, product
from math import pi
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.descriptors.contractions import COMPONENTS, index_sets
from aiida_mlal.ml.fast.jit import inlined
from aiida_mlal.ml.fast.simd import W, fill, load, splat, store, vexp, vmin, vsqrt
from aiida_mlal.ml.fast.symmetry_functions import half_cutoff

Vector = Any
"""W doubles; numba knows the type."""

Row = dict[tuple[int, int], float]
"""A sum of products: pairs of slots and factors."""

Product = tuple[Sequence[int], Sequence[int], float]
"""Axes of components of two moments, and a factor."""

N = len(COMPONENTS)

MONOMIALS = 4
"""Row of the buffer of neighbours with the first component; x, y, z, 1/r are before."""

BASIS = MONOMIALS + N
"""Row with the first Gaussian; after all of these come their derivatives by the distance."""


class Terms(NamedTuple):
    """Sums of products: row i is the sum of factor * X[first] * Y[second] from begin[i] on.

    ``first`` and ``second`` are where slots begin, W times their indices.
    """

    begin: Int[np.ndarray, " rows_and_end"]
    first: Int[np.ndarray, " terms"]
    second: Int[np.ndarray, " terms"]
    factor: Float[np.ndarray, " terms"]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Terms":
        """Arrange rows, from pairs of slots to their factors."""
        terms = [(*pair, factor) for row in rows for pair, factor in row.items()]
        first, second, factor = np.array(terms).T if terms else np.zeros((3, 0))
        return cls(
            np.cumsum([0, *map(len, rows)]),
            first.astype(np.int64) * W,
            second.astype(np.int64) * W,
            np.array(factor, dtype=float),
        )


class Program(NamedTuple):
    """How the invariants come of the moments, and how adjoints go back.

    Slot 0 is the number 1, then come the components of the moments, tensors of two moments, and
    the invariants.

    Attributes
    ----------
    n_inner
        Number of slots before the invariants.
    n_slots
        Number of slots.
    forth
        Rows are the slots behind the moments.
    back
        Rows are all slots before the invariants: the adjoint of a slot, times another slot.
    """

    n_inner: int
    n_slots: int
    forth: Terms
    back: Terms


@cache
def program(n_radial: int, invariants: str) -> Program:
    """Write the program of an index set of ``GaussianMoments``."""
    sets = index_sets(n_radial, invariants)
    rows: list[Row] = []
    n_moments = 1 + n_radial * N
    tensors: dict[tuple[int, int, int], int] = {}
    for kind, index in enumerate(sets[4:]):
        for s, t, _ in index:
            if (kind, s, t) not in tensors:
                tensors[kind, s, t] = n_moments + len(rows)
                rows += [_sum(s, t, _tensor(kind, axes)) for axes in _axes(_RANK[kind])]
    n_inner = n_moments + len(rows)
    rows += [{(0, _slot(s, ())): 1.0} for (s,) in sets[0]]
    for rank, index in zip((1, 2, 3), sets[1:4]):
        squares = [(axes, axes, 1.0) for axes in product(range(3), repeat=rank)]
        rows += [_sum(s, t, squares) for s, t in index]
    for kind, index in enumerate(sets[4:]):
        kept = _axes(_RANK[kind])
        for s, t, u in index:
            rows.append(
                {
                    (tensors[kind, s, t] + k, _slot(u, axes)): float(len(set(permutations(axes))))
                    for k, axes in enumerate(kept)
                }
            )
    back: list[Row] = [defaultdict(float) for _ in range(n_inner)]
    for row, terms in enumerate(rows):
        for (a, b), factor in terms.items():
            back[a][n_moments + row, b] += factor
            back[b][n_moments + row, a] += factor
    back[0].clear()
    return Program(n_inner, n_moments + len(rows), Terms.of(rows), Terms.of(back))


_RANK = (2, 2, 2, 1)
"""Of the tensors of two moments whose products with a third are the invariants of degree 3."""


def _axes(rank: int) -> list[tuple[int, ...]]:
    return [axes for axes in COMPONENTS if len(axes) == rank]


def _slot(s: int, axes: Sequence[int]) -> int:
    """Return the index of the slot of a component of a moment."""
    return 1 + s * N + COMPONENTS.index(tuple(sorted(axes)))


def _tensor(kind: int, axes: Sequence[int]) -> list[Product]:
    """List the products that a component of a tensor of two moments is the sum of."""
    if kind == 3:
        return [((*ij, *axes), ij, 1.0) for ij in product(range(3), repeat=2)]
    common = {0: 1, 1: 0, 2: 2}[kind]
    return [
        ((*shared, j), (*shared, k), 0.5)
        for j, k in (axes, axes[::-1])
        for shared in product(range(3), repeat=common)
    ]


def _sum(s: int, t: int, products: Sequence[Product]) -> Row:
    """Add up products of components of two moments, equal ones together."""
    row: Row = defaultdict(float)
    for one, other, factor in products:
        a, b = sorted((_slot(s, one), _slot(t, other)))
        row[a, b] += factor
    return row


class Gaussians(NamedTuple):
    """The radial basis: Gaussians of the distance times a cutoff function.

    Attributes
    ----------
    cutoff
        In Å.
    steepness, norm
        Of the Gaussians, in 1/Å², and the factor of all of them.
    n_radial
        Number of radial functions that are made of them.
    centres
        Of the Gaussians, in Å.
    polynomial
        Square root of the cutoff function, as a polynomial in (r / cutoff)².
    """

    cutoff: float
    steepness: float
    norm: float
    n_radial: int
    centres: Float[np.ndarray, " basis"]
    polynomial: Float[np.ndarray, " coefficients"]

    @classmethod
    def of(cls, cutoff: float, centres: Float[np.ndarray, " basis"], n_radial: int) -> "Gaussians":
        """Make the basis with centres (Å) up to a cutoff (Å)."""
        n_basis = len(centres)
        steepness = (n_basis / cutoff) ** 2
        norm = (2 * steepness / pi) ** 0.25 / n_basis**0.5
        centres = np.array(centres, float)
        return cls(float(cutoff), float(steepness), float(norm), n_radial, centres, _envelope())


class Mixing(NamedTuple):
    """Coefficients of the radial functions, filled up to whole vectors.

    Attributes
    ----------
    forth
        Radial functions last, to make moments of sums over Gaussians.
    back
        Gaussians last, to make adjoints of these sums of those of moments.
    """

    forth: Float[np.ndarray, "elements elements basis radial"]
    back: Float[np.ndarray, "elements elements radial basis"]

    @classmethod
    def of(cls, coefficients: Float[np.ndarray, "elements elements radial basis"]) -> "Mixing":
        """Arrange coefficients."""
        values = np.asarray(coefficients, float)
        return cls(filled(values.swapaxes(2, 3)), filled(values))


@cache
def _envelope() -> np.ndarray:
    """Fit the square root of the cutoff function by a polynomial in (r / cutoff)²."""
    return np.array(half_cutoff(0.0))


def filled(values: Float[np.ndarray, "... numbers"]) -> Float[np.ndarray, "... numbers_and_zeros"]:
    """Pad the last axis with zeros, so that vectors fit."""
    width = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % W)]
    return np.ascontiguousarray(np.pad(values, width))


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def rows_of(n_basis: int) -> int:
    """Count the rows of the buffer of neighbours."""
    return BASIS + 2 * n_basis


@_inlined
def write_rows(flat: np.ndarray, stride: int, end: int, gaussians: Gaussians) -> None:
    """From x, y, z in rows 0 to 2 of the buffer get all other rows; ``end`` is a multiple of W."""
    cutoff, steepness, norm, _, centres, polynomial = gaussians
    n_basis, unit = centres.size, 1.0 / (cutoff * cutoff)
    for p in range(0, end, W):
        x, y, z = load(flat, p), load(flat, stride + p), load(flat, 2 * stride + p)
        square = x * x + y * y + z * z
        r = vsqrt(square)
        inverse = splat(1.0) / r
        store(flat, 3 * stride + p, inverse)
        x, y, z = x * inverse, y * inverse, z * inverse
        at = MONOMIALS * stride + p
        store(flat, at, splat(1.0))
        store(flat, at + stride, x)
        store(flat, at + 2 * stride, y)
        store(flat, at + 3 * stride, z)
        xx, xy, xz, yy, yz, zz = x * x, x * y, x * z, y * y, y * z, z * z
        at += 4 * stride
        store(flat, at, xx)
        store(flat, at + stride, xy)
        store(flat, at + 2 * stride, xz)
        store(flat, at + 3 * stride, yy)
        store(flat, at + 4 * stride, yz)
        store(flat, at + 5 * stride, zz)
        at += 6 * stride
        store(flat, at, xx * x)
        store(flat, at + stride, xx * y)
        store(flat, at + 2 * stride, xx * z)
        store(flat, at + 3 * stride, xy * y)
        store(flat, at + 4 * stride, xy * z)
        store(flat, at + 5 * stride, xz * z)
        store(flat, at + 6 * stride, yy * y)
        store(flat, at + 7 * stride, yy * z)
        store(flat, at + 8 * stride, yz * z)
        store(flat, at + 9 * stride, zz * z)
        part = vmin(square * unit, 1.0)
        h, dh = splat(polynomial[0]), splat(0.0)
        for k in range(1, polynomial.size):
            dh = dh * part + h
            h = h * part + fill(polynomial, k)
        envelope = h * h * norm
        slope = h * dh * r * (4.0 * unit * norm)
        at = BASIS * stride + p
        for b in range(n_basis):
            apart = r - centres[b]
            bell = vexp(apart * apart * (-steepness))
            store(flat, at, bell * envelope)
            store(flat, at + n_basis * stride, bell * (slope - apart * envelope * (2 * steepness)))
            at += stride


@_inlined
def _load_squares(
    flat: np.ndarray, at: int, stride: int
) -> tuple[Vector, Vector, Vector, Vector, Vector, Vector]:
    """Load xx, xy, xz, yy, yz, zz of unit vectors of neighbours from successive rows."""
    return (
        load(flat, at),
        load(flat, at + stride),
        load(flat, at + 2 * stride),
        load(flat, at + 3 * stride),
        load(flat, at + 4 * stride),
        load(flat, at + 5 * stride),
    )


@_inlined
def transpose(
    flat: np.ndarray, stride: int, row: int, n: int, begin: int, end: int, turned: np.ndarray
) -> None:
    """Transpose ``n`` rows of neighbours from begin to end: each neighbour's numbers together."""
    width = (n + W - 1) // W * W
    for b in range(n):
        at = (row + b) * stride
        for q in range(begin, end):
            turned[q * width + b] = flat[at + q]


@_inlined
def add_products(
    flat: np.ndarray, stride: int, row: int, turned: np.ndarray, begin: int, end: int, width: int,
    sums: np.ndarray, at: int,
) -> None:  # fmt: skip
    """Add to the sums the products of the rows of components with turned rows, over neighbours."""
    for p in range(0, width, W):
        for c in range(0, N, 5):
            k = at + c * width + p
            s0, s1, s2 = load(sums, k), load(sums, k + width), load(sums, k + 2 * width)
            s3, s4 = load(sums, k + 3 * width), load(sums, k + 4 * width)
            m = (row + c) * stride
            for q in range(begin, end):
                g = load(turned, q * width + p)
                s0 = s0 + fill(flat, m + q) * g
                s1 = s1 + fill(flat, m + stride + q) * g
                s2 = s2 + fill(flat, m + 2 * stride + q) * g
                s3 = s3 + fill(flat, m + 3 * stride + q) * g
                s4 = s4 + fill(flat, m + 4 * stride + q) * g
            store(sums, k, s0)
            store(sums, k + width, s1)
            store(sums, k + 2 * width, s2)
            store(sums, k + 3 * width, s3)
            store(sums, k + 4 * width, s4)


@_inlined
def mix(
    sums: np.ndarray, at: int, width: int, n_basis: int, coefficients: np.ndarray, first: int,
    n_radial: int, slots: np.ndarray, lane: int, work: np.ndarray,
) -> None:  # fmt: skip
    """Add the moments of an atom due to neighbours of one element to its lane of the slots."""
    wide = (n_radial + W - 1) // W * W
    for p in range(0, wide, W):
        for c in range(0, N, 5):
            k = at + c * width
            s0, s1, s2, s3, s4 = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for b in range(n_basis):
                g = load(coefficients, first + b * wide + p)
                s0 = s0 + fill(sums, k + b) * g
                s1 = s1 + fill(sums, k + width + b) * g
                s2 = s2 + fill(sums, k + 2 * width + b) * g
                s3 = s3 + fill(sums, k + 3 * width + b) * g
                s4 = s4 + fill(sums, k + 4 * width + b) * g
            store(work, c * W, s0)
            store(work, (c + 1) * W, s1)
            store(work, (c + 2) * W, s2)
            store(work, (c + 3) * W, s3)
            store(work, (c + 4) * W, s4)
        for s in range(p, min(p + W, n_radial)):
            for c in range(N):
                slots[(1 + s * N + c) * W + lane] += work[c * W + s - p]


@_inlined
def unmix(
    adjoints: np.ndarray, lane: int, coefficients: np.ndarray, first: int, n_radial: int,
    width: int, by_sums: np.ndarray,
) -> None:  # fmt: skip
    """Get the adjoints of the sums of one element from those of the moments of an atom."""
    for p in range(0, width, W):
        for c in range(0, N, 5):
            s0, s1, s2, s3, s4 = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for s in range(n_radial):
                g, k = load(coefficients, first + s * width + p), (1 + s * N + c) * W + lane
                s0 = s0 + fill(adjoints, k) * g
                s1 = s1 + fill(adjoints, k + W) * g
                s2 = s2 + fill(adjoints, k + 2 * W) * g
                s3 = s3 + fill(adjoints, k + 3 * W) * g
                s4 = s4 + fill(adjoints, k + 4 * W) * g
            k = c * width + p
            store(by_sums, k, s0)
            store(by_sums, k + width, s1)
            store(by_sums, k + 2 * width, s2)
            store(by_sums, k + 3 * width, s3)
            store(by_sums, k + 4 * width, s4)


@_inlined
def write_gradients(
    flat: np.ndarray, stride: int, begin: int, end: int, n_basis: int, width: int,
    by_sums: np.ndarray, gradients: np.ndarray, work: np.ndarray,
) -> None:  # fmt: skip
    """Get dE/dx, dE/dy, dE/dz (eV/Å) of neighbours from the adjoints of the sums of their element.

    The rows of ``gradients`` have the stride of the buffer.
    """
    for p in range(begin, end, W):
        along = splat(0.0)
        for b in range(n_basis):
            s0, s1 = splat(0.0), splat(0.0)
            for c in range(0, N, 2):
                m = (MONOMIALS + c) * stride + p
                s0 = s0 + fill(by_sums, c * width + b) * load(flat, m)
                s1 = s1 + fill(by_sums, (c + 1) * width + b) * load(flat, m + stride)
            along = along + (s0 + s1) * load(flat, (BASIS + n_basis + b) * stride + p)
        for c in range(1, N):
            s0 = splat(0.0)
            for b in range(n_basis):
                s0 = s0 + fill(by_sums, c * width + b) * load(flat, (BASIS + b) * stride + p)
            store(work, c * W, s0)
        at = MONOMIALS * stride + p
        x, y, z = load(flat, at + stride), load(flat, at + 2 * stride), load(flat, at + 3 * stride)
        u, v, w = load(work, W), load(work, 2 * W), load(work, 3 * W)
        d0, d1, d2 = load(work, 4 * W), load(work, 5 * W), load(work, 6 * W)
        d3, d4, d5 = load(work, 7 * W), load(work, 8 * W), load(work, 9 * W)
        u = u + (x * d0) * 2.0 + y * d1 + z * d2
        v = v + x * d1 + (y * d3) * 2.0 + z * d4
        w = w + x * d2 + y * d4 + (z * d5) * 2.0
        at += 4 * stride
        xx, xy, xz, yy, yz, zz = _load_squares(flat, at, stride)
        d0, d1, d2 = load(work, 10 * W), load(work, 11 * W), load(work, 12 * W)
        d3, d4, d5 = load(work, 13 * W), load(work, 14 * W), load(work, 15 * W)
        d6, d7 = load(work, 16 * W), load(work, 17 * W)
        d8, d9 = load(work, 18 * W), load(work, 19 * W)
        u = u + xx * d0 * 3.0 + (xy * d1 + xz * d2) * 2.0 + yy * d3 + yz * d4 + zz * d5
        v = v + yy * d6 * 3.0 + (xy * d3 + yz * d7) * 2.0 + xx * d1 + xz * d4 + zz * d8
        w = w + zz * d9 * 3.0 + (xz * d5 + yz * d8) * 2.0 + xx * d2 + xy * d4 + yy * d7
        inverse = load(flat, 3 * stride + p)
        outward = along - (u * x + v * y + w * z) * inverse
        store(gradients, p, u * inverse + outward * x)
        store(gradients, stride + p, v * inverse + outward * y)
        store(gradients, 2 * stride + p, w * inverse + outward * z)


@_inlined
def add_moments(
    flat: np.ndarray, stride: int, turned: np.ndarray, ends: np.ndarray, z: int, n_basis: int,
    coefficients: np.ndarray, n_radial: int, sums: np.ndarray, slots: np.ndarray, lane: int,
    work: np.ndarray,
) -> None:  # fmt: skip
    """Add the moments of an atom of species z, by its neighbours of all species, to its slots."""
    n_species, width = ends.shape[0] - 1, (n_basis + W - 1) // W * W
    size = n_basis * ((n_radial + W - 1) // W * W)
    transpose(flat, stride, BASIS, n_basis, 0, ends[n_species, 0], turned)
    for s in range(n_species):
        if ends[s, 0] < ends[s, 1]:
            at = s * N * width
            add_products(flat, stride, MONOMIALS, turned, ends[s, 0], ends[s, 1], width, sums, at)
            first = (z * n_species + s) * size
            mix(sums, at, width, n_basis, coefficients, first, n_radial, slots, lane, work)


@_inlined
def write_all_gradients(
    flat: np.ndarray, stride: int, ends: np.ndarray, z: int, n_basis: int,
    coefficients: np.ndarray, n_radial: int, adjoints: np.ndarray, lane: int, by_sums: np.ndarray,
    gradients: np.ndarray, work: np.ndarray,
) -> None:  # fmt: skip
    """Get dE/dr of the neighbours of an atom of species z from the adjoints of its slots."""
    n_species, width = ends.shape[0] - 1, (n_basis + W - 1) // W * W
    for s in range(n_species):
        if ends[s, 0] < ends[s, 1]:
            first = (z * n_species + s) * n_radial * width
            unmix(adjoints, lane, coefficients, first, n_radial, width, by_sums)
            write_gradients(
                flat, stride, ends[s, 0], ends[s + 1, 0], n_basis, width, by_sums, gradients, work
            )


@_inlined
def add_terms(terms: Terms, slots: np.ndarray, start: int) -> None:
    """Add the rows of terms, ascending, to the slots from ``start`` on."""
    begin, first, second, factor = terms
    for row in range(begin.size - 1):
        total = load(slots, (start + row) * W)
        for k in range(begin[row], begin[row + 1]):
            total = total + load(slots, first[k]) * load(slots, second[k]) * fill(factor, k)
        store(slots, (start + row) * W, total)


@_inlined
def add_terms_back(
    terms: Terms, adjoints: np.ndarray, slots: np.ndarray, result: np.ndarray
) -> None:
    """Add the rows of terms, descending, to the adjoints in ``result``."""
    begin, first, second, factor = terms
    for row in range(begin.size - 2, 0, -1):
        total = load(result, row * W)
        for k in range(begin[row], begin[row + 1]):
            total = total + load(adjoints, first[k]) * load(slots, second[k]) * fill(factor, k)
        store(result, row * W, total)


@_inlined
def add_terms_tangent(terms: Terms, slots: np.ndarray, tangents: np.ndarray, start: int) -> None:
    """Add the tangents of the rows of terms, ascending, to those of slots from ``start`` on."""
    begin, first, second, factor = terms
    for row in range(begin.size - 1):
        total = load(tangents, (start + row) * W)
        for k in range(begin[row], begin[row + 1]):
            i, j = first[k], second[k]
            both = load(slots, i) * load(tangents, j) + load(tangents, i) * load(slots, j)
            total = total + both * fill(factor, k)
        store(tangents, (start + row) * W, total)


@_inlined
def write_tangents(
    flat: np.ndarray, stride: int, end: int, n_basis: int, tangents: np.ndarray
) -> None:
    """From ``tangents`` of x, y, z in rows 0 to 2 get those of all rows but 1/r."""
    for p in range(0, end, W):
        inverse = load(flat, 3 * stride + p)
        at = MONOMIALS * stride + p
        x, y, z = load(flat, at + stride), load(flat, at + 2 * stride), load(flat, at + 3 * stride)
        u, v, w = load(tangents, p), load(tangents, stride + p), load(tangents, 2 * stride + p)
        outward = x * u + y * v + z * w
        u, v, w = (
            (u - x * outward) * inverse,
            (v - y * outward) * inverse,
            (w - z * outward) * inverse,
        )
        store(tangents, at, splat(0.0))
        store(tangents, at + stride, u)
        store(tangents, at + 2 * stride, v)
        store(tangents, at + 3 * stride, w)
        at += 4 * stride
        xx, xy, xz, yy, yz, zz = _load_squares(flat, at, stride)
        store(tangents, at, x * u * 2.0)
        store(tangents, at + stride, x * v + y * u)
        store(tangents, at + 2 * stride, x * w + z * u)
        store(tangents, at + 3 * stride, y * v * 2.0)
        store(tangents, at + 4 * stride, y * w + z * v)
        store(tangents, at + 5 * stride, z * w * 2.0)
        at += 6 * stride
        store(tangents, at, xx * u * 3.0)
        store(tangents, at + stride, xy * u * 2.0 + xx * v)
        store(tangents, at + 2 * stride, xz * u * 2.0 + xx * w)
        store(tangents, at + 3 * stride, xy * v * 2.0 + yy * u)
        store(tangents, at + 4 * stride, xy * w + xz * v + yz * u)
        store(tangents, at + 5 * stride, xz * w * 2.0 + zz * u)
        store(tangents, at + 6 * stride, yy * v * 3.0)
        store(tangents, at + 7 * stride, yz * v * 2.0 + yy * w)
        store(tangents, at + 8 * stride, yz * w * 2.0 + zz * v)
        store(tangents, at + 9 * stride, zz * w * 3.0)
        at = BASIS * stride + p
        for b in range(n_basis):
            slope = load(flat, at + (n_basis + b) * stride)
            store(tangents, at + b * stride, slope * outward)
