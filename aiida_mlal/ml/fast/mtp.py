"""Moment tensor potential on the CPU, in numba with explicit SIMD.

Pass 1, for an atom, W neighbours at a time: radial functions, then the moments. Pass 2, W atoms at
a time: traces, products, and the adjoints of the moments, dE/dM. Pass 3,
for an atom, W neighbours at a time: gradients of the polynomials that these are the coefficients
of; their values by Euler's theorem. ``Tables`` says how the lists are arranged. Neighbours are
sorted by species, so radial coefficients stay numbers rather than vectors.

One compilation serves all levels and numbers of species: 15 s of CPU time, then kept by numba.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.radial import tables as radial_tables
from aiida_mlal.ml.fast.simd import (
    W,
    aligned,
    cut,
    fill,
    get,
    load,
    put,
    splat,
    store,
    vmax,
    vsqrt,
    vsum,
)
from aiida_mlal.ml.fast.tables import Tables
from aiida_mlal.ml.fast.verlet import AtomRange

if TYPE_CHECKING:
    from aiida_mlal.ml.descriptors.radial_polynomials import RadialBasis

Vector = Any
"""W doubles; numba knows the type."""

_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)


NOTHING = np.zeros((0, 0))
"""Derivatives by the coefficients that nobody asked for."""


Constants = tuple[np.ndarray, ...]
"""What ``constants`` returns, flat: names for its parts would cost 2 µs of each call."""


class MTPKernel:
    """Moment tensor potentials of the same elements, the members of a committee.

    Parameters
    ----------
    cutoff
        The largest, in Å.
    members
        What ``constants`` returns of each.
    n_parameters
        Of each; 0 if they are fixed, None if they do not have the same number.
    """

    def __init__(
        self, cutoff: float, members: Sequence[Constants], n_parameters: int | None
    ) -> None:
        self.cutoff, self._members = float(cutoff), tuple(members)
        self.n_members, self.n_parameters = len(self._members), n_parameters

    def add(
        self,
        part: AtomRange,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
        gradients: Float[np.ndarray, "members atoms parameters"] | None = None,
    ) -> None:
        """Add energies (eV) of atoms, forces (eV/Å) on images, derivatives by the coefficients."""
        for member, its_constants in enumerate(self._members):
            _chunk(
                part.positions, part.species, part.neighbours, part.begin, its_constants,
                energies[member], forces[member],
                NOTHING if gradients is None else gradients[member],
            )  # fmt: skip


def constants(
    basis: MomentBasis,
    radial: "RadialBasis",
    radial_coeffs: Float[np.ndarray, "species species functions size"],
    species_coeffs: Float[np.ndarray, " species"],
    moment_coeffs: Float[np.ndarray, " scalars"],
) -> Constants:
    """Arrange a potential for compiled code.

    Radial coefficients, followed along the third axis by those of the derivatives by the distance;
    energies of species; ``radial.tables``; and all ``Tables``.
    """
    slopes = radial_coeffs @ radial.slopes * (2 / (radial.cutoff - radial.min_dist))
    return (
        np.concatenate([radial_coeffs, slopes], axis=2, dtype=float),
        np.array(species_coeffs, dtype=float),
        *radial_tables(radial),
        *Tables.of(basis, np.array(moment_coeffs, dtype=float)),
    )


@_inlined
def _monomials(
    E: np.ndarray, V: np.ndarray, parents: np.ndarray, n: int, x: Vector, y: Vector, z: Vector
) -> None:
    """Write the first n divided powers of the unit vector into E; V is work space."""
    for q in range(1, V.size // (3 * W) + 1):
        store(V, (3 * q - 3) * W, x * (1.0 / q))
        store(V, (3 * q - 2) * W, y * (1.0 / q))
        store(V, (3 * q - 1) * W, z * (1.0 / q))
    for k in range(n - 1):
        store(E, (k + 1) * W, load(E, parents[k, 0] * W) * load(V, parents[k, 1] * W))


@_inlined
def _gather(
    i: int, positions: np.ndarray, neighbours: np.ndarray, begin: np.ndarray, n_species: int,
    square: float, flat: np.ndarray, stride: int, who: np.ndarray, ends: np.ndarray,
) -> int:  # fmt: skip
    """Pack the neighbours of atom i inside the cutoff: x, y, z, r² in rows 0-3 of the buffer.

    Unlike ``gather`` without gaps between species: here vectors may hold neighbours of two.
    """
    n = 0
    xi, yi, zi = positions[i, 0], positions[i, 1], positions[i, 2]
    there = positions.reshape(-1)
    for s in range(n_species):
        ends[s] = n
        for q in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
            j = get(neighbours, q)
            dx, dy = get(there, 3 * j) - xi, get(there, 3 * j + 1) - yi
            dz = get(there, 3 * j + 2) - zi
            r2 = dx * dx + dy * dy + dz * dz
            put(flat, n, dx)
            put(flat, n + stride, dy)
            put(flat, n + 2 * stride, dz)
            put(flat, n + 3 * stride, r2)
            put(who, n, j)
            n += r2 < square
    ends[n_species] = n
    return n


@_inlined
def _envelope(r: Vector, settings: np.ndarray) -> tuple[Vector, Vector]:
    """Return the envelope of the radial polynomials and its derivative by r."""
    factor, envelope = settings[2], settings[3]
    t = r - settings[1]
    w, dw = t * t * factor, t * (2.0 * factor)
    if envelope == 1.0:
        w, dw = splat(factor), splat(0.0)
    elif envelope == 2.0:
        inverse = splat(1.0) / r
        w = w * inverse * inverse
        dw = dw * inverse * inverse - w * inverse * 2.0
    return w, dw


@_inlined
def _polynomials(
    r: Vector, first: Vector, settings: np.ndarray, recurrence: np.ndarray, Q: np.ndarray
) -> None:
    """Write the radial polynomials of r into Q, each multiplied by the first."""
    xi = (r - settings[0]) * (2.0 / (settings[1] - settings[0])) - 1.0
    t0, t1 = first, splat(0.0)
    for b in range(recurrence.shape[0]):
        store(Q, b * W, t0)
        u = xi * recurrence[b, 0] + recurrence[b, 1]
        t1, t0 = t0, u * t0 - t1 * recurrence[b, 2]


@_inlined
def _radial(
    buffer: np.ndarray, flat: np.ndarray, ends: np.ndarray, n: int, stride: int,
    coefficients: np.ndarray, settings: np.ndarray, recurrence: np.ndarray, Q: np.ndarray,
) -> float:  # fmt: skip
    """Write unit vectors, 1/r, radial functions and their derivatives into rows of the buffer.

    The latter half of the coefficients are those of the derivatives. Returns the energy of the
    repulsion below the smallest distance, if there is such.
    """
    n_species, K, R = coefficients.shape[0], coefficients.shape[1] // 2, coefficients.shape[2]
    numbers = coefficients.reshape(-1)
    for q in range(n, n + W):
        buffer[0, q], buffer[1, q], buffer[2, q], buffer[3, q] = 1.0, 0.0, 0.0, 1.0
    for s in range(n_species):
        for p in range(ends[s], ends[s + 1], W):
            r = vsqrt(load(flat, 3 * stride + p))
            store(flat, (4 + 2 * K) * stride + p, splat(1.0) / r)
            if settings[4] > 0.0:
                r = vmax(r, settings[0])
            w, dw = _envelope(r, settings)
            _polynomials(r, splat(1.0), settings, recurrence, Q)
            for mu in range(K):
                f, g = splat(0.0), splat(0.0)
                o = (s * 2 * K + mu) * R
                for b in range(R):
                    f = f + load(Q, b * W) * fill(numbers, o + b)
                    g = g + load(Q, b * W) * fill(numbers, o + K * R + b)
                store(flat, (4 + mu) * stride + p, w * f)
                store(flat, (4 + K + mu) * stride + p, w * g + dw * f)
    for mu in range(2 * K):
        store(flat, (4 + mu) * stride + n, splat(0.0))
    store(flat, (4 + 2 * K) * stride + n, splat(1.0))
    energy = 0.0
    if settings[4] > 0.0:
        low = settings[0]
        for q in range(n):
            if buffer[3, q] < low * low:
                for mu in range(K):
                    buffer[4 + K + mu, q] = 0.0
                if settings[5] > 0.0:
                    r = np.sqrt(buffer[3, q])
                    energy += 10000.0 * (np.exp(-10.0 * (r - 1.0)) - np.exp(-10.0 * (low - 1.0)))
    for p in range(0, n, W):
        inverse = load(flat, (4 + 2 * K) * stride + p)
        store(flat, 3 * stride + p, inverse)
        for q in range(3):
            store(flat, q * stride + p, load(flat, q * stride + p) * inverse)
    return energy


@_inlined
def _sum_moments(
    flat: np.ndarray, n: int, stride: int, segments: np.ndarray, parents: np.ndarray,
    E: np.ndarray, V: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Sum the moments of one atom, in W parts each."""
    sums[:] = 0.0
    table = segments.reshape(-1)
    for p in range(0, n, W):
        x, y, z = load(flat, p), load(flat, stride + p), load(flat, 2 * stride + p)
        _monomials(E, V, parents, E.size // W, x, y, z)
        for g in range(0, table.size, 7):
            f = load(flat, (4 + get(table, g)) * stride + p)
            o, e = get(table, g + 2) * W, get(table, g + 3) * W
            for k in range(0, get(table, g + 4) * W, W):
                store(sums, o + k, load(sums, o + k) + f * load(E, e + k))


@_inlined
def _products(
    M: np.ndarray, G: np.ndarray, factors: np.ndarray, traces: np.ndarray,
    inner_begin: np.ndarray, inner_pairs: np.ndarray, inner_factors: np.ndarray,
    linear: np.ndarray, rows: np.ndarray, row_begin: np.ndarray, columns: np.ndarray,
    weights: np.ndarray,
) -> Vector:  # fmt: skip
    """Return energies (eV) of W atoms from their moments M, and get the adjoints dE/dM in G."""
    n_moments, n_basic = linear.size, factors.size + traces.shape[0]
    for k in range(factors.size):
        store(M, k * W, load(M, k * W) * factors[k])
    for k in range(traces.shape[0]):
        trace = load(M, traces[k, 1] * W) + load(M, traces[k, 2] * W) + load(M, traces[k, 3] * W)
        store(M, traces[k, 0] * W, trace)
    for c in range(inner_begin.size - 1):
        s = splat(0.0)
        for t in range(inner_begin[c], inner_begin[c + 1]):
            a, b = inner_pairs[t, 0] * W, inner_pairs[t, 1] * W
            s = s + load(M, a) * load(M, b) * fill(inner_factors, t)
        store(M, (n_basic + c) * W, s)
    energies = splat(0.0)
    for k in range(n_moments):
        energies = energies + load(M, k * W) * fill(linear, k)
        store(G, k * W, splat(linear[k]))
    for r in range(rows.size):
        a = rows[r] * W
        m, s = load(M, a), splat(0.0)
        for t in range(row_begin[r], row_begin[r + 1]):
            b = columns[t] * W
            s = s + load(M, b) * fill(weights, t)
            store(G, b, load(G, b) + m * fill(weights, t))
        store(G, a, load(G, a) + s)
        energies = energies + m * s
    for c in range(inner_begin.size - 2, -1, -1):
        g = load(G, (n_basic + c) * W)
        for t in range(inner_begin[c], inner_begin[c + 1]):
            a, b = inner_pairs[t, 0] * W, inner_pairs[t, 1] * W
            gm = g * fill(inner_factors, t)
            store(G, a, load(G, a) + gm * load(M, b))
            store(G, b, load(G, b) + gm * load(M, a))
    for k in range(traces.shape[0] - 1, -1, -1):
        g = load(G, traces[k, 0] * W)
        for q in range(1, 4):
            store(G, traces[k, q] * W, load(G, traces[k, q] * W) + g)
    for k in range(factors.size):
        store(G, k * W, load(G, k * W) * factors[k])
    return energies


@_inlined
def _gradients(
    flat: np.ndarray, n: int, stride: int, K: int, lane: int, G: np.ndarray, segments: np.ndarray,
    lower: int, parents: np.ndarray, steps: np.ndarray, E: np.ndarray, V: np.ndarray,
) -> None:  # fmt: skip
    """Write the derivative of the energy of an atom by each neighbour's position: rows 4-6."""
    for p in range(0, n, W):
        x, y, z = load(flat, p), load(flat, stride + p), load(flat, 2 * stride + p)
        inverse = load(flat, 3 * stride + p)
        _monomials(E, V, parents, lower, x, y, z)
        ax, ay, az, along = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        for g in range(segments.shape[0]):
            f = load(flat, (4 + segments[g, 0]) * stride + p) * inverse
            df = load(flat, (4 + K + segments[g, 0]) * stride + p)
            d, o, e = segments[g, 1], segments[g, 2] * W + lane, segments[g, 5] * W
            if d == 0:
                along = along + df * fill(G, o)
                continue
            gx, gy, gz = splat(0.0), splat(0.0), splat(0.0)
            for k in range(segments[g, 6]):
                m, q = load(E, e + k * W), o + steps[k] * W
                gx = gx + m * fill(G, o)
                gy = gy + m * fill(G, q)
                gz = gz + m * fill(G, q + W)
                o += W
            t = x * gx + y * gy + z * gz
            along = along + t * (df * (1.0 / d) - f)
            ax, ay, az = ax + f * gx, ay + f * gy, az + f * gz
        store(flat, 4 * stride + p, ax + along * x)
        store(flat, 5 * stride + p, ay + along * y)
        store(flat, 6 * stride + p, az + along * z)


@_inlined
def _radial_gradients(
    flat: np.ndarray, ends: np.ndarray, stride: int, lane: int, G: np.ndarray,
    segments: np.ndarray, parents: np.ndarray, settings: np.ndarray, recurrence: np.ndarray,
    E: np.ndarray, V: np.ndarray, Q: np.ndarray, H: np.ndarray, sums: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Write the derivatives of the energy of an atom by the radial coefficients of its species."""
    R, K = recurrence.shape[0], H.size // W
    for s in range(ends.size - 1):
        sums[: K * R * W] = 0.0
        for p in range(ends[s], ends[s + 1], W):
            x, y, z = load(flat, p), load(flat, stride + p), load(flat, 2 * stride + p)
            _monomials(E, V, parents, E.size // W, x, y, z)
            H[:] = 0.0
            for g in range(segments.shape[0]):
                h, o, e = splat(0.0), segments[g, 2] * W + lane, segments[g, 3] * W
                for k in range(0, segments[g, 4] * W, W):
                    h = h + load(E, e + k) * fill(G, o + k)
                mu = segments[g, 0] * W
                store(H, mu, load(H, mu) + h)
            for q in range(ends[s + 1] - p, W):  # neighbours of the next species, or none
                for mu in range(K):
                    H[mu * W + q] = 0.0
            r = splat(1.0) / load(flat, 3 * stride + p)
            if settings[4] > 0.0:
                r = vmax(r, settings[0])
            _polynomials(r, _envelope(r, settings)[0], settings, recurrence, Q)
            for mu in range(K):
                h = load(H, mu * W)
                for b in range(R):
                    o = (mu * R + b) * W
                    store(sums, o, load(sums, o) + h * load(Q, b * W))
        for k in range(K * R):
            out[s * K * R + k] = vsum(load(sums, k * W))


@_inlined
def _invariants(
    M: np.ndarray, n: int, gradients: np.ndarray, base: int, first: int, scalars: np.ndarray,
    begin: np.ndarray, pairs: np.ndarray, factors: np.ndarray,
) -> None:  # fmt: skip
    """Write the invariants of W atoms: the derivatives of their energies by moment_coeffs."""
    value = np.empty(W)
    for k in range(scalars.size):
        if scalars[k] >= 0:
            store(value, 0, load(M, scalars[k] * W))
        else:
            s = splat(0.0)
            for t in range(begin[k], begin[k + 1]):
                s = s + load(M, pairs[t, 0] * W) * load(M, pairs[t, 1] * W) * fill(factors, t)
            store(value, 0, s)
        for lane in range(n):
            gradients[base + lane, first + k] = value[lane]


@jit(fastmath=True, nogil=True)
def _chunk(
    positions: np.ndarray, species: np.ndarray, neighbours: np.ndarray, begin: np.ndarray,
    constants: Constants, energies: np.ndarray, forces: np.ndarray, gradients: np.ndarray,
) -> None:  # fmt: skip
    """Add energies of atoms and forces on images; write gradients, if there are any, by zeros."""
    (
        coefficients, species_coeffs, settings, recurrence, segments, parents, steps, factors,
        traces, inner_begin, inner_pairs, inner_factors, linear, form_rows, row_begin, columns,
        weights, scalars, scalar_begin, scalar_pairs, scalar_factors,
    ) = constants  # fmt: skip
    n_species, K, R = coefficients.shape[0], coefficients.shape[2] // 2, coefficients.shape[3]
    square, n_atoms = settings[1] * settings[1], energies.size
    most = 0
    for i in range(n_atoms):
        most = max(most, begin[(i + 1) * n_species] - begin[i * n_species])
    stride = (most + 2 * W) // 8 * 8 + 8
    who = np.empty((W, stride), np.int32)
    ends = np.empty((W, n_species + 1), np.intp)
    n_summed, n_moments = factors.size, linear.size
    highest, lower = max(1, segments[:, 1].max()), segments[:, 3].max()
    powers, most_sums, rows = parents.shape[0] + 1, max(n_summed, K * R), 5 + 2 * K
    room = aligned(
        (powers + 3 * highest + most_sums + R + K + 1 + 2 * n_moments + rows * stride) * W
    )
    E, at = cut(room, 0, powers * W)
    V, at = cut(room, at, 3 * highest * W)
    sums, at = cut(room, at, most_sums * W)
    Q, at = cut(room, at, R * W)
    H, at = cut(room, at, K * W)
    out, at = cut(room, at, W)
    M, at = cut(room, at, n_moments * W)
    G, at = cut(room, at, n_moments * W)
    buffer = cut(room, at, W * rows * stride)[0].reshape(W, rows, stride)
    E[:], M[:] = 1.0, 0.0
    repulsion = np.zeros(W)
    per_centre = n_species * K * R
    for base in range(0, n_atoms, W):
        n_lanes = min(W, n_atoms - base)
        for lane in range(n_lanes):
            i, here = base + lane, buffer[lane]
            flat = here.reshape(-1)
            n = _gather(
                i, positions, neighbours, begin, n_species, square, flat, stride, who[lane],
                ends[lane],
            )  # fmt: skip
            repulsion[lane] = _radial(
                here, flat, ends[lane], n, stride, coefficients[species[i]], settings,
                recurrence, Q,
            )  # fmt: skip
            _sum_moments(flat, n, stride, segments, parents, E, V, sums)
            for k in range(n_summed):
                M[k * W + lane] = vsum(load(sums, k * W))
        energy = _products(
            M, G, factors, traces, inner_begin, inner_pairs, inner_factors, linear, form_rows,
            row_begin, columns, weights,
        )  # fmt: skip
        store(out, 0, energy)
        if gradients.shape[0]:
            first = n_species * per_centre + n_species
            _invariants(
                M,
                n_lanes,
                gradients,
                base,
                first,
                scalars,
                scalar_begin,
                scalar_pairs,
                scalar_factors,
            )
        for lane in range(n_lanes):
            i, here, n = base + lane, buffer[lane], ends[lane, n_species]
            flat = here.reshape(-1)
            energies[i] += out[lane] + species_coeffs[species[i]] + repulsion[lane]
            _gradients(flat, n, stride, K, lane, G, segments, lower, parents, steps, E, V)
            fx = fy = fz = 0.0
            for q in range(n):
                j = who[lane, q]
                gx, gy, gz = here[4, q], here[5, q], here[6, q]
                if settings[5] > 0.0 and here[3, q] * settings[0] > 1.0:
                    push = -100000.0 * np.exp(-10.0 * (1.0 / here[3, q] - 1.0))
                    gx += push * here[0, q]
                    gy += push * here[1, q]
                    gz += push * here[2, q]
                forces[j, 0] -= gx
                forces[j, 1] -= gy
                forces[j, 2] -= gz
                fx, fy, fz = fx + gx, fy + gy, fz + gz
            forces[i, 0] += fx
            forces[i, 1] += fy
            forces[i, 2] += fz
            if gradients.shape[0]:
                start = species[i] * per_centre
                _radial_gradients(
                    flat, ends[lane], stride, lane, G, segments, parents, settings, recurrence,
                    E, V, Q, H, sums, gradients[i, start : start + per_centre],
                )  # fmt: skip
                gradients[i, n_species * per_centre + species[i]] = 1.0
