"""The contractions of Gaussian moments, as lists of indices."""

from itertools import combinations_with_replacement, product

COMPONENTS = [axes for rank in range(4) for axes in combinations_with_replacement(range(3), rank)]
"""Axes of the components of symmetric tensors of rank 0 to 3 that differ: 1 + 3 + 6 + 10."""


def index_sets(n: int, invariants: str) -> list[list[tuple[int, ...]]]:
    """Return the radial functions of each of the eight contractions, in their order."""
    single: list[tuple[int, ...]] = list(product(range(n)))
    pairs: list[tuple[int, ...]] = list(combinations_with_replacement(range(n), 2))
    ascending: list[tuple[int, ...]] = list(combinations_with_replacement(range(n), 3))
    if invariants == "sorted":
        return [single, *[pairs] * 3, *[ascending] * 4]
    half: list[tuple[int, ...]] = [(*pair, u) for pair in pairs for u in range(n)]
    every: list[tuple[int, ...]] = list(product(range(n), repeat=3))
    return [single, *[pairs] * 3, ascending, half, half, every]
