"""Moment tensor potentials in training: exact derivatives of many structures by the coefficients.

Basic moments are linear in the radial coefficients, ``M[mu, k] = sum_b c[mu, b] A[b, k]``, with
``A`` the moments of the polynomials themselves. The derivatives of forces and virials by the
coefficients are, atom by atom, a matrix product: derivatives of the adjoints dE/dM by the
coefficients, times gradients of M by the positions of the neighbours. The former come from one
sweep through the products for each coefficient, ``BLOCK`` atoms at a time.

The kernels release Python's lock, so that each thread can have structures of its own.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import ThreadpoolController

from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis, components
from aiida_mlal.ml.fast.jit import inlined, jit
from aiida_mlal.ml.fast.radial import tables as radial_tables
from aiida_mlal.ml.fast.simd import W, fill, load, store
from aiida_mlal.ml.fast.tables import n_below

if TYPE_CHECKING:
    from aiida_mlal.ml.descriptors.radial_polynomials import RadialBasis

_kernel: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)
_inlined: Callable[[Callable[..., Any]], Any] = inlined(fastmath=True)

BLOCK = W
"""Atoms handled together in the products, as a vector."""

T = TypeVar("T")

LEAST_PAIRS, MOST_SHARES = 20_000, 16
"""Fewest pairs in a share of the structures whose derivatives are summed, and the most shares."""

SYMMETRIC = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Index in the kernels' virials of each element of a symmetric 3 x 3 matrix."""


@dataclass(frozen=True, eq=False)
class Structures:
    """Fixed structures; the pairs of each atom stand together, as in ``Graph``.

    Attributes
    ----------
    owner, species
        The structure and the species of each atom.
    first
        Where the pairs of each atom begin, and at last their number.
    neighbour, vectors
        The other atom of each pair, and the vector to it in Å.
    offsets
        Where the atoms of each structure begin, and at last their number.
    """

    owner: Int[np.ndarray, " atoms"]
    species: Int[np.ndarray, " atoms"]
    first: Int[np.ndarray, " atoms+1"]
    neighbour: Int[np.ndarray, " pairs"]
    vectors: Float[np.ndarray, "pairs 3"]
    offsets: Int[np.ndarray, " structures+1"]

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Return the arrays for compiled code, in its order."""
        return self.owner, self.species, self.first, self.neighbour, self.vectors

    def shares(self, n: int) -> list[tuple[int, int]]:
        """Divide the atoms into ranges of whole structures, with about as many pairs in each."""
        goals = np.linspace(0, self.first[-1], n + 1)[1:-1]
        inner = self.offsets[np.searchsorted(self.first[self.offsets], goals)]
        cuts = np.unique([0, *inner, self.offsets[-1]])
        return [(int(a), int(b)) for a, b in pairwise(cuts)]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients as they are now: radial (centre, neighbour, mu, b), species, moments."""

    radial: Float[np.ndarray, "species species functions size"]
    species: Float[np.ndarray, " species"]
    moment: Float[np.ndarray, " scalars"]

    @property
    def n_linear(self) -> int:
        """Number of coefficients that the energy is linear in."""
        return len(self.species) + len(self.moment)


EnergiesForcesVirials = tuple[np.ndarray, np.ndarray, np.ndarray]
"""In eV, eV/Å and eV, or derivatives of them by coefficients, along the last axis."""


