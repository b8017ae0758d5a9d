"""Moment tensors: the products of moments that make the invariants of a moment tensor potential."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, combinations_with_replacement, permutations, product
from math import factorial

import numpy as np
from jaxtyping import Int

LEVELS = range(2, 30, 2)
"""Levels that there are lists of products for."""

MAX_VERTICES, MAX_RANK, MAX_MU = 4, 10, 5
"""Limits of the published levels: moments in a product, rank of a moment, radial functions."""

LARGEST_INDEX = 100
"""Of radial functions and powers in a basis that is given; of the published ones, 5 and 10."""

Powers = tuple[int, int, int]
"""How often x, y and z appear in a component of a tensor."""


@dataclass(frozen=True, eq=False)
class MomentBasis:
    r"""The invariants of a moment tensor potential, as a list of products of two moments.

    The first moments are the basic ones, components of the tensors
    :math:`M_{\mu,\nu}(i) = \sum_j f_\mu(r_{ij})\, \hat r_{ij}^{\otimes\nu}`; each of the others is
    a sum of products of moments before it. This is what the MLIP codes keep in their files.

    Attributes
    ----------
    basic
        Of each basic moment, the radial function :math:`\mu` and the powers of x, y and z.
    times
        Rows a, b, m, c, in order: moment c gets m times the product of moments a and b.
    mapping
        The moments that are invariants; the energy of an atom is linear in them.
    """

    basic: Int[np.ndarray, "basic 4"]
    times: Int[np.ndarray, "products 4"]
    mapping: Int[np.ndarray, " scalars"]

    def __post_init__(self) -> None:
        """Check that every moment is complete before it is used."""
        shapes = {"basic": (-1, 4), "times": (-1, 4), "mapping": (-1,)}
        for name, shape in shapes.items():
            array = np.array(getattr(self, name), dtype=np.int64).reshape(shape)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if not len(self.basic) or self.basic.min() < 0:
            raise ValueError("expected basic moments as rows of mu and three powers, none negative")
        if len(np.unique(self.basic, axis=0)) < len(self.basic):
            raise ValueError("a basic moment is listed twice")
        if self.basic.max() > LARGEST_INDEX:
            raise ValueError(
                f"expected radial functions and powers up to {LARGEST_INDEX} in the basic moments, "
                f"got {self.basic.max()}"
            )
        operands, results = self.times[:, :2], self.times[:, 3]
        if results.max(initial=-1) >= len(self.basic) + len(self.times):
            last = self.times[int(results.argmax())].tolist()
            raise ValueError(
                f"the product {last} has more moments before it than there are basic moments and "
                "products"
            )
        if len(results) and (results.min() < len(self.basic) or (np.diff(results) < 0).any()):
            # the order of the published files, in which complete moments are easily recognised
            raise ValueError("the products must be sorted by their result, after the basic moments")
        early = (operands < 0).any(axis=1) | (operands >= results[:, None]).any(axis=1)
        if early.any():
            row = int(early.argmax())
            raise ValueError(
                f"the product {self.times[row].tolist()} (alpha_index_times, row {row}) uses a "
                "moment that is not complete yet"
            )
        if set(range(len(self.basic), self.n_moments)) != set(results.tolist()):
            raise ValueError("a moment is neither basic nor a product")
        if len(self.mapping) and not 0 <= self.mapping.min() <= self.mapping.max() < self.n_moments:
            raise ValueError(f"an invariant is none of the {self.n_moments} moments")

    @classmethod
    def of_level(cls, level: int) -> "MomentBasis":
        """Return the basis of an even level from 2 to 28.

        The invariants are those of the published level files, here with fewer products from level
        14 up, and in another order.
        """
        cls.check_level(level)
        return _generate(level)

    @staticmethod
    def check_level(level: int) -> None:
        """Raise ``ValueError`` for a level that there is not."""
        if level not in LEVELS:
            raise ValueError(
                f"expected an even level from {LEVELS[0]} to {LEVELS[-1]}, got {level!r}"
            )

    @property
    def n_radial(self) -> int:
        """The number of radial functions."""
        return int(self.basic[:, 0].max()) + 1

    @property
    def n_moments(self) -> int:
        """The number of moments, basic ones and products."""
        return max(len(self.basic), int(self.times[:, 3].max(initial=-1)) + 1)

    @property
    def n_scalars(self) -> int:
        """The number of invariants."""
        return len(self.mapping)

    @property
    def max_rank(self) -> int:
        """The highest rank of a moment tensor."""
        return int(self.basic[:, 1:].sum(axis=1).max())

    @cached_property
    def stages(self) -> list[Int[np.ndarray, "products 4"]]:
        """The products in groups, each of which uses only moments that are complete before it."""
        depth = np.zeros(self.n_moments, int)
        for a, b, _, c in self.times.tolist():
            depth[c] = max(depth[c], depth[a] + 1, depth[b] + 1)
        stage = depth[self.times[:, 3]]
        return [self.times[stage == d] for d in range(1, int(depth.max()) + 1)]

    def find(self, other: "MomentBasis") -> Int[np.ndarray, " scalars"]:
        """Find the invariants of another basis among those here: their indices.

        They are compared by their values for random moments.

        Raises
        ------
        ValueError
            If one of them is not here.
        """
        rng = np.random.default_rng(0)
        random = {tuple(row): rng.normal() for row in self.basic.tolist()}
        mine = self._invariants(random)
        # moments that are unknown here make invariants that are none of these
        theirs = other._invariants(
            {row: random.get(row, np.nan) for row in map(tuple, other.basic.tolist())}
        )
        order = np.argsort(mine)
        near = np.searchsorted(mine[order], theirs - 1e-9 * np.abs(theirs))
        indices = order[np.minimum(near, len(mine) - 1)]
        if not np.allclose(mine[indices], theirs, rtol=1e-8, atol=0):
            raise ValueError("the other basis has invariants that are not in this one")
        return indices

    def _invariants(self, basic: Mapping[tuple[int, ...], float]) -> np.ndarray:
        values = np.zeros(self.n_moments)
        values[: len(self.basic)] = [basic[row] for row in map(tuple, self.basic.tolist())]
        for stage in self.stages:
            a, b, factor, c = stage.T
            np.add.at(values, c, factor * values[a] * values[b])
        return values[self.mapping]


@cache
def _generate(level: int) -> MomentBasis:
    moments = [
        (mu, *powers)
        for mu in range(MAX_MU + 1)
        for rank in range(MAX_RANK + 1)
        if (2 + 4 * mu if rank == 0 else 4 + 4 * mu + 2 * rank) <= level
        for powers in components(rank)
    ]
    products = _Products(moments)
    invariants = [products.contract(*contraction) for contraction in _contractions(level)]
    return MomentBasis(np.array(moments), products.times(), np.sort(invariants))


@cache
def components(rank: int) -> list[Powers]:
    """Return the different components of a symmetric tensor, x first."""
    return [(x, y, rank - x - y) for x in range(rank, -1, -1) for y in range(rank - x, -1, -1)]


@cache
def _multiplicity(powers: Powers) -> int:
    """How many components of the full tensor are equal to this one."""
    x, y, z = powers
    return factorial(x + y + z) // (factorial(x) * factorial(y) * factorial(z))


Edges = Mapping[tuple[int, int], int]
"""Between any two vertices of a contraction, how many pairs of indices are contracted."""


def _contractions(level: int) -> Iterator[tuple[tuple[int, ...], Edges]]:
    """Yield each full contraction of moments once: the radial functions and the edges.

    A contraction is a graph: its vertices are moments, coloured by their radial function, its
    edges contracted pairs of indices. Its level is the sum of 2 + 4 mu + nu over the vertices.
    """
    for n in range(1, MAX_VERTICES + 1):
        pairs = list(combinations(range(n), 2))
        for mus in combinations_with_replacement(range(MAX_MU + 1), n):
            symmetries = [
                [pairs.index((min(p[a], p[b]), max(p[a], p[b]))) for a, b in pairs]
                for p in permutations(range(n))
                if all(mus[p[v]] == mus[v] for v in range(n))
            ]
            for edges in _bounded(len(pairs), level // 2 - n - 2 * sum(mus)):
                ranks = [sum(e for pair, e in zip(pairs, edges) if v in pair) for v in range(n)]
                if max(ranks) > MAX_RANK:
                    continue
                if any(tuple(edges[i] for i in order) < edges for order in symmetries):
                    continue  # the same graph with its vertices in another order comes as well
                yield mus, dict(zip(pairs, edges))


def _bounded(n: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Yield all lists of ``n`` numbers from 0 with a sum up to ``largest``."""
    if n == 0:
        if largest >= 0:
            yield ()
        return
    for first in range(largest + 1):
        for rest in _bounded(n - 1, largest - first):
            yield (first, *rest)


