"""Volumes at which energies are believed where stresses disagree with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import Prediction

APART = 1.3
"""Factor between two volumes of an atom, with none in between, that no strain makes but vacuum."""

Composition = tuple[tuple[int, int], ...]
"""Atomic numbers, and how many of each there are in a formula unit."""


class Range(NamedTuple):
    """Volumes of an atom (Å³) that a strain connects, and their mean over all atoms."""

    lowest: float
    highest: float
    mean: float


@dataclass(frozen=True, eq=False)
class ReferenceVolumes:
    """Mean volumes of an atom, of structures that differ in nothing but a strain.

    Stresses tell how energies change with the volume of a crystal. They tell nothing of another
    composition, nor of vacuum: a slab in a periodic cell is no crystal that has been pulled.

    Attributes
    ----------
    ranges
        By composition, from small to large volumes.
    """

    ranges: Mapping[Composition, Sequence[Range]]

    @classmethod
    def of(cls, graph: Graph, targets: Prediction) -> "ReferenceVolumes":
        """Return those of all structures that have a volume and the label of an energy."""
        volumes, counts = graph.volumes, graph.counts
        known = (volumes.isfinite() & targets.energies.isfinite()).numpy()
        alike: dict[Composition, list[int]] = {}
        for one, composition in enumerate(_compositions(graph)):
            if known[one]:
                alike.setdefault(composition, []).append(one)
        ranges = {}
        for composition, members in alike.items():
            of_atom = (volumes / counts)[members].numpy()
            order = np.argsort(of_atom, kind="stable")
            gaps = np.flatnonzero(of_atom[order][1:] > APART * of_atom[order][:-1]) + 1
            ranges[composition] = [
                Range(
                    float(of_atom[part].min()),
                    float(of_atom[part].max()),
                    float(volumes[members][part].sum() / counts[members][part].sum()),
                )
                for part in (np.sort(some) for some in np.split(order, gaps))
            ]
        return cls(ranges)

    def excess(self, graph: Graph) -> Float[Tensor, " structures"]:
        """Return how much larger structures are than those they are like, in Å³; 0 if unlike."""
        excess = torch.zeros_like(graph.volumes)
        for one, composition in enumerate(_compositions(graph)):
            volume, count = float(graph.volumes[one]), float(graph.counts[one])
            for lowest, highest, mean in self.ranges.get(composition, ()):
                if lowest / APART <= volume / count <= highest * APART:
                    excess[one] = volume - count * mean
                    break
        return excess


def _compositions(graph: Graph) -> list[Composition]:
    """Return the formula units of structures."""
    numbers, kinds = graph.numbers.unique(return_inverse=True)
    counts = torch.zeros(len(graph.counts), len(numbers), dtype=torch.long)
    counts.index_put_((graph.owner, kinds), torch.ones_like(kinds), accumulate=True)
    units = counts.numpy()
    units = units // np.maximum(np.gcd.reduce(units, axis=1), 1)[:, None]
    symbols = numbers.tolist()
    return [tuple((z, int(n)) for z, n in zip(symbols, row) if n) for row in units]
