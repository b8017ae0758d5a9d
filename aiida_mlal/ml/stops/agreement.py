"""Agreement of predictions and labels at the ends of simulations."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.stops.base import Aspect, Stop, Verdict
from aiida_mlal.ml.stops.state import State, prediction_errors


@dataclass(frozen=True)
class Agreement(Stop):
    """Converged when all runs reached their aim, and predictions agree with labels there.

    Attributes
    ----------
    energy
        Largest difference of energies, in eV/atom.
    force
        Largest mean absolute difference of force components, in eV/Å.
    stress_GPa
        Where the cell moves: largest mean absolute difference of those components of the stress
        that move it.
    """

    energy: float = 0.005
    force: float = 0.05
    stress_GPa: float = 0.1

    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"ends"})

    def __post_init__(self) -> None:
        """Refuse limits that nothing can meet."""
        check_positive(self, "energy", "force", "stress_GPa")

    def judge(self, state: State) -> Verdict:
        """Compare the differences at the last frame of each run."""
        if state.shortfall:
            return Verdict("go on", state.shortfall)
        for final in state.finals:
            if final.labelled is None:
                last = final.where.replace("the end", "the last frame")
                return Verdict("go on", f"{last} has no label")
            errors_of_ends = prediction_errors(final.predicted, final.labelled)
            for name, value, limit in (
                ("energy", errors_of_ends.get("energy_mae", np.nan), self.energy),
                ("force", errors_of_ends.get("force_mae", np.nan), self.force),
                ("stress", final.stress_error_GPa, self.stress_GPa),
            ):
                if not value <= limit:
                    return Verdict("go on", f"{name} error {value:.4g} at {final.where}")
        return Verdict("converged", "predictions agree with labels at the ends of all runs")
