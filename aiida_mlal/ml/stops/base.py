"""What ends a campaign: the interface of stops, and what they say."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from aiida_mlal.ml import plugins
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.stops.state import State

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.base import Plan
    from aiida_mlal.ml.uncertainty.base import Uncertainty


Outcome = Literal["go on", "converged", "exhausted"]

Aspect = Literal["counts", "runs", "ends", "scores"]
"""What a stop may judge by.

``counts``: numbers of iterations, labels and structures (``State.iteration``, ``n_labels``,
``n_learnable``). ``runs``: how each simulation ended (``State.runs``). ``ends``: labels of the last
frames of simulations (``State.finals``). ``scores``: the numbers that structures were chosen by
(``State.scores``).
"""

MANY = 10**8
"""More structures than any campaign labels."""


@dataclass(frozen=True)
class Verdict:
    """Whether a campaign goes on, and why in words."""

    outcome: Outcome
    reason: str

    def __post_init__(self) -> None:
        """Refuse an outcome that nobody would understand, so that no campaign runs for ever."""
        if self.outcome not in get_args(Outcome):
            raise ValueError(
                f"the outcome of a stop is one of {list(get_args(Outcome))}, got {self.outcome!r}"
            )


@dataclass(frozen=True)
class Allowance:
    """How much more a stop lets a campaign do; None where it sets no limit.

    Attributes
    ----------
    labels
        Structures that may be labelled, or tried in vain.
    structures
        Structures to learn from that may be added.
    iterations
        Iterations that may follow.
    """

    labels: int | None = None
    structures: int | None = None
    iterations: int | None = None


@dataclass(frozen=True)
class Stop(ABC):
    """A criterion that ends a campaign. A subclass is a frozen dataclass, its fields the options.

    Attributes
    ----------
    bounds
        Whether it ends every campaign after a finite number of labels, structures or iterations,
        as a budget does; false by default. A campaign needs one such stop at least. It is asked
        for its ``allowance``, so that ``judge`` has to work on a ``State`` whose other values are
        empty.
    looks_at
        Aspects that it judges by, a set of words (see ``Aspect``); none by default: it is then
        asked after each iteration, when labels of the iteration are there. One that has ``scores``
        alone, or ``runs`` and ``ends`` alone, is asked before anything is labelled too. With
        ``runs`` or ``ends`` it is refused in campaigns without simulations, with ``ends`` where
        the query does not label the last frames.
    """

    bounds: ClassVar[bool] = False
    looks_at: ClassVar[frozenset[Aspect]] = frozenset()

    @abstractmethod
    def judge(self, state: State) -> Verdict:
        """Judge an iteration: ``converged`` or ``exhausted`` end the campaign.

        A campaign is converged if one of its stops says so; a reason is a sentence for its report.
        """

    def allowance(self, state: State) -> Allowance:
        """Return the number of further labels, structures and iterations that this stop allows.

        By default a stop that ``bounds`` campaigns is asked to judge the same state with more
        labels (``n_labels``), with more structures to learn from (``n_learnable``) and later
        (``iteration``), down to the smallest number with which it ends the campaign. It is asked
        before the first iteration too, when nothing else is known (``State.ahead``).
        """
        if not self.bounds:
            return Allowance()
        return Allowance(
            labels=self._first_end(lambda n: replace(state, n_labels=state.n_labels + n)),
            structures=self._first_end(lambda n: replace(state, foreseen=state.n_learnable + n)),
            iterations=self._first_end(lambda n: replace(state, iteration=state.iteration + n)),
        )

    def check_simulation(self, simulation: "Plan | None") -> None:
        """Raise ``ValueError`` if it cannot judge such simulations; None: there are none."""
        if simulation is None and self.looks_at & {"runs", "ends"}:
            name = plugins.name_of("stops", type(self))
            raise ValueError(f"stop {name!r} judges simulations, and a pool has none")

    def check_cell(self, measure: "Uncertainty | None", cell: MovingCell) -> None:  # noqa: B027
        """Raise ``ValueError`` if it compares an uncertainty that cannot see the cell move.

        Parameters
        ----------
        measure
            Of the uncertainty in simulations; None if it is not known beforehand.
        """

    def _first_end(self, more: Callable[[int], State]) -> int | None:
        """Return the smallest number with which the campaign ends; None if there is none."""

        def ends(n: int) -> bool:
            return self.judge(more(n)).outcome != "go on"

        if not ends(MANY):
            return None
        return bisect_left(range(MANY), True, key=ends)
