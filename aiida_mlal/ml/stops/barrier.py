"""Agreement of energies at the stationary points of paths."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from aiida_mlal.ml.frames import PREDICTED_ENERGY
from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.stops.base import Aspect, Stop, Verdict
from aiida_mlal.ml.stops.state import State


@dataclass(frozen=True)
class Barrier(Stop):
    """Converged when energies along all paths agree with labels where these are to be stationary.

    Attributes
    ----------
    energy
        Largest difference of the predicted and the labelled energy of a structure, in eV.
    """

    energy: float = 0.01

    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"ends"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "energy")

    def judge(self, state: State) -> Verdict:
        """Compare energies at minima and saddle points."""
        if state.shortfall:
            return Verdict("go on", state.shortfall)
        worst = 0.0
        for final in state.finals:
            if final.labelled is None:
                return Verdict("go on", f"{final.where} has no label")
            predicted, label = PREDICTED_ENERGY.of(final.predicted), final.labelled.energies
            error = float(np.abs(predicted - label)[0])
            if not error <= self.energy:
                return Verdict(
                    "go on", f"energy error {error:.4g} eV at {final.where}, above {self.energy:g}"
                )
            worst = max(worst, error)
        return Verdict("converged", f"energy errors up to {worst:.2g} eV at stationary points")