Terms = tuple[tuple[tuple[int, int], int], ...]
"""A sum of products of two moments: ((a, b), factor) for each."""


_SPLITS = {
    3: ((0, 1, 2), (0, 2, 1), (1, 2, 0)),
    4: ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)),
}


class _Products:
    """The products found so far; equal ones are shared."""

    def __init__(self, moments: Sequence[tuple[int, ...]]) -> None:
        self.basic = {moment: index for index, moment in enumerate(moments)}
        self.terms: list[Terms] = []
        self.index: dict[Terms, int] = {}
        self.contracted: dict[tuple[int, int, int, Powers, Powers], Terms] = {}

    def times(self) -> np.ndarray:
        rows = [
            (a, b, factor, len(self.basic) + i)
            for i, terms in enumerate(self.terms)
            for (a, b), factor in terms
        ]
        return np.array(rows, int).reshape(-1, 4)

    def contract(self, mus: tuple[int, ...], edges: Edges) -> int:
        """Return the moment that is this full contraction; it is split in the cheapest way."""
        n = len(mus)
        if n <= 2:
            return self._half(mus, edges, tuple(range(n)), ((0, 0, 0), (0, 0, 0)))
        splits = _SPLITS[n]
        costs = []
        for split in splits:
            before = len(self.terms)
            self._split(mus, edges, split)
            costs.append(sum(len(terms) for terms in self.terms[before:]))
            for terms in self.terms[before:]:
                del self.index[terms]
            del self.terms[before:]
        return self._split(mus, edges, splits[costs.index(min(costs))])

    def _split(self, mus: tuple[int, ...], edges: Edges, split: tuple[int, ...]) -> int:
        """Contract vertices a and b with each other, likewise c and d, then the two halves."""
        a, b, c, *rest = split
        bundles = [components(_between(edges, x, y)) for x in (a, b) for y in (c, *rest)]
        terms = []
        for powers in product(*bundles):
            none = (0, 0, 0)
            ac, ad, bc, bd = powers if rest else (powers[0], none, powers[1], none)
            left = self._half(mus, edges, (a, b), (_plus(ac, ad), _plus(bc, bd)))
            right = self._half(mus, edges, (c, *rest), (_plus(ac, bc), _plus(ad, bd)))
            factor = 1
            for bundle in powers:
                factor *= _multiplicity(bundle)
            terms.append((left, right, factor))
        return self._sum(_merged(terms))

    def _half(
        self,
        mus: tuple[int, ...],
        edges: Edges,
        vertices: tuple[int, ...],
        opened: tuple[Powers, Powers],
    ) -> int:
        """Return one moment, or two contracted with each other, with open indices left over."""
        if len(vertices) == 1:
            return self.basic[(mus[vertices[0]], *opened[0])]
        a, b = vertices
        case = (mus[a], mus[b], _between(edges, a, b), *opened)
        if case not in self.contracted:
            self.contracted[case] = self._contracted(*case)
        return self._sum(self.contracted[case])

    def _contracted(self, mu: int, nu: int, rank: int, left: Powers, right: Powers) -> Terms:
        """Return two moments contracted over ``rank`` indices, with others left open."""
        return _merged(
            [
                (
                    self.basic[(mu, *_plus(left, powers))],
                    self.basic[(nu, *_plus(right, powers))],
                    _multiplicity(powers),
                )
                for powers in components(rank)
            ]
        )

    def _sum(self, terms: Terms) -> int:
        """Return the moment that is a sum of products."""
        if terms not in self.index:
            self.index[terms] = len(self.basic) + len(self.terms)
            self.terms.append(terms)
        return self.index[terms]


def _merged(terms: Sequence[tuple[int, int, int]]) -> Terms:
    """Return products (a, b, factor) in order, equal ones added."""
    merged: dict[tuple[int, int], int] = {}
    for a, b, factor in terms:
        pair = (a, b) if a < b else (b, a)
        merged[pair] = merged.get(pair, 0) + factor
    return tuple(sorted(merged.items()))


def _between(edges: Edges, a: int, b: int) -> int:
    return edges[(min(a, b), max(a, b))]


def _plus(a: Powers, b: Powers) -> Powers:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])
