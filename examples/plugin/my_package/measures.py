"""A measure of uncertainty."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from aiida_mlal.ml.uncertainty.base import Uncertainties, Uncertainty


@dataclass(frozen=True)
class Crowding(Uncertainty):
    """How near the nearest atoms of a structure are, as 1/distance."""

    kind: ClassVar[str] = "crowding"
    unit: ClassVar[str] = "1/Å"
    has_domain: ClassVar[bool] = False  # it is large far away from the data by itself

    def of(self, potential, graph):
        values = np.zeros(len(graph.volumes))
        owner = graph.owner[graph.pairs[0]].cpu().numpy()
        np.maximum.at(values, owner, 1 / graph.distances.detach().cpu().numpy())
        return Uncertainties(self.kind, self.unit, values)
