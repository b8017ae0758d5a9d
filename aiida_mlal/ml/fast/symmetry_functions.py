"""Symmetry functions, and forces from derivatives by them, in numba with explicit SIMD.

For an atom: its neighbours inside the cutoff, by species; for each of them G2 and its derivative,
W at a time; for each neighbour j, and W neighbours k at a time, the angular functions and what
their derivatives by the positions of j and k are made of. Whatever makes an energy of the functions
gives its derivatives dE/dG, the adjoints, which turn these into forces; the members of a committee
share all the rest.

The derivative of a feature by the position r_j of neighbour j is a multiple of r_j and a vector
B_j, the sum over k of multiples of r_k; B_j and the component along r_j, times the distance, are
what is summed. That the distance of j and k is below the cutoff needs no test: their cutoff
function is the square of a polynomial in their squared distance, which is zero where it ends.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.fast.gather import most_neighbours
from aiida_mlal.ml.fast.jit import inlined
from aiida_mlal.ml.fast.simd import (
    W,
    aligned,
    any_below,
    fill,
    load,
    splat,
    store,
    vexp,
    vmin,
    vsqrt,
    vsum,
    vsums,
)

Vector = Any
"""W doubles; numba knows the type."""

GROUP = 4
"""Angular functions that are computed together, their sums held in registers."""

STEEP = 4.0
"""Largest eta, in units of 1/cutoff², of an exponential that is part of a polynomial."""


class Functions(NamedTuple):
    """What kernels have to know of symmetry functions.

    Groups of angular functions are filled up with functions that are zero: arrays of features have
    these between the others (see ``spread``).

    Attributes
    ----------
    cutoffs
        The cutoff in Å.
    radial
        Rows of eta (1/Å²) and centre (Å).
    angular
        For each angular eta: itself, and the part of it that is not in its polynomial.
    polynomials
        Square roots of cutoff functions, for the radial functions and for each angular eta.
    later
        Masks of the neighbours behind each one of a vector.
    zetas, signs
        Of the angular functions of one eta.
    couple
        The index of each pair of elements among the angular functions.
    norms
        Factors of the features; 0 for those that only fill groups.
    """

    cutoffs: Float[np.ndarray, "1"]
    radial: Float[np.ndarray, "functions 2"]
    angular: Float[np.ndarray, "etas 2"]
    polynomials: Float[np.ndarray, "polynomials coefficients"]
    later: Float[np.ndarray, " masks"]
    zetas: Int[np.ndarray, " angular"]
    signs: Float[np.ndarray, " angular"]
    couple: Int[np.ndarray, "elements elements"]
    norms: Float[np.ndarray, " features"]


def functions(
    cutoff: float,
    radial: Float[np.ndarray, "functions 2"],
    etas: Sequence[float],
    zetas: Sequence[int],
    signs: Sequence[float],
    couple: Int[np.ndarray, "elements elements"],
) -> tuple[Functions, Bool[np.ndarray, " features"]]:
    """Arrange symmetry functions for kernels; the mask tells features from those that only fill.

    Parameters
    ----------
    cutoff
        In Å.
    radial
        Rows of eta (1/Å²) and centre (Å).
    etas, zetas, signs
        Of the angular functions: each combination is one, in this order, signs running fastest.
    couple
        The index of each pair of elements among the angular functions.
    """
    n_elements, n_couples = len(couple), int(couple.max()) + 1
    kinds = np.array([(z, s) for z in zetas for s in signs], float).reshape(-1, 2)
    padded = np.ones((-(-len(kinds) // GROUP) * GROUP, 2))
    padded[: len(kinds)] = kinds
    real = np.arange(len(padded)) < len(kinds)
    norms = np.where(real, padded.prod(axis=1) * 2.0 ** (1 - padded[:, 0]), 0.0)
    n_radial, n_blocks = n_elements * len(radial), n_couples * len(etas)
    norms = np.concatenate([np.ones(n_radial), np.tile(norms, n_blocks)])
    real = np.concatenate([np.full(n_radial, True), np.tile(real, n_blocks)])
    folded = [eta if eta * cutoff**2 <= STEEP else 0.0 for eta in etas]
    fitted = [half_cutoff(eta * cutoff**2 / 2) for eta in [0.0, *folded]]
    longest = max(map(len, fitted))
    polynomials = [np.pad(p, (longest - len(p), 0)) for p in fitted]
    made = Functions(
        np.array([cutoff]),
        np.array(radial, dtype=float, order="C").reshape(-1, 2),
        np.array(list(zip(etas, np.subtract(etas, folded))), float).reshape(-1, 2),
        np.stack(polynomials),
        np.where(np.arange(W) > np.arange(W)[:, None], 1.0, 0.0).ravel(),
        padded[:, 0].astype(np.int64),
        padded[:, 1].copy(),
        np.array(couple, dtype=np.int64, order="C"),
        norms,
    )
    return made, real


def half_cutoff(decay: float) -> Float[np.ndarray, " coefficients"]:
    r"""Return a polynomial in x, the highest power first.

    It is :math:`\cos(\pi \sqrt x / 2) e^{-d x}` for x from 0 to 1: with :math:`x = r^2 / r_c^2`,
    the square root of the cosine cutoff times an exponential.
    """

    def function(x: Any) -> Any:
        return np.cos(math.pi / 2 * np.sqrt(np.maximum(x, 0))) * np.exp(-decay * x)

    x = np.linspace(0, 1, 401)
    for degree in range(6, 24):
        fit = np.polynomial.Chebyshev.interpolate(function, degree, domain=[0, 1])
        polynomial: np.ndarray = fit.convert(kind=np.polynomial.Polynomial).coef[::-1]
        if abs(np.polyval(polynomial, x) - function(x)).max() < 4e-15:
            return polynomial
    raise ValueError(f"expected a decay up to {STEEP / 2}, got {decay}")


def spread(values: np.ndarray, real: np.ndarray, nothing: float) -> np.ndarray:
    """Return values of features with those between them that only fill groups."""
    filled = np.full((*values.shape[:-1], len(real)), nothing)
    filled[..., real] = values
    return filled


_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


@_inlined
def _evaluate(polynomial: np.ndarray, x: Vector) -> tuple[Vector, Vector]:
    """Return a polynomial and its derivative."""
    value, slope = splat(polynomial[0]), splat(0.0)
    for k in range(1, polynomial.size):
        slope = slope * x + value
        value = value * x + fill(polynomial, k)
    return value, slope


@_inlined
def _power(x: Vector, n: int) -> Vector:
    y = splat(1.0)
    while n > 0:
        if n & 1:
            y = y * x
        x = x * x
        n >>= 1
    return y


@_inlined
def radial_functions(
    flat: np.ndarray, stride: int, ends: np.ndarray, unit: float, polynomial: np.ndarray,
    radial: np.ndarray, angular: np.ndarray, G: np.ndarray, D: np.ndarray,
) -> None:  # fmt: skip
    """Sum the radial functions in W parts, write twice their derivatives by r² into D.

    Rows of the buffer from 4 up get 1/r, and for each angular eta the factor of an edge and its
    derivative by log r.
    """
    n = radial.shape[0]
    for s in range(ends.shape[0] - 1):
        for k in range(s * n * W, (s + 1) * n * W, W):
            store(G, k, splat(0.0))
        for p in range(ends[s, 0], ends[s + 1, 0], W):
            square = load(flat, 3 * stride + p)
            r = vsqrt(square)
            inverse = splat(1.0) / r
            store(flat, 4 * stride + p, inverse)
            c, dc = _evaluate(polynomial, vmin(square * unit, 1.0))
            f, df = c * c, c * dc * (4.0 * unit)
            for g in range(n):
                k, apart = (s * n + g) * W, r - radial[g, 1]
                bell = vexp(apart * apart * (-radial[g, 0]))
                store(G, k, load(G, k) + bell * f)
                slope = df - apart * inverse * f * (2.0 * radial[g, 0])
                store(D, g * stride + p, bell * slope)
            for e in range(angular.shape[0]):
                bell = vexp(square * (-angular[e, 0]))
                store(flat, (5 + 2 * e) * stride + p, bell * f)
                slope = (df - f * (2.0 * angular[e, 0])) * square
                store(flat, (6 + 2 * e) * stride + p, bell * slope)


@_inlined
def _add_angular(
    zeta: int, sign: float, cosine: Vector, rest: Vector,
    by_cosine: Vector, by_square: Vector, along_j: Vector, along_k: Vector,
    x: Vector, y: Vector, z: Vector, xj: float, yj: float, zj: float,
    D: np.ndarray, at: int, stride: int, g: Vector, a: Vector, u: Vector, v: Vector, w: Vector,
) -> tuple[Vector, Vector, Vector, Vector, Vector]:  # fmt: skip
    """Add one angular function of j and W neighbours k, divided by sign * zeta.

    What belongs to j is returned, for the factor of its edge to be multiplied later; what belongs
    to the neighbours k is added to D.
    """
    q = _power(cosine * sign + 1.0, zeta - 1)
    p = q * ((cosine + sign) * (1.0 / zeta))
    c = q * by_cosine - p * by_square
    store(D, at, load(D, at) + p * along_k)
    store(D, at + stride, load(D, at + stride) + c * xj)
    store(D, at + 2 * stride, load(D, at + 2 * stride) + c * yj)
    store(D, at + 3 * stride, load(D, at + 3 * stride) + c * zj)
    return g + p * rest, a + p * along_j, u + c * x, v + c * y, w + c * z


@_inlined
def angular_functions(
    flat: np.ndarray, stride: int, row: int, j_begin: int, j_end: int, k_begin: int, k_end: int,
    same: bool, unit: float, polynomial: np.ndarray, steep: float, later: np.ndarray,
    zetas: np.ndarray, signs: np.ndarray, f: int, G: np.ndarray, at_g: int, D: np.ndarray,
    at_j: int, at_k: int, work: np.ndarray,
) -> None:  # fmt: skip
    """Add the angular functions from f to f + GROUP of two species."""
    o = splat(0.0)
    z0, z1, z2, z3 = zetas[f], zetas[f + 1], zetas[f + 2], zetas[f + 3]
    s0, s1, s2, s3 = signs[f], signs[f + 1], signs[f + 2], signs[f + 3]
    for j in range(j_begin, j_end):
        xj, yj, zj, aj = flat[j], flat[stride + j], flat[2 * stride + j], flat[3 * stride + j]
        inverse, fj, dfj = (
            flat[4 * stride + j],
            flat[row * stride + j],
            flat[(row + 1) * stride + j],
        )
        xf, yf, zf = xj * fj, yj * fj, zj * fj
        g0, a0, u0, v0, w0 = o, o, o, o, o
        g1, a1, u1, v1, w1 = o, o, o, o, o
        g2, a2, u2, v2, w2 = o, o, o, o, o
        g3, a3, u3, v3, w3 = o, o, o, o, o
        for k in range(j // W * W if same else k_begin, k_end, W):
            x, y, z = load(flat, k), load(flat, stride + k), load(flat, 2 * stride + k)
            dx, dy, dz = x - xj, y - yj, z - zj
            square = dx * dx + dy * dy + dz * dz
            if not any_below(square * unit, 1.0):
                continue
            fk, dfk = load(flat, row * stride + k), load(flat, (row + 1) * stride + k)
            if same and k <= j:  # each pair once
                mask = load(later, (j - k) * W)
                fk, dfk = fk * mask, dfk * mask
            h, dh = _evaluate(polynomial, vmin(square * unit, 1.0))
            if steep > 0.0:
                bell = vexp(square * (-0.5 * steep))
                h, dh = h * bell, (dh - h * (0.5 * steep / unit)) * bell
            a, i = load(flat, 3 * stride + k), load(flat, 4 * stride + k) * inverse
            dot = (a + aj - square) * 0.5
            cosine, between = dot * i, h * h
            rest, by_square = fk * between, fk * (h * dh) * (4.0 * unit)
            by_cosine, along_j = rest * i, by_square * (splat(aj) - dot)
            along_k = (dfk * between + by_square * (a - dot)) * fj
            at = at_k + k
            g0, a0, u0, v0, w0 = _add_angular(
                z0, s0, cosine, rest, by_cosine, by_square, along_j, along_k,
                x, y, z, xf, yf, zf, D, at, stride, g0, a0, u0, v0, w0,
            )  # fmt: skip
            g1, a1, u1, v1, w1 = _add_angular(
                z1, s1, cosine, rest, by_cosine, by_square, along_j, along_k,
                x, y, z, xf, yf, zf, D, at + 4 * stride, stride, g1, a1, u1, v1, w1,
            )  # fmt: skip
            g2, a2, u2, v2, w2 = _add_angular(
                z2, s2, cosine, rest, by_cosine, by_square, along_j, along_k,
                x, y, z, xf, yf, zf, D, at + 8 * stride, stride, g2, a2, u2, v2, w2,
            )  # fmt: skip
            g3, a3, u3, v3, w3 = _add_angular(
                z3, s3, cosine, rest, by_cosine, by_square, along_j, along_k,
                x, y, z, xf, yf, zf, D, at + 12 * stride, stride, g3, a3, u3, v3, w3,
            )  # fmt: skip
        a0, a1, a2, a3 = (
            g0 * dfj + a0 * fj,
            g1 * dfj + a1 * fj,
            g2 * dfj + a2 * fj,
            g3 * dfj + a3 * fj,
        )
        store(work, 0, vsums(a0, u0 * fj, v0 * fj, w0 * fj, a1, u1 * fj, v1 * fj, w1 * fj))
        store(work, W, vsums(a2, u2 * fj, v2 * fj, w2 * fj, a3, u3 * fj, v3 * fj, w3 * fj))
        for q in range(4 * GROUP):
            D[at_j + q * stride + j] += work[q]
        store(G, at_g, load(G, at_g) + g0 * fj)
        store(G, at_g + W, load(G, at_g + W) + g1 * fj)
        store(G, at_g + 2 * W, load(G, at_g + 2 * W) + g2 * fj)
        store(G, at_g + 3 * W, load(G, at_g + 3 * W) + g3 * fj)


class Buffers(NamedTuple):
    """Memory for one atom after another.

    Attributes
    ----------
    stride
        Length of the rows of ``flat`` and of derivatives: the most neighbours of an atom.
    flat, who, ends
        What ``gather`` fills.
    sums
        Of the functions over neighbours, in W parts.
    radial, angular
        Their derivatives by the positions of the neighbours.
    features
        Of the atom, without norms.
    work
        For whatever.
    """

    stride: int
    flat: np.ndarray
    who: np.ndarray
    ends: np.ndarray
    sums: np.ndarray
    radial: np.ndarray
    angular: np.ndarray
    features: np.ndarray
    work: np.ndarray


@_inlined
def buffers(functions: Functions, n_atoms: int, begin: np.ndarray, n_work: int) -> Buffers:
    """Allocate buffers for atoms whose neighbours begin at ``begin`` (see ``Verlet``).

    ``n_work`` is the least size of ``work``.
    """
    n_species = functions.couple.shape[0]
    n_radial, n_angular = (
        functions.radial.shape[0],
        functions.angular.shape[0] * functions.zetas.size,
    )
    n_features = functions.norms.size
    stride = (most_neighbours(begin, n_atoms, n_species) + (n_species + 2) * W) // W * W
    flat = aligned((5 + 2 * functions.angular.shape[0]) * stride)
    who, ends = np.empty(stride, np.int32), np.zeros((n_species + 1, 2), np.intp)
    G, D2 = aligned(n_features * W), aligned(n_radial * stride)
    D4 = aligned(n_species * n_angular * 4 * stride)
    work = np.empty(max(n_work, 4 * GROUP, 3 * W))
    return Buffers(stride, flat, who, ends, G, D2, D4, np.empty(n_features), work)


@_inlined
def describe(functions: Functions, buffers: Buffers) -> None:
    """Write the features of an atom whose neighbours were gathered, without their norms."""
    stride, flat, _, ends, G, D2, D4, features, work = buffers
    cutoffs, radial, angular, polynomials, later, zetas, signs, couple, norms = functions
    unit, n_species = 1.0 / (cutoffs[0] * cutoffs[0]), couple.shape[0]
    n_radial, n_angular = radial.shape[0], angular.shape[0] * zetas.size
    radial_functions(flat, stride, ends, unit, polynomials[0], radial, angular, G, D2)
    G[n_species * n_radial * W :] = 0.0
    D4[:] = 0.0
    for s in range(n_species):
        for t in range(s, n_species):
            if ends[s, 0] == ends[s, 1] or ends[t, 0] == ends[t, 1]:
                continue
            first = n_species * n_radial + couple[s, t] * n_angular
            for h in range(0, n_angular, GROUP):
                e = h // zetas.size
                angular_functions(
                    flat, stride, 5 + 2 * e, ends[s, 0], ends[s, 1], ends[t, 0],
                    ends[t + 1, 0], s == t, unit, polynomials[1 + e], angular[e, 1], later,
                    zetas, signs, h - e * zetas.size, G, (first + h) * W, D4,
                    (t * n_angular + h) * 4 * stride, (s * n_angular + h) * 4 * stride, work,
                )  # fmt: skip
    for k in range(norms.size):
        features[k] = vsum(load(G, k * W))


@_inlined
def add_forces(
    i: int, functions: Functions, buffers: Buffers, adjoints: np.ndarray, forces: np.ndarray
) -> None:
    """Add the forces (eV/Å) of the energy of atom i: of one member, with dE/dG as ``adjoints``."""
    stride, flat, who, ends, _, D2, D4, _, work = buffers
    couple = functions.couple
    n_species, n_radial = couple.shape[0], functions.radial.shape[0]
    n_angular = functions.angular.shape[0] * functions.zetas.size
    x = y = z = 0.0
    for s in range(n_species):
        for p in range(ends[s, 0], ends[s + 1, 0], W):
            a, u, v, w = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for t in range(n_species):
                if ends[t, 0] == ends[t, 1]:
                    continue
                first = n_species * n_radial + couple[s, t] * n_angular
                for h in range(n_angular):
                    adjoint, at = fill(adjoints, first + h), (t * n_angular + h) * 4 * stride + p
                    a = a + load(D4, at) * adjoint
                    u = u + load(D4, at + stride) * adjoint
                    v = v + load(D4, at + 2 * stride) * adjoint
                    w = w + load(D4, at + 3 * stride) * adjoint
            dx, dy, dz = load(flat, p), load(flat, stride + p), load(flat, 2 * stride + p)
            a = (a - u * dx - v * dy - w * dz) / load(flat, 3 * stride + p)
            for g in range(n_radial):
                a = a + load(D2, g * stride + p) * fill(adjoints, s * n_radial + g)
            store(work, 0, u + a * dx)
            store(work, W, v + a * dy)
            store(work, 2 * W, w + a * dz)
            for q in range(min(W, ends[s, 1] - p)):
                j = who[p + q]
                forces[j, 0] -= work[q]
                forces[j, 1] -= work[W + q]
                forces[j, 2] -= work[2 * W + q]
                x, y, z = x + work[q], y + work[W + q], z + work[2 * W + q]
    forces[i, 0] += x
    forces[i, 1] += y
    forces[i, 2] += z
