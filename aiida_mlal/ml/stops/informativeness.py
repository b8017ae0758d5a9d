"""Scores of what was chosen."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.stops.base import Aspect, Stop, Verdict
from aiida_mlal.ml.stops.state import State


@dataclass(frozen=True)
class Informativeness(Stop):
    """Converged when what the query wants is not worth a label any more.

    Attributes
    ----------
    below
        Mean score of what was chosen, below which it is not labelled. With the measure ``oed`` the
        score is the informativeness of Zaverkin and Kästner, Mach. Learn.: Sci. Technol. 2,
        035009 (2021), section 3.3: 1 is what training structures have.
    """

    below: float = 1.0

    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"scores"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "below")

    def judge(self, state: State) -> Verdict:
        """Compare the mean score with the limit."""
        if not len(state.scores):
            return Verdict("go on", "nothing was chosen by a score")
        mean = float(np.mean(state.scores))
        reason = f"the mean score of what was chosen is {mean:.4g}"
        if mean < self.below:
            return Verdict("converged", f"{reason}, below {self.below:g}")
        return Verdict("go on", f"{reason}, not below {self.below:g}")
