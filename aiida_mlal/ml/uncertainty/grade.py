"""The extrapolation grade as a measure of uncertainty."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential, Prediction
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.base import RowMeasure, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.rows import rows_of


@dataclass(frozen=True)
class Grade(Uncertainty):
    """How far a structure, or in the neighbourhood mode an atom, is from the active set.

    Below 1 a potential interpolates. The potential must carry an active set, as those do that
    `mlal train` makes of moment tensor potentials; its mode is that of the grade.
    """

    kind: ClassVar[str] = "grade"
    unit: ClassVar[str] = "1"

    def of(
        self, potential: Potential, graph: Graph, committee: Prediction | None = None
    ) -> Uncertainties:
        """Return the grades; a potential without an active set raises ``ValueError``."""
        active = ActiveSet.stored(potential)
        rows = rows_of(potential, graph, active.weights)
        found = active.of_rows(rows, len(graph.volumes), len(graph.numbers))
        return Uncertainties(self.kind, self.unit, found.values, found.per_atom)

    def of_rows(self, potential: Potential) -> RowMeasure | None:
        """Return what finds the grade from derivatives of atomic energies, where they suffice."""
        active = ActiveSet.stored(potential)
        if not active.weights.simple:
            return None

        def measure(sites: Float[np.ndarray, "atoms parameters"]) -> Uncertainties:
            found = active.of_sites(sites)
            return Uncertainties(self.kind, self.unit, found.values, found.per_atom)

        return measure
