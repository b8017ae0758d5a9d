"""Several stops that have to agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiida_mlal.ml import plugins
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.stops.base import Aspect, Outcome, Stop, Verdict
from aiida_mlal.ml.stops.decisions import decide
from aiida_mlal.ml.stops.state import State

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.base import Plan
    from aiida_mlal.ml.uncertainty.base import Uncertainty


@dataclass(frozen=True)
class All(Stop):
    """Converged when each of several stops says so.

    Attributes
    ----------
    of
        Names and options of the stops.
    """

    of: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Let the stops judge their options."""
        if not self.stops:
            raise ValueError("of: expected one stop or more")
        bounding = [plugins.name_of("stops", type(stop)) for stop in self.stops if stop.bounds]
        if bounding:
            raise ValueError(
                f"of: {bounding} end every campaign, whatever others say: give them beside 'all'"
            )

    @cached_property
    def stops(self) -> list[Stop]:
        """The stops."""
        return [plugins.make("stops", one, f"of[{i}]") for i, one in enumerate(self.of)]

    @property
    def looks_at(self) -> frozenset[Aspect]:  # type: ignore[override]
        """What all of them judge by; nothing if one doesn't say."""
        aspects = [stop.looks_at for stop in self.stops]
        return frozenset().union(*aspects) if all(aspects) else frozenset()

    def judge(self, state: State) -> Verdict:
        """Ask all of them."""
        verdicts = [decide([stop], state) for stop in self.stops]
        left = [verdict for verdict in verdicts if verdict.outcome != "converged"]
        outcome: Outcome = "go on" if left else "converged"
        return Verdict(outcome, "; ".join(verdict.reason for verdict in left or verdicts))

    def check_simulation(self, simulation: "Plan | None") -> None:
        """Let each of them check simulations."""
        for stop in self.stops:
            stop.check_simulation(simulation)

    def check_cell(self, measure: "Uncertainty | None", cell: MovingCell) -> None:
        """Let each of them check the uncertainty where the cell moves."""
        for stop in self.stops:
            stop.check_cell(measure, cell)