class MTPKernels:
    """Energies, forces and virials of structures, and derivatives by the coefficients."""

    def __init__(self, basis: MomentBasis, radial: "RadialBasis") -> None:
        self._radial = radial_tables(radial)
        self._lists = _lists(basis)

    @cached_property
    def _chains(self) -> "Chains":
        return _chains(self._lists.times, self._lists.scalars, self._lists.traces)

    def predict(self, at: Structures, of: Coefficients, threads: int = 1) -> EnergiesForcesVirials:
        """Predict energies (eV), forces (eV/Å) and virials (eV)."""
        energies, forces, virials = _empty(at)

        def work(low: int, high: int) -> None:
            values = (of.radial, of.species, of.moment)
            results = energies, forces, virials
            _predict(low, high, at.arrays(), *self._radial, *values, self._lists, *results)

        _divide(work, at, threads)
        return energies, forces, virials[:, SYMMETRIC]

    def linear_jacobian(
        self, at: Structures, of: Coefficients, threads: int = 1
    ) -> EnergiesForcesVirials:
        """Differentiate by the coefficients of species, then of moments."""
        energies, forces, virials = _empty(at, of.n_linear)
        chains = self._chains

        def work(low: int, high: int) -> None:
            lists, results = (self._lists, chains), (energies, forces, virials)
            _linear_jacobian(low, high, at.arrays(), *self._radial, of.radial, *lists, *results)

        _divide(work, at, threads)
        return energies, forces, virials[:, SYMMETRIC]

    def radial_jacobian(
        self, at: Structures, of: Coefficients, threads: int = 1
    ) -> EnergiesForcesVirials:
        """Differentiate by the radial coefficients."""
        energies, forces, virials = _empty(at, of.radial.size)

        def work(low: int, high: int) -> None:
            values, results = (of.radial, of.moment), (energies, forces, virials)
            _radial_jacobian(low, high, at.arrays(), *self._radial, *values, self._lists, *results)

        _divide(work, at, threads)
        return energies, forces, virials[:, SYMMETRIC]

    def gradient(
        self,
        at: Structures,
        of: Coefficients,
        energies: Float[np.ndarray, " structures"],
        forces: Float[np.ndarray, "atoms 3"],
        virials: Float[np.ndarray, "structures 3 3"],
        threads: int = 1,
    ) -> Float[np.ndarray, " coefficients"]:
        """Back-propagate dL/dE, dL/dF and dL/dW (virials) to all coefficients."""

        def work(low: int, high: int) -> np.ndarray:
            gradient = np.zeros(of.radial.size + of.n_linear)
            values = (of.radial, of.moment, energies, forces, virials)
            _gradient(low, high, at.arrays(), *self._radial, *values, self._lists, gradient)
            return gradient

        n_shares = min(MOST_SHARES, 1 + int(at.first[-1]) // LEAST_PAIRS)
        return sum(_divide(work, at, threads, n_shares), np.zeros(of.radial.size + of.n_linear))


def _empty(at: Structures, *columns: int) -> EnergiesForcesVirials:
    n_structures, n_atoms = len(at.offsets) - 1, len(at.owner)
    shapes = ((n_structures,), (n_atoms, 3), (n_structures, 6))
    energies, forces, virials = (np.zeros((*shape, *columns)) for shape in shapes)
    return energies, forces, virials


def _divide(
    work: Callable[[int, int], T], at: Structures, threads: int, n_shares: int | None = None
) -> list[T]:
    """Do the work on shares of the structures; BLAS keeps to the thread that calls it.

    Where results of shares are added up, their number must not depend on that of the threads.
    """
    shares = at.shares(n_shares or threads)
    with _pools().limit(limits=1, user_api="blas"):
        if min(len(shares), threads) < 2:
            return [work(*share) for share in shares]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda share: work(*share), shares))


@cache
def _pools() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # numba uses its BLAS, which must be there to be found

    return ThreadpoolController()


class Lists(NamedTuple):
    """Moments and products in the order of the kernels.

    Basic moments are numbered anew: each radial function has the first of the monomials, in one
    order. Where a basis has gaps, they are filled with moments that nothing needs.

    Attributes
    ----------
    begin
        First basic moment of each radial function, and at last their number.
    powers
        Of x, y, z in each monomial.
    lower
        The monomial with a power of one less, for each axis.
    parent
        The monomial that each is made of, and the axis that it is multiplied by.
    times, factors
        Products: two moments, that to which their product is added; and its factor.
    scalars
        The moments that are the invariants.
    size
        The number of moments.
    traces
        A moment of rank d is the sum of three of rank d + 2, since vectors have length 1: each
        with its three, low ranks first. The adjoints of low ranks are added to those of the two
        highest ranks of each radial function, whose gradients are enough then.
    column
        Index of each basic moment among those of the two highest ranks; -1 for the others.
    """

    begin: Int[np.ndarray, " functions_and_end"]
    powers: Float[np.ndarray, "monomials 3"]
    lower: Int[np.ndarray, "monomials 3"]
    parent: Int[np.ndarray, "monomials 2"]
    times: Int[np.ndarray, "products 3"]
    factors: Float[np.ndarray, " products"]
    scalars: Int[np.ndarray, " scalars"]
    size: Int[np.ndarray, "1"]
    traces: Int[np.ndarray, "traces 4"]
    column: Int[np.ndarray, " basic"]


