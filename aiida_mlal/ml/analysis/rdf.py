"""Radial distribution functions."""

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import neighbours


@dataclass(frozen=True, eq=False)
class RadialDistribution:
    """How often atoms of one element are at a distance from those of another.

    Attributes
    ----------
    distances
        Of the middle of each bin, in Å.
    g
        Density of the second element around the first, in units of its mean density.
    coordination
        Number of neighbours up to the end of each bin.
    """

    distances: Float[np.ndarray, " bins"]
    g: Float[np.ndarray, " bins"]
    coordination: Float[np.ndarray, " bins"]


def radial_distribution(
    structures: Configurations, cutoff: float = 6.0, n_bins: int = 200
) -> dict[tuple[str, str], RadialDistribution]:
    """Return the mean over structures for each two elements that all of them have.

    Raises
    ------
    ValueError
        For structures that are not periodic in all directions, and where there are none.
    """
    if not len(structures):
        raise ValueError("there are no structures")
    if not structures.pbc.all():
        raise ValueError("a radial distribution wants structures periodic in all directions")
    if not (cutoff > 0 and n_bins > 0):
        raise ValueError(f"expected a cutoff and bins above 0, got {cutoff} and {n_bins}")
    edges = np.linspace(0, cutoff, n_bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    pairs = [(a, b) for i, a in enumerate(structures.elements) for b in structures.elements[i:]]
    counts, expected = ({pair: np.zeros(n_bins) for pair in pairs} for _ in range(2))
    centres = dict.fromkeys(pairs, 0)
    for one in structures:
        cell, numbers = one.cells[0], one.numbers
        (i, j), shifts = neighbours(one.positions, cell, one.pbc[0], cutoff)
        lengths = np.linalg.norm(one.positions[j] - one.positions[i] + shifts @ cell, axis=1)
        density = 1 / abs(np.linalg.det(cell))
        for pair in pairs:
            a, b = (atomic_numbers[element] for element in pair)
            mine = (numbers[i] == a) & (numbers[j] == b)
            n_a, n_b = int((numbers == a).sum()), int((numbers == b).sum())
            counts[pair] += np.histogram(lengths[mine], edges)[0]
            expected[pair] += n_a * n_b * density * shells
            centres[pair] += n_a
    return {
        pair: RadialDistribution(
            (edges[1:] + edges[:-1]) / 2,
            counts[pair] / expected[pair],
            counts[pair].cumsum() / centres[pair],
        )
        for pair in pairs
    }
