"""Agreement of predictions and new labels, on average."""

from dataclasses import dataclass

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.stops.base import Stop, Verdict
from aiida_mlal.ml.stops.state import State, prediction_errors


@dataclass(frozen=True)
class Accuracy(Stop):
    """Converged when predictions agree with the new labels, on average.

    These say what the potential is worth where a query draws frames ``random``: of those that it
    was least sure of, errors are larger than elsewhere.

    Attributes
    ----------
    force
        Mean absolute error of components of forces in eV/Å.
    energy
        The same of energies in eV/atom; None for any.
    least
        How many good labels it takes.
    """

    force: float = 0.05
    energy: float | None = None
    least: int = 1

    def __post_init__(self) -> None:
        """Refuse limits that nothing can meet."""
        check_positive(self, "force", "least")
        if self.energy is not None:
            check_positive(self, "energy")

    def judge(self, state: State) -> Verdict:
        """Compare the errors of the last predictions with the limits."""
        good = state.new.learnable
        if len(good) < self.least:
            return Verdict("go on", f"{len(good)} of {self.least} new labels to compare with")
        wrong = prediction_errors(good, good)
        limits = {"force_mae": self.force, "energy_mae": self.energy}
        wanted = {name: limit for name, limit in limits.items() if limit is not None}
        if not wanted.keys() <= wrong.keys():
            return Verdict("go on", "the new labels have no predictions")
        values = {name: f"{name.split('_')[0]} error {wrong[name]:.4g}" for name in wanted}
        above = [values[name] for name, limit in wanted.items() if not wrong[name] < limit]
        if above:
            return Verdict("go on", f"{', '.join(above)} of {len(good)} new labels")
        return Verdict("converged", f"{', '.join(values.values())} of {len(good)} new labels")