class Chains(NamedTuple):
    """What each invariant is made of; what belongs to it is between ``begin[k]`` and the next.

    Attributes
    ----------
    begin, products
        Products, from the invariant back.
    touched_begin, touched
        The moments in them.
    fold_begin, folds
        Traces.
    """

    begin: Int[np.ndarray, " scalars_and_end"]
    products: Int[np.ndarray, " entries"]
    touched_begin: Int[np.ndarray, " scalars_and_end"]
    touched: Int[np.ndarray, " entries"]
    fold_begin: Int[np.ndarray, " scalars_and_end"]
    folds: Int[np.ndarray, " entries"]


def _lists(basis: MomentBasis) -> Lists:
    monomials = [k for rank in range(basis.max_rank + 1) for k in components(rank)]
    index = {k: i for i, k in enumerate(monomials)}
    mu = basis.basic[:, 0]
    monomial = np.array([index[x, y, z] for x, y, z in basis.basic[:, 1:].tolist()])
    ranks = np.zeros(basis.n_radial, np.int64)
    np.maximum.at(ranks, mu, basis.basic[:, 1:].sum(axis=1))
    count = np.array([n_below(rank + 1) for rank in ranks.tolist()])
    begin = np.concatenate([[0], np.cumsum(count)])
    number = np.concatenate(
        [begin[mu] + monomial, np.arange(len(mu), basis.n_moments) - len(mu) + begin[-1]]
    )
    times = np.stack([number[basis.times[:, q]] for q in (0, 1, 3)], axis=1)
    factors = basis.times[:, 2].astype(float)
    scalars = number[basis.mapping]
    size = np.array([int(begin[-1]) + basis.n_moments - len(mu)])

    lower = np.zeros((len(monomials), 3), np.int64)
    parent = np.zeros((len(monomials), 2), np.int64)
    for i, powers in enumerate(monomials):
        for axis in range(3):
            if powers[axis]:
                x, y, z = (p - (q == axis) for q, p in enumerate(powers))
                lower[i, axis] = index[x, y, z]
                parent[i] = lower[i, axis], axis
    traces, column = [], np.full(begin[-1], -1)
    for first, rank in zip(begin.tolist(), ranks.tolist()):
        start = n_below(rank - 1)
        for k, (x, y, z) in enumerate(monomials[:start]):
            higher = ((x + 2, y, z), (x, y + 2, z), (x, y, z + 2))
            traces.append([first + k, *(first + index[one] for one in higher)])
        column[first + start : first + n_below(rank + 1)] = 0
    column[column == 0] = np.arange((column == 0).sum())
    return Lists(
        begin=begin,
        powers=np.array(monomials, dtype=float),
        lower=lower,
        parent=parent,
        times=times,
        factors=factors,
        scalars=scalars,
        size=size,
        traces=np.array(traces, np.int64).reshape(-1, 4),
        column=column,
    )


def _chains(times: np.ndarray, scalars: np.ndarray, traces: np.ndarray) -> Chains:
    """Find for each invariant the products and traces that it needs, and the moments in them."""
    rows: dict[int, list[int]] = {}
    for n, c in enumerate(times[:, 2].tolist()):
        rows.setdefault(c, []).append(n)
    operands = times[:, :2].tolist()
    chains, touched, folds = [], [], []
    for scalar in scalars.tolist():
        seen, todo = {scalar}, [scalar]
        while todo:
            new = {x for n in rows.get(todo.pop(), ()) for x in operands[n]} - seen
            seen |= new
            todo += new
        chains.append([n for c in sorted(seen, reverse=True) for n in rows.get(c, ())])
        mine = []
        for n, (low, *higher) in enumerate(traces.tolist()):
            if low in seen:
                mine.append(n)
                seen |= set(higher)
        folds.append(mine)
        touched.append(sorted(seen))
    return Chains(*_flat(chains), *_flat(touched), *_flat(folds))


