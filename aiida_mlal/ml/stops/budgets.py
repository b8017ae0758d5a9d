"""Numbers of iterations, labels and structures that end a campaign."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.stops.base import Aspect, Outcome, Stop, Verdict
from aiida_mlal.ml.stops.state import State


@dataclass(frozen=True)
class _Count(Stop):
    """A stop at the number ``n`` of something."""

    bounds: ClassVar[bool] = True
    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"counts"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "n")


@dataclass(frozen=True)
class Iterations(_Count):
    """Exhausted after ``n`` iterations.

    Attributes
    ----------
    n
        The largest number of iterations.
    """

    n: int = 25

    def judge(self, state: State) -> Verdict:
        """Count iterations."""
        outcome: Outcome = "exhausted" if state.iteration >= self.n else "go on"
        if outcome == "exhausted":
            return Verdict(outcome, f"all {self.n} iterations are done")
        return Verdict(outcome, f"iteration {state.iteration} of {self.n}")


@dataclass(frozen=True)
class Labels(_Count):
    """Exhausted when ``n`` structures have been labelled, or tried in vain.

    Attributes
    ----------
    n
        The largest number of labels.
    """

    n: int

    def judge(self, state: State) -> Verdict:
        """Count labels."""
        outcome: Outcome = "exhausted" if state.n_labels >= self.n else "go on"
        return Verdict(outcome, f"label {state.n_labels} of {self.n}")


@dataclass(frozen=True)
class Size(_Count):
    """Converged when there are labels of ``n`` structures to learn from.

    Attributes
    ----------
    n
        Number of structures that are enough.
    """

    n: int

    def judge(self, state: State) -> Verdict:
        """Count good labels."""
        size = state.n_learnable
        outcome: Outcome = "converged" if size >= self.n else "go on"
        return Verdict(outcome, f"{size} of {self.n} structures to learn from")
