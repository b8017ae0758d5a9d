"""Smallest distances in structures."""

from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from jaxtyping import Float, Int

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import edge_vectors, neighbours

FARTHEST = 20.0
"""In Å: two elements that are never nearer are not reported."""


def smallest_distances(configurations: Configurations) -> dict[str, Any]:
    """Return smallest distances in Å, periodic images included.

    Returns
    -------
    dict
        ``mindist`` of all, None where there are no two atoms near each other; ``pairs``, the same
        for each two elements; ``structures``, the same for each structure.

    Raises
    ------
    ValueError
        If a position or cell is not finite, or a cell has no volume.
    """
    configurations.check_cells()
    pairs: dict[str, float] = {}
    each = []
    for one in configurations:
        nearest = _nearest(one)
        for key, distance in nearest.items():
            pairs[key] = min(distance, pairs.get(key, np.inf))
        each.append(min(nearest.values(), default=None))
    known = [distance for distance in each if distance is not None]
    return {"mindist": min(known, default=None), "pairs": pairs, "structures": each}


def shortest_distance(configurations: Configurations, longest: float) -> float | None:
    """Return the smallest distance in Å of two atoms; None if none is below ``longest``."""
    configurations.check_geometry()
    known: float | None = None
    for one in configurations:
        radius = longest / 8 if known is None else known
        while True:
            edges, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], radius)
            if edges.size:
                vectors = edge_vectors(one.positions, one.cells[0], edges, shifts)
                known = float(np.linalg.norm(vectors, axis=1).min())
                break
            if known is not None or radius >= longest:
                break
            radius = min(2 * radius, longest)
    return known


def closest_contacts(configurations: Configurations) -> Float[np.ndarray, " structures"]:
    """Return the smallest distance of two atoms, as a share of the sum of their covalent radii.

    Bonds are near 1; below 0.7 or so atoms overlap. NaN where no two atoms are within twice the sum
    of the largest radii.
    """
    smallest = np.full(len(configurations), np.nan)
    for i, one in enumerate(configurations):
        radii = covalent_radii[one.numbers]
        cutoff = 4 * float(radii.max(initial=0.1))
        edges, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], cutoff)
        if edges.size:
            distances = np.linalg.norm(
                edge_vectors(one.positions, one.cells[0], edges, shifts), axis=1
            )
            smallest[i] = (distances / radii[edges].sum(axis=0)).min()
    return smallest


def bond_length(numbers: Int[np.ndarray, " atoms"]) -> float | None:
    """Return the smallest sum of covalent radii in Å of two elements; None for a single one."""
    pairs = list(combinations(np.unique(numbers), 2))
    return min((float(covalent_radii[list(pair)].sum()) for pair in pairs), default=None)


def _nearest(one: Configurations) -> dict[str, float]:
    """Return the smallest distance of each two elements of a structure."""
    wanted = set(combinations_with_replacement(sorted(set(one.numbers.tolist())), 2))
    cutoff, smallest = 3.0, {}
    while wanted and cutoff < 2 * FARTHEST:
        edges, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], cutoff)
        vectors = edge_vectors(one.positions, one.cells[0], edges, shifts)
        distances = np.linalg.norm(vectors, axis=1)
        ends = np.sort(one.numbers[edges], axis=0)
        for a, b in sorted(wanted):
            between = distances[(ends[0] == a) & (ends[1] == b)]
            if len(between):
                smallest[f"{chemical_symbols[a]}-{chemical_symbols[b]}"] = float(between.min())
                wanted.discard((a, b))
        cutoff *= 2
    return smallest