def _flat(groups: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    begin = np.cumsum([0, *(len(group) for group in groups)])
    return begin, np.array([x for group in groups for x in group], np.int64)


Arrays = tuple[np.ndarray, ...]


@_inlined
def _pair(
    vector: np.ndarray, settings: np.ndarray, recurrence: np.ndarray, parent: np.ndarray,
    unit: np.ndarray, u: np.ndarray, Q: np.ndarray, dQ: np.ndarray,
) -> float:  # fmt: skip
    """Write the unit vector, its monomials, the polynomials Q and dQ/dr; return the distance."""
    low, cutoff, factor, envelope = settings[0], settings[1], settings[2], settings[3]
    x, y, z = vector[0], vector[1], vector[2]
    distance = np.sqrt(x * x + y * y + z * z)
    for q in range(3):
        unit[q] = vector[q] / distance
    u[0] = 1.0
    for k in range(1, u.size):
        u[k] = u[parent[k, 0]] * unit[parent[k, 1]]
    held = settings[4] > 0.0 and distance < low
    r = low if held else distance
    slope = 2.0 / (cutoff - low)
    t, xi = r - cutoff, (r - low) * slope - 1.0
    w, dw = factor * t * t, 2.0 * factor * t
    if envelope == 1.0:
        w, dw = factor, 0.0
    elif envelope == 2.0:
        w = w / (r * r)
        dw = dw / (r * r) - 2.0 * w / r
    t0, t1, d0, d1 = 1.0, 0.0, 0.0, 0.0
    for b in range(recurrence.shape[0]):
        Q[b] = w * t0
        dQ[b] = 0.0 if held else w * d0 + dw * t0
        v = xi * recurrence[b, 0] + recurrence[b, 1]
        t2 = v * t0 - t1 * recurrence[b, 2]
        d2 = v * d0 + t0 * slope * recurrence[b, 0] - d1 * recurrence[b, 2]
        t1, t0, d1, d0 = t0, t2, d0, d2
    return distance


@_inlined
def _moments_of_polynomials(
    i: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray, parent: np.ndarray,
    work: Arrays, A: np.ndarray,
) -> None:  # fmt: skip
    """Sum the products of polynomials and monomials over the neighbours of atom i, by species."""
    _, species, first, neighbour, vectors = structures
    unit, u, Q, dQ = work
    A[:] = 0.0
    for p in range(first[i], first[i + 1]):
        _pair(vectors[p], settings, recurrence, parent, unit, u, Q, dQ)
        s = species[neighbour[p]]
        for b in range(Q.size):
            q = Q[b]
            for k in range(u.size):
                A[s, b, k] += q * u[k]


@_inlined
def _combine(c: np.ndarray, A: np.ndarray, begin: np.ndarray, a: int, M: np.ndarray) -> None:
    """Write the basic moments of one atom, of the radial coefficients c of its species."""
    n_species, K, R = c.shape
    for mu in range(K):
        row = np.zeros(begin[mu + 1] - begin[mu])
        for s in range(n_species):
            for b in range(R):
                f = c[s, mu, b]
                for k in range(row.size):
                    row[k] += f * A[s, b, k]
        for k in range(row.size):
            M[begin[mu] + k, a] = row[k]


@_inlined
def _basic_moments(
    base: int, n: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray,
    parent: np.ndarray, radial: np.ndarray, begin: np.ndarray, work: Arrays, A: np.ndarray,
    M: np.ndarray,
) -> None:  # fmt: skip
    """Write the basic moments of n atoms from base on, and those of polynomials into A.

    A has room for as many atoms as are to be kept.
    """
    species = structures[1]
    for a in range(n):
        own = A[a % A.shape[0]]
        _moments_of_polynomials(base + a, structures, settings, recurrence, parent, work, own)
        _combine(radial[species[base + a]], own, begin, a, M)


@_inlined
def _forward(times: np.ndarray, factors: np.ndarray, n_basic: int, M: np.ndarray) -> None:
    """Write all moments that are products."""
    M[n_basic:] = 0.0
    for t in range(times.shape[0]):
        x, y, z = times[t, 0] * W, times[t, 1] * W, times[t, 2] * W
        store(M, z, load(M, z) + load(M, x) * load(M, y) * fill(factors, t))


@_inlined
def _backward(
    M: np.ndarray, moment: np.ndarray, scalars: np.ndarray, times: np.ndarray,
    factors: np.ndarray, G: np.ndarray,
) -> None:  # fmt: skip
    """Write the adjoints G = dE/dM of all moments: reverse mode."""
    G[:] = 0.0
    for k in range(scalars.size):
        for a in range(BLOCK):
            G[scalars[k], a] += moment[k]
    for t in range(times.shape[0] - 1, -1, -1):
        x, y, z = times[t, 0] * W, times[t, 1] * W, times[t, 2] * W
        g = load(G, z) * fill(factors, t)
        store(G, x, load(G, x) + g * load(M, y))
        store(G, y, load(G, y) + g * load(M, x))


@_inlined
def _tangent(
    M: np.ndarray, G: np.ndarray, dM: np.ndarray, times: np.ndarray, factors: np.ndarray,
    n_basic: int, dG: np.ndarray,
) -> None:  # fmt: skip
    """Complete the tangents dM of the moments, and write those of the adjoints, dG."""
    dM[n_basic:] = 0.0
    dG[:] = 0.0
    for t in range(times.shape[0]):
        x, y, z = times[t, 0] * W, times[t, 1] * W, times[t, 2] * W
        change = load(dM, x) * load(M, y) + load(M, x) * load(dM, y)
        store(dM, z, load(dM, z) + change * fill(factors, t))
    for t in range(times.shape[0] - 1, -1, -1):
        x, y, z = times[t, 0] * W, times[t, 1] * W, times[t, 2] * W
        f = fill(factors, t)
        g, dg = load(G, z) * f, load(dG, z) * f
        store(dG, x, load(dG, x) + dg * load(M, y) + g * load(dM, y))
        store(dG, y, load(dG, y) + dg * load(M, x) + g * load(dM, x))


@_inlined
def _fold(trace: np.ndarray, G: np.ndarray) -> None:
    """Add the adjoint of a moment to those of the three that it is the sum of."""
    g = load(G, trace[0] * W)
    for q in range(1, 4):
        store(G, trace[q] * W, load(G, trace[q] * W) + g)


@_inlined
def _gradients_of_moments(
    i: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray, c: np.ndarray,
    lists: Lists, work: Arrays, P: np.ndarray, V: np.ndarray,
) -> int:  # fmt: skip
    """Write the gradients of moments of atom i, those with a column, by positions of neighbours.

    ``P[3 n + x]`` is that by component x of the n-th one; ``V[3 n + x]`` what a gradient of the
    energy by it is multiplied with in the force on the atom and in the virial. Returns the number
    of rows.
    """
    _, species, first, neighbour, vectors = structures
    begin, powers, lower, parent, column = lists[0], lists[1], lists[2], lists[3], lists[9]
    unit, u, Q, dQ = work
    row = 0
    for p in range(first[i], first[i + 1]):
        r = _pair(vectors[p], settings, recurrence, parent, unit, u, Q, dQ)
        s = species[neighbour[p]]
        for mu in range(begin.size - 1):
            f, df = 0.0, 0.0
            for b in range(Q.size):
                f += c[s, mu, b] * Q[b]
                df += c[s, mu, b] * dQ[b]
            f /= r
            for k in range(begin[mu + 1] - begin[mu]):
                m = column[begin[mu] + k]
                if m < 0:
                    continue
                along = (df - (powers[k, 0] + powers[k, 1] + powers[k, 2]) * f) * u[k]
                for x in range(3):
                    P[row + x, m] = along * unit[x] + f * powers[k, x] * u[lower[k, x]]
        for x in range(3):
            V[row + x] = 0.0
            V[row + x, x] = 1.0
            V[row + x, 3 + x] = vectors[p, x]
        # off the diagonal the mean of both halves, which are equal in the sum over an atom
        V[row + 1, 6], V[row + 2, 6] = 0.5 * vectors[p, 2], 0.5 * vectors[p, 1]
        V[row, 7], V[row + 2, 7] = 0.5 * vectors[p, 2], 0.5 * vectors[p, 0]
        V[row, 8], V[row + 1, 8] = 0.5 * vectors[p, 1], 0.5 * vectors[p, 0]
        row += 3
    return row


@_inlined
def _scatter(
    i: int, structures: Arrays, D: np.ndarray, V: np.ndarray, start: int,
    forces: np.ndarray, virials: np.ndarray,
) -> None:  # fmt: skip
    """Add gradients by the positions of the neighbours of atom i to forces and virials."""
    owner, _, first, neighbour, _ = structures
    n, q = D.shape[1], owner[i]
    sums = np.dot(V.T, D)
    for x in range(3):
        for t in range(n):
            forces[i, x, start + t] += sums[x, t]
    for x in range(6):
        for t in range(n):
            virials[q, x, start + t] += sums[3 + x, t]
    for p in range(first[i], first[i + 1]):
        j, row = neighbour[p], 3 * (p - first[i])
        for x in range(3):
            for t in range(n):
                forces[j, x, start + t] -= D[row + x, t]


@inlined()
def _most(first: np.ndarray, low: int, high: int) -> int:
    most = 0
    for i in range(low, high):
        most = max(most, first[i + 1] - first[i])
    return most


@_kernel
def _predict(
    low: int, high: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray,
    radial: np.ndarray, constants: np.ndarray, moment: np.ndarray, lists: Lists,
    energies: np.ndarray, forces: np.ndarray, virials: np.ndarray,
) -> None:  # fmt: skip
    """Write energies, forces and virials of the structures of the atoms from low to high."""
    owner, species, first, neighbour, vectors = structures
    begin, powers, lower, parent, times, factors, scalars, size = lists[:8]
    n_basic, n_mono = begin[-1], powers.shape[0]
    n_species, _, K, R = radial.shape
    M, G = np.zeros((size[0], BLOCK)), np.zeros((size[0], BLOCK))
    A = np.empty((1, n_species, R, n_mono))
    work = np.empty(3), np.empty(n_mono), np.empty(R), np.empty(R)
    unit, u, Q, dQ = work
    v = np.empty(3)
    for base in range(low, high, BLOCK):
        n = min(BLOCK, high - base)
        _basic_moments(
            base, n, structures, settings, recurrence, parent, radial, begin, work, A, M
        )  # fmt: skip
        _forward(times, factors, n_basic, M)
        _backward(M, moment, scalars, times, factors, G)
        for a in range(n):
            i = base + a
            q = owner[i]
            energies[q] += constants[species[i]]
            for k in range(scalars.size):
                energies[q] += moment[k] * M[scalars[k], a]
            g = G[:n_basic, a].copy()
            for p in range(first[i], first[i + 1]):
                j = neighbour[p]
                r = _pair(vectors[p], settings, recurrence, parent, unit, u, Q, dQ)
                v[:] = 0.0
                for mu in range(K):
                    f, df = 0.0, 0.0
                    for b in range(R):
                        f += radial[species[i], species[j], mu, b] * Q[b]
                        df += radial[species[i], species[j], mu, b] * dQ[b]
                    f /= r
                    along, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
                    for k in range(begin[mu + 1] - begin[mu]):
                        h = g[begin[mu] + k]
                        rank = powers[k, 0] + powers[k, 1] + powers[k, 2]
                        along += h * u[k] * (df - rank * f)
                        gx += h * powers[k, 0] * u[lower[k, 0]]
                        gy += h * powers[k, 1] * u[lower[k, 1]]
                        gz += h * powers[k, 2] * u[lower[k, 2]]
                    v[0] += along * unit[0] + f * gx
                    v[1] += along * unit[1] + f * gy
                    v[2] += along * unit[2] + f * gz
                if settings[5] > 0.0 and r < settings[0]:
                    energies[q] += 1e4 * (np.exp(-10.0 * (r - 1.0)))
                    energies[q] -= 1e4 * np.exp(-10.0 * (settings[0] - 1.0))
                    for x in range(3):
                        v[x] -= 1e5 * np.exp(-10.0 * (r - 1.0)) * unit[x]
                for x in range(3):
                    forces[i, x] += v[x]
                    forces[j, x] -= v[x]
                    virials[q, x] += v[x] * vectors[p, x]
                virials[q, 3] += 0.5 * (v[1] * vectors[p, 2] + v[2] * vectors[p, 1])
                virials[q, 4] += 0.5 * (v[0] * vectors[p, 2] + v[2] * vectors[p, 0])
                virials[q, 5] += 0.5 * (v[0] * vectors[p, 1] + v[1] * vectors[p, 0])


@_kernel
def _linear_jacobian(
    low: int, high: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray,
    radial: np.ndarray, lists: Lists, chains: Chains,
    energies: np.ndarray, forces: np.ndarray, virials: np.ndarray,
) -> None:  # fmt: skip
    """Write derivatives by the coefficients of species and of moments."""
    owner, species, first, _, _ = structures
    begin, powers, _, parent, times, factors, scalars, size, traces, column = lists
    chain_begin, products, touched_begin, touched, fold_begin, folds = chains
    n_basic, n_mono = begin[-1], powers.shape[0]
    n_species, _, _, R = radial.shape
    M, G = np.zeros((size[0], BLOCK)), np.zeros((size[0], BLOCK))
    A = np.empty((1, n_species, R, n_mono))
    n_columns = column.max() + 1
    S = np.zeros((BLOCK, scalars.size, n_columns))
    work = np.empty(3), np.empty(n_mono), np.empty(R), np.empty(R)
    rows = 3 * _most(first, low, high)
    P, V, D = np.empty((rows, n_columns)), np.empty((rows, 9)), np.empty((rows, scalars.size))
    for base in range(low, high, BLOCK):
        n = min(BLOCK, high - base)
        _basic_moments(
            base, n, structures, settings, recurrence, parent, radial, begin, work, A, M
        )  # fmt: skip
        for i in range(base, base + n):
            energies[owner[i], species[i]] += 1.0
        _forward(times, factors, n_basic, M)
        for k in range(scalars.size):
            for a in range(n):
                energies[owner[base + a], n_species + k] += M[scalars[k], a]
            for t in range(touched_begin[k], touched_begin[k + 1]):
                for a in range(BLOCK):
                    G[touched[t], a] = 0.0
            for a in range(BLOCK):
                G[scalars[k], a] = 1.0
            for at in range(chain_begin[k], chain_begin[k + 1]):
                t = products[at]
                x, y, z = times[t, 0] * W, times[t, 1] * W, times[t, 2] * W
                g = load(G, z) * fill(factors, t)
                store(G, x, load(G, x) + g * load(M, y))
                store(G, y, load(G, y) + g * load(M, x))
            for t in range(fold_begin[k], fold_begin[k + 1]):
                _fold(traces[folds[t]], G)
            for t in range(touched_begin[k], touched_begin[k + 1]):
                m = touched[t]
                if m < n_basic and column[m] >= 0:
                    for a in range(BLOCK):
                        S[a, k, column[m]] = G[m, a]
        for a in range(n):
            i, c = base + a, radial[species[base + a]]
            m = _gradients_of_moments(
                i, structures, settings, recurrence, c, lists, work, P, V
            )  # fmt: skip
            if m:
                np.dot(P[:m], S[a].T, D[:m])
                _scatter(i, structures, D[:m], V[:m], n_species, forces, virials)


@_kernel
def _radial_jacobian(
    low: int, high: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray,
    radial: np.ndarray, moment: np.ndarray, lists: Lists,
    energies: np.ndarray, forces: np.ndarray, virials: np.ndarray,
) -> None:  # fmt: skip
    """Write derivatives by the radial coefficients: an atom has those of its species only."""
    owner, species, first, neighbour, vectors = structures
    begin, powers, lower, parent, times, factors, scalars, size, traces, column = lists
    n_basic, n_mono = begin[-1], powers.shape[0]
    n_species, _, K, R = radial.shape
    per_centre = n_species * K * R
    M, G = np.zeros((size[0], BLOCK)), np.zeros((size[0], BLOCK))
    dM, dG = np.zeros((size[0], BLOCK)), np.zeros((size[0], BLOCK))
    A = np.zeros((BLOCK, n_species, R, n_mono))
    n_columns = column.max() + 1
    S = np.zeros((BLOCK, per_centre, n_columns))
    work = np.empty(3), np.empty(n_mono), np.empty(R), np.empty(R)
    unit, u, Q, dQ = work
    rows = 3 * _most(first, low, high)
    P, V, D = np.empty((rows, n_columns)), np.empty((rows, 9)), np.empty((rows, per_centre))
    for base in range(low, high, BLOCK):
        n = min(BLOCK, high - base)
        _basic_moments(
            base, n, structures, settings, recurrence, parent, radial, begin, work, A, M
        )  # fmt: skip
        _forward(times, factors, n_basic, M)
        _backward(M, moment, scalars, times, factors, G)
        for s in range(n_species):
            for mu in range(K):
                for b in range(R):
                    which = (s * K + mu) * R + b
                    dM[:n_basic] = 0.0
                    for a in range(n):
                        total = 0.0
                        for k in range(begin[mu + 1] - begin[mu]):
                            m = begin[mu] + k
                            dM[m, a] = A[a, s, b, k]
                            total += G[m, a] * A[a, s, b, k]
                        i = base + a
                        energies[owner[i], species[i] * per_centre + which] += total
                    _tangent(M, G, dM, times, factors, n_basic, dG)
                    for t in range(traces.shape[0]):
                        _fold(traces[t], dG)
                    for m in range(n_basic):
                        if column[m] >= 0:
                            for a in range(BLOCK):
                                S[a, which, column[m]] = dG[m, a]
        for t in range(traces.shape[0]):
            _fold(traces[t], G)
        for a in range(n):
            i, c = base + a, radial[species[base + a]]
            n_rows = _gradients_of_moments(
                i, structures, settings, recurrence, c, lists, work, P, V
            )  # fmt: skip
            if not n_rows:
                continue
            np.dot(P[:n_rows], S[a].T, D[:n_rows])
            g = G[:n_basic, a].copy()
            for p in range(first[i], first[i + 1]):  # the gradient of G . A with G held fixed
                r = _pair(vectors[p], settings, recurrence, parent, unit, u, Q, dQ)
                s, row = species[neighbour[p]], 3 * (p - first[i])
                for mu in range(K):
                    g0, g1, tx, ty, tz = 0.0, 0.0, 0.0, 0.0, 0.0
                    for k in range(begin[mu + 1] - begin[mu]):
                        if column[begin[mu] + k] < 0:
                            continue
                        h = g[begin[mu] + k]
                        g0 += h * u[k]
                        g1 += h * u[k] * (powers[k, 0] + powers[k, 1] + powers[k, 2])
                        tx += h * powers[k, 0] * u[lower[k, 0]]
                        ty += h * powers[k, 1] * u[lower[k, 1]]
                        tz += h * powers[k, 2] * u[lower[k, 2]]
                    for b in range(R):
                        which = (s * K + mu) * R + b
                        f = Q[b] / r
                        along = dQ[b] * g0 - f * g1
                        D[row, which] += along * unit[0] + f * tx
                        D[row + 1, which] += along * unit[1] + f * ty
                        D[row + 2, which] += along * unit[2] + f * tz
            start = species[i] * per_centre
            _scatter(i, structures, D[:n_rows], V[:n_rows], start, forces, virials)


@_kernel
def _gradient(
    low: int, high: int, structures: Arrays, settings: np.ndarray, recurrence: np.ndarray,
    radial: np.ndarray, moment: np.ndarray, by_energy: np.ndarray, by_force: np.ndarray,
    by_virial: np.ndarray, lists: Lists, gradient: np.ndarray,
) -> None:  # fmt: skip
    """Add the derivatives by the coefficients of a loss with these by energies, forces, virials.

    The part of forces and virials is the tangent of the energy along a displacement of the
    neighbours: forward mode over reverse mode gives all derivatives at once.
    """
    owner, species, first, neighbour, vectors = structures
    begin, powers, lower, parent, times, factors, scalars, size = lists[:8]
    n_basic, n_mono = begin[-1], powers.shape[0]
    n_species, _, K, R = radial.shape
    M, G = np.zeros((size[0], BLOCK)), np.zeros((size[0], BLOCK))
    dM, dG = np.zeros((size[0], BLOCK)), np.zeros((size[0], BLOCK))
    A, B = np.zeros((BLOCK, n_species, R, n_mono)), np.zeros((BLOCK, n_species, R, n_mono))
    work = np.empty(3), np.empty(n_mono), np.empty(R), np.empty(R)
    unit, u, Q, dQ = work
    push, du = np.empty(3), np.empty(n_mono)
    linear = radial.size
    for base in range(low, high, BLOCK):
        n = min(BLOCK, high - base)
        B[:] = 0.0
        _basic_moments(
            base, n, structures, settings, recurrence, parent, radial, begin, work, A, M
        )  # fmt: skip
        for a in range(n):
            i = base + a
            q = owner[i]
            gradient[linear + species[i]] += by_energy[q]
            for p in range(first[i], first[i + 1]):
                r = _pair(vectors[p], settings, recurrence, parent, unit, u, Q, dQ)
                j = neighbour[p]
                along = 0.0
                for x in range(3):
                    push[x] = by_force[i, x] - by_force[j, x]
                    for y in range(3):
                        push[x] += by_virial[q, y, x] * vectors[p, y]
                    along += push[x] * unit[x]
                for x in range(3):
                    push[x] = (push[x] - along * unit[x]) / r
                for k in range(n_mono):
                    du[k] = (
                        powers[k, 0] * u[lower[k, 0]] * push[0]
                        + powers[k, 1] * u[lower[k, 1]] * push[1]
                        + powers[k, 2] * u[lower[k, 2]] * push[2]
                    )
                s = species[j]
                for b in range(R):
                    f, df = Q[b], dQ[b] * along
                    for k in range(n_mono):
                        B[a, s, b, k] += f * du[k] + df * u[k]
            _combine(radial[species[i]], B[a], begin, a, dM)
        _forward(times, factors, n_basic, M)
        _backward(M, moment, scalars, times, factors, G)
        _tangent(M, G, dM, times, factors, n_basic, dG)
        for a in range(n):
            i = base + a
            e = by_energy[owner[i]]
            for k in range(scalars.size):
                value = e * M[scalars[k], a] + dM[scalars[k], a]
                gradient[linear + n_species + k] += value
            for s in range(n_species):
                for mu in range(K):
                    start = ((species[i] * n_species + s) * K + mu) * R
                    for b in range(R):
                        total = 0.0
                        for k in range(begin[mu + 1] - begin[mu]):
                            m = begin[mu] + k
                            total += (e * G[m, a] + dG[m, a]) * A[a, s, b, k]
                            total += G[m, a] * B[a, s, b, k]
                        gradient[start + b] += total
