"""The lists of a moment tensor potential, arranged for the kernel."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import factorial, prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis, components

Moment = tuple[int, int, int, int]


class Tables(NamedTuple):
    r"""The contractions of a basis, with their coefficients, in the order of the kernel.

    Moments are numbered anew. First those that are summed over neighbours: of each radial function
    only the two highest ranks, since a unit vector makes the moments of rank d - 2 traces of those
    of rank d. Then these traces, the other basic moments. Then products that other products use.
    Products that nothing else uses become one quadratic form, coefficients included. Monomials are
    divided powers :math:`u^k / k!`: the derivative of one is another, without a factor.

    Attributes
    ----------
    segments
        One row for each radial function and rank that is summed: radial function, rank, its first
        moment, first monomial and number of these, then the first monomial of one rank less and
        their number.
    parents
        The monomial that the next one is made of, and by which of x, y, z over 1, 2, ... it is
        multiplied (3 (q - 1) + axis).
    steps
        For each monomial of one rank less, the distance from its product with x to that with y;
        that with z is the next.
    factors
        :math:`k!` of each summed moment.
    traces
        A moment, and the three that it is the sum of.
    inner_begin, inner_pairs, inner_factors
        The sums of products that are moments themselves.
    linear
        The coefficient of each moment in the energy.
    rows, row_begin, columns, weights
        The quadratic form.
    scalars, scalar_begin, scalar_pairs, scalar_factors
        The invariants, for derivatives by their coefficients: a moment, or, where ``scalars`` is
        -1, a sum of products.
    """

    segments: Int[np.ndarray, "segments 7"]
    parents: Int[np.ndarray, "monomials 2"]
    steps: Int[np.ndarray, " monomials"]
    factors: Float[np.ndarray, " summed"]
    traces: Int[np.ndarray, "traces 4"]
    inner_begin: Int[np.ndarray, " inner+1"]
    inner_pairs: Int[np.ndarray, "products 2"]
    inner_factors: Float[np.ndarray, " products"]
    linear: Float[np.ndarray, " moments"]
    rows: Int[np.ndarray, " rows"]
    row_begin: Int[np.ndarray, " rows+1"]
    columns: Int[np.ndarray, " entries"]
    weights: Float[np.ndarray, " entries"]
    scalars: Int[np.ndarray, " scalars"]
    scalar_begin: Int[np.ndarray, " scalars+1"]
    scalar_pairs: Int[np.ndarray, "terms 2"]
    scalar_factors: Float[np.ndarray, " terms"]

    @classmethod
    def of(cls, basis: MomentBasis, coefficients: Float[np.ndarray, " scalars"]) -> "Tables":
        """Arrange a basis with its moment coefficients."""
        basic: list[Moment] = [(m, x, y, z) for m, x, y, z in basis.basic.tolist()]
        rank: dict[int, int] = {}
        for mu, *powers in basic:
            rank[mu] = max(rank.get(mu, 0), sum(powers))
        parts = [(mu, d) for mu in sorted(rank) for d in (rank[mu], rank[mu] - 1) if d >= 0]
        summed: list[Moment] = [(mu, *k) for mu, d in parts for k in components(d)]
        traced: list[Moment] = [
            (mu, *k)
            for mu in sorted(rank)
            for d in range(rank[mu] - 2, -1, -1)
            for k in components(d)
        ]
        index = {moment: i for i, moment in enumerate(summed + traced)}
        number = {i: index[moment] for i, moment in enumerate(basic)}

        products = [(a, b, float(m), c) for a, b, m, c in basis.times.tolist()]
        operands = {x for a, b, _, _ in products for x in (a, b)}
        inner: dict[int, list[tuple[int, int, float]]] = {}
        for a, b, m, c in products:
            if c in operands:
                inner.setdefault(c, []).append((a, b, m))
        number |= {c: len(index) + i for i, c in enumerate(inner)}
        inner_terms = [[(number[a], number[b], m) for a, b, m in terms] for terms in inner.values()]

        weight: Counter[int] = Counter()
        for c, x in zip(basis.mapping.tolist(), coefficients.tolist()):
            weight[c] += x
        linear = np.zeros(len(index) + len(inner))
        for c, x in weight.items():
            if c in number:
                linear[number[c]] += x
        outer: dict[int, list[tuple[int, int, float]]] = {}
        for a, b, m, c in products:
            if c not in number:
                outer.setdefault(c, []).append((number[a], number[b], m))
        form = _quadratic_form(outer, weight)
        scalars = basis.mapping.tolist()
        scalar_terms = [[] if c in number else outer[c] for c in scalars]

        highest = max(rank.values())
        segments = [
            (mu, d, 0, n_below(d), len(components(d)), n_below(d - 1), len(components(d - 1)))
            for mu, d in parts
        ]
        table = _integers(segments, 7)
        table[:, 2] = np.cumsum([0, *table[:-1, 4]])
        return cls(
            segments=table,
            parents=_integers(_parents(highest), 2),
            steps=_integers([s + 1 for s in range(highest) for _ in range(s + 1)]),
            factors=np.array([float(prod(map(factorial, k))) for _, *k in summed]),
            traces=_integers([_trace(moment, index) for moment in traced], 4),
            inner_begin=_begins(inner_terms),
            inner_pairs=_integers([t[:2] for terms in inner_terms for t in terms], 2),
            inner_factors=np.array([t[2] for terms in inner_terms for t in terms], float),
            linear=linear,
            rows=_integers(list(form)),
            row_begin=_begins(form.values()),
            columns=_integers([b for row in form.values() for b, _ in row]),
            weights=np.array([w for row in form.values() for _, w in row], float),
            scalars=_integers([number.get(c, -1) for c in scalars]),
            scalar_begin=_begins(scalar_terms),
            scalar_pairs=_integers([t[:2] for terms in scalar_terms for t in terms], 2),
            scalar_factors=np.array([t[2] for terms in scalar_terms for t in terms], float),
        )


def _quadratic_form(
    outer: dict[int, list[tuple[int, int, float]]], weight: Counter[int]
) -> dict[int, list[tuple[int, float]]]:
    """Arrange the form in rows: an entry is in the row of that operand which has more entries."""
    entries: Counter[tuple[int, int]] = Counter()
    for c, terms in outer.items():
        if c in weight:
            for a, b, m in terms:
                entries[min(a, b), max(a, b)] += m * weight[c]  # type: ignore[assignment]
    uses = Counter(x for pair in entries for x in set(pair))
    form: dict[int, list[tuple[int, float]]] = {}
    for (a, b), w in entries.items():
        row, column = (a, b) if uses[a] >= uses[b] else (b, a)
        form.setdefault(row, []).append((column, w))
    return form


def _trace(moment: Moment, index: dict[Moment, int]) -> list[int]:
    mu, x, y, z = moment
    terms = ((mu, x + 2, y, z), (mu, x, y + 2, z), (mu, x, y, z + 2))
    return [index[moment], *(index[term] for term in terms)]


def _parents(highest: int) -> list[tuple[int, int]]:
    monomials = [k for d in range(highest + 1) for k in components(d)]
    index = {k: i for i, k in enumerate(monomials)}
    parents = []
    for k in monomials[1:]:
        axis = next(q for q in range(3) if k[q])
        lower = tuple(n - (q == axis) for q, n in enumerate(k))
        parents.append((index[lower[0], lower[1], lower[2]], (k[axis] - 1) * 3 + axis))
    return parents


def n_below(rank: int) -> int:
    """Count the monomials of x, y, z of ranks from 0 to below ``rank``."""
    return rank * (rank + 1) * (rank + 2) // 6 if rank > 0 else 0


def _integers(values: Sequence[object], width: int | None = None) -> np.ndarray:
    array = np.array(values, np.int32)
    return array if width is None else array.reshape(-1, width)


def _begins(groups: Iterable[Sequence[object]]) -> np.ndarray:
    return np.cumsum([0, *(len(group) for group in groups)]).astype(np.int32)
