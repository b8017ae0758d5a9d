"""Simulations that reach their aim without an interruption."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.stops.base import Aspect, Stop, Verdict
from aiida_mlal.ml.stops.state import State, interrupted

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.base import Plan
    from aiida_mlal.ml.uncertainty.base import Uncertainty


@dataclass(frozen=True)
class Uninterrupted(Stop):
    """Converged when every simulation reached its aim without being ended by its guard.

    Then nothing more is labelled: the potential was sure enough of all that it met, or not asked.
    A relaxation that ran out of steps has not reached its aim.

    Attributes
    ----------
    threshold
        Uncertainty that no frame may reach either, if it is to be a lower one than that at which
        the guard ends a simulation.
    """

    threshold: float | None = None

    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"runs"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        if self.threshold is not None:
            check_positive(self, "threshold")

    def check_simulation(self, simulation: "Plan | None") -> None:
        """Want simulations that something interrupts, or a threshold instead."""
        super().check_simulation(simulation)
        guard = getattr(simulation, "guard", None)
        if guard is not None and guard.break_ is None and self.threshold is None:
            raise ValueError(
                "stop 'uninterrupted' wants simulations that end where the potential is not sure: "
                "give 'break' as simulation.guard.break, or the stop a threshold"
            )

    def check_cell(self, measure: "Uncertainty | None", cell: MovingCell) -> None:
        """Refuse a threshold on an uncertainty of forces alone."""
        if self.threshold is not None and measure is not None:
            measure.check_cell(cell, ["threshold"])

    def judge(self, state: State) -> Verdict:
        """Count simulations that were ended."""
        if not state.runs:
            return Verdict("go on", "no simulation has been run")
        ended = [interrupted(run) for run in state.runs]
        if any(ended):
            return Verdict("go on", f"{sum(ended)} of {len(ended)} simulations were interrupted")
        short = sum(not run.get("converged") for run in state.runs)
        if short:
            return Verdict("go on", f"{short} of {len(ended)} simulations did not reach their aim")
        reason = f"none of {len(ended)} simulations was interrupted"
        if self.threshold is None:
            return Verdict("converged", reason)
        known = [run.get("max_uncertainty") for run in state.runs]
        worst = max((value for value in known if value is not None), default=0.0)
        if None in known:
            return Verdict("go on", f"{reason}, but the uncertainty of some is unknown")
        if worst >= self.threshold:
            return Verdict("go on", f"{reason}, but one reached an uncertainty of {worst:.4g}")
        return Verdict("converged", f"{reason}, nor reached an uncertainty of {self.threshold:g}")
