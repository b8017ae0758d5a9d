"""Whether the distances of atoms are those of matter, in Å."""

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import edge_vectors, neighbours

LONGEST, SHORTEST = 1.4, 0.6
"""Distances of nearest neighbours, in sums of covalent radii, that no usual structure is beyond.

That of Cr2 is 0.60, those of N2 and CO are 0.77.
"""

NO_BOND = 0.25
"""Distance, likewise, that no atoms come to."""

WITHIN = 2.5
"""How far neighbours are looked for, likewise: in Bohr they are 1.9 times as far as in Å."""

MOST = 100
"""How many structures are looked at."""

_ALONE = [atomic_numbers[symbol] for symbol in ("He", "Ne", "Ar", "Kr", "Xe", "Rn")]


def doubtful_lengths(configurations: Configurations) -> list[str]:
    """Say, in one sentence or none, if no structure has neighbours as near as in matter.

    Labels wholly in atomic units are derivatives of each other as others are: only lengths tell.
    Structures with noble gases, and atoms far from any other, are not judged; the first structure
    with distances as usual ends the search.
    """
    ratios: list[float] = []
    for one in configurations[:MOST]:
        if np.isin(one.numbers, _ALONE).any():
            continue
        ratio = _ratio(one)
        if SHORTEST <= ratio <= LONGEST:
            return []
        ratios.append(ratio)
    near = [ratio for ratio in ratios if ratio < SHORTEST]
    far = [ratio for ratio in ratios if LONGEST < ratio <= WITHIN]
    if 0.0 in near:
        return ["atoms are nearer than any atoms are, in all structures: are positions in nm?"]
    if near:
        return [
            f"nearest neighbours are {max(near):.2g} times the sum of their covalent radii apart, "
            "or less, in all structures: were positions in Å, and read as Bohr?"
        ]
    if far:
        return [
            f"nearest neighbours are {min(far):.2g} times the sum of their covalent radii apart, "
            "or more, in all structures: are positions in Bohr, and labels in other units than eV?"
        ]
    return []


def _ratio(one: Configurations) -> float:
    """Return the median distance of nearest neighbours, in units of sums of covalent radii.

    It is infinity where there are none, and 0 where they are nearer than ``NO_BOND``.
    """
    if not len(one.numbers):
        return np.inf
    radii = covalent_radii[one.numbers]
    geometry = one.positions, one.cells[0], one.pbc[0]
    if neighbours(*geometry, 2 * NO_BOND * float(radii.min()))[0].size:
        return 0.0
    pairs, shifts = neighbours(*geometry, 2 * WITHIN * float(radii.max()))
    distances = np.linalg.norm(edge_vectors(*geometry[:2], pairs, shifts), axis=1)
    nearest = np.full(len(radii), np.inf)
    np.minimum.at(nearest, pairs[0], distances / radii[pairs].sum(axis=0))
    return float(np.median(nearest))
