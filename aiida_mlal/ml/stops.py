"""When a campaign ends: each stop looks at the state after an iteration and gives a verdict."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
from ase.units import GPa

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import (
    PREDICTED_ENERGY,
    PREDICTED_STRESS,
    PREDICTIONS,
    RUN,
    UNCERTAINTY,
)
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.selection.base import last_frames
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.guard import REASONS
from aiida_mlal.ml.simulation.stopped import of_run

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


@dataclass(frozen=True, eq=False)
class State:
    """What is known after an iteration: train, simulate, select, label.

    Attributes
    ----------
    iteration
        1 after the first one.
    n_labels
        Structures labelled since the beginning, failed ones included: what has been paid.
    trajectory
        All frames of the simulations of this iteration, as the potential sees them.
    new
        What was labelled in this iteration, predictions still attached.
    dataset
        All that was ever labelled, ``new`` included.
    runs
        For each simulation its result: ``converged``, ``reason``, ``steps``, ``cell`` and so on.
    scores
        What the structures that were chosen were chosen by, where there was such a number.
    foreseen
        The number of structures to learn from, where a stop is asked about a larger ``dataset``
        than there is yet.
    met
        Simulations whose ends are what the stops want, where these were asked.
    """

    iteration: int
    n_labels: int
    trajectory: Configurations
    new: Configurations
    dataset: Configurations
    runs: Sequence[Mapping[str, Any]] = ()
    scores: Sequence[float] = ()
    foreseen: int | None = None
    met: Sequence[int] = ()

    @classmethod
    def ahead(cls, **known: Any) -> "State":
        """Return a state before the first iteration, of which only some things are known."""
        nothing = Configurations.empty()
        usual = {"iteration": 0, "n_labels": 0}
        return cls(**{**usual, **dict.fromkeys(("trajectory", "new", "dataset"), nothing), **known})

    @cached_property
    def n_learnable(self) -> int:
        """Number of structures with a label to learn from."""
        return len(self.dataset.learnable) if self.foreseen is None else self.foreseen

    @cached_property
    def finals(self) -> list["Final"]:
        """Those of the ``ends`` that are to be stationary points: minima, or saddle points.

        All are of a run that doesn't say which.
        """
        return [final for final in self.ends if final.image in self._stationary(final)]

    def _stationary(self, final: "Final") -> Sequence[int]:
        run = self.runs[final.run] if final.run < len(self.runs) else {}
        images: Sequence[int] | None = run.get("stationary")
        return [final.image] if images is None else images

    @cached_property
    def ends(self) -> list["Final"]:
        """The last frame of each image of each run, and its label if it has a good one."""
        if not len(self.trajectory):
            return []
        known = Twins()
        for i in np.flatnonzero(self.dataset.status == OK):
            known.add(int(i), self.dataset[i])
        finals = []
        for last in last_frames(self.trajectory):
            frame = self.trajectory[last.frame]
            label = known.find(frame, SAME)
            labelled = None if label is None else self.dataset[label]
            cell = self._moving_cell(last.run)
            finals.append(Final(last.run, frame, labelled, cell, last.image))
        return finals

    def _moving_cell(self, run: int) -> MovingCell:
        """Return the cell parameters that a run moved; ``ValueError`` if results lack them."""
        if run < len(self.runs):
            return MovingCell.of(self.runs[run])
        frames = self.trajectory
        cells = frames.cells[RUN.of(frames) == run]
        if np.ptp(cells, axis=0).any():
            raise ValueError(
                f"run {run} moves the cell, and 'runs' have no result of it that says how"
            )
        return FIXED


@dataclass(frozen=True, eq=False)
class Final:
    """The last frame of a run: as the potential sees it, and with its label if there is one.

    Attributes
    ----------
    cell
        What of the cell the run moved, and against which pressure.
    image
        Which one of several that the run moves together.
    """

    run: int
    predicted: Configurations
    labelled: Configurations | None
    cell: MovingCell = FIXED
    image: int = 0

    @property
    def where(self) -> str:
        """Which frame it is, in words."""
        image = f", image {self.image}" if self.image else ""
        return f"the end of run {self.run}{image}"

    @property
    def fmax(self) -> float:
        """Largest force on a free atom, as labelled, in eV/Å; NaN without a label."""
        return np.nan if self.labelled is None else float(self.labelled.max_forces[0])

    @property
    def smax_GPa(self) -> float:
        """Largest component of the labelled stress that moves the cell, in GPa; NaN if unknown.

        0 where the cell is fixed.
        """
        if self.labelled is None:
            return np.nan
        return float(self.cell.largest(self.labelled.stresses)[0])

    @property
    def drive(self) -> float:
        """How far from equilibrium the label is in all that moves, in eV/Å; NaN if unknown.

        The larger one of ``fmax``, and of ``smax_GPa`` times the area of a face of a cube of the
        volume of an atom.
        """
        if self.labelled is None:
            return np.nan
        if not self.cell:
            return self.fmax
        volume = abs(np.linalg.det(self.labelled.cells[0])) / self.labelled.counts[0]
        return float(np.maximum(self.fmax, self.smax_GPa * GPa * volume ** (2 / 3)))

    @property
    def stress_error_GPa(self) -> float:
        """Mean absolute error of the predicted stress in what moves the cell, in GPa."""
        if not self.cell:
            return 0.0
        if self.labelled is None:
            return np.nan
        predicted = PREDICTED_STRESS.of(self.predicted)
        apart = self.cell.imbalance(predicted) - self.cell.imbalance(self.labelled.stresses)
        return float(np.abs(apart[0][np.triu_indices(3)]).mean())


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


@dataclass(frozen=True)
class OracleForce(Stop):
    """Converged when the labels say that all simulations ended in relaxed structures.

    Attributes
    ----------
    fmax
        Largest force on a free atom in eV/Å, as labelled, not as predicted.
    smax_GPa
        Where the cell moves: largest component of what of the labelled stress moves it, the
        external pressure taken off.
    """

    fmax: float = 0.05
    smax_GPa: float = 0.1

    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"ends"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "fmax", "smax_GPa")

    def check_simulation(self, simulation: "Plan | None") -> None:
        """Want simulations that end at equilibrium, as near to it as the labels are to be."""
        super().check_simulation(simulation)
        if simulation is None:
            return
        if not simulation.relaxes:
            name = plugins.name_of("simulations", type(simulation))
            raise ValueError(
                f"stop 'oracle_force' wants simulations that relax, and {name!r} does not: choose "
                "'uninterrupted' or 'agreement'"
            )
        for name, limit, reached, what in (
            ("fmax", self.fmax, simulation.reached[0], "forces below {:g} eV/Å"),
            ("smax_GPa", self.smax_GPa, simulation.reached[1], "stresses below {:g} GPa"),
        ):
            if reached > limit:
                raise ValueError(
                    f"stop 'oracle_force' wants labelled {what.format(limit)}, and simulations "
                    f"are over with predicted {what.format(reached)}: give the simulation a "
                    f"{name!r} of {limit:g} or less, or the stop a larger one"
                )

    def judge(self, state: State) -> Verdict:
        """Compare labelled forces and stresses at the last frame of each run with the limits."""
        if not state.finals:
            return Verdict("go on", "no simulation has been run")
        short = [i for i, run in enumerate(state.runs) if _is_on_its_way(run)]
        if short:
            return Verdict("go on", f"runs {short} did not come to all stationary points")
        missing = sorted({final.run for final in state.finals if final.labelled is None})
        if missing:
            return Verdict("go on", f"the last frames of runs {missing} have no label")
        moving = [final for final in state.finals if final.cell]
        without = sorted({final.run for final in moving if np.isnan(final.smax_GPa)})
        if without:
            return Verdict("go on", f"the labels at the ends of runs {without} have no stress")
        worst = max(state.finals, key=lambda final: final.fmax)
        compared = [
            _Compared(f"labelled force {worst.fmax:.4g} eV/Å", worst.where, worst.fmax, self.fmax)
        ]
        if moving:
            worst = max(moving, key=lambda final: final.smax_GPa)
            what = f"labelled stress {worst.smax_GPa:.4g} GPa"
            compared.append(_Compared(what, worst.where, worst.smax_GPa, self.smax_GPa))
        above = [one for one in compared if not one.value < one.limit]
        if above:
            return Verdict("go on", "; ".join(f"{one} is not below {one.limit:g}" for one in above))
        return Verdict(
            "converged",
            "; ".join(f"{one} is the largest, and below {one.limit:g}" for one in compared),
        )


@dataclass(frozen=True)
class _Compared:
    what: str
    where: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{self.what} at {self.where}"


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
        if not state.finals:
            return Verdict("go on", "no simulation has been run")
        short = sum(not run.get("converged") for run in state.runs)
        if short:
            return Verdict("go on", f"{short} of {len(state.runs)} runs did not reach their aim")
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
        if not state.finals:
            return Verdict("go on", "no simulation has been run")
        short = sum(not run.get("converged") for run in state.runs)
        if short:
            return Verdict("go on", f"{short} of {len(state.runs)} runs did not reach their aim")
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


@dataclass(frozen=True)
class Iterations(Stop):
    """Exhausted after ``n`` iterations.

    Attributes
    ----------
    n
        The largest number of iterations.
    """

    n: int = 25

    bounds: ClassVar[bool] = True
    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"counts"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "n")

    def judge(self, state: State) -> Verdict:
        """Count iterations."""
        outcome: Outcome = "exhausted" if state.iteration >= self.n else "go on"
        if outcome == "exhausted":
            return Verdict(outcome, f"all {self.n} iterations are done")
        return Verdict(outcome, f"iteration {state.iteration} of {self.n}")


@dataclass(frozen=True)
class Labels(Stop):
    """Exhausted when ``n`` structures have been labelled, or tried in vain.

    Attributes
    ----------
    n
        The largest number of labels.
    """

    n: int

    bounds: ClassVar[bool] = True
    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"counts"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "n")

    def judge(self, state: State) -> Verdict:
        """Count labels."""
        outcome: Outcome = "exhausted" if state.n_labels >= self.n else "go on"
        return Verdict(outcome, f"label {state.n_labels} of {self.n}")


@dataclass(frozen=True)
class Size(Stop):
    """Converged when there are labels of ``n`` structures to learn from.

    Attributes
    ----------
    n
        Number of structures that are enough.
    """

    n: int

    bounds: ClassVar[bool] = True
    looks_at: ClassVar[frozenset[Aspect]] = frozenset({"counts"})

    def __post_init__(self) -> None:
        """Refuse a limit that nothing can meet."""
        check_positive(self, "n")

    def judge(self, state: State) -> Verdict:
        """Count good labels."""
        size = state.n_learnable
        outcome: Outcome = "converged" if size >= self.n else "go on"
        return Verdict(outcome, f"{size} of {self.n} structures to learn from")


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


def parse(values: Any) -> list[Stop]:
    """Build stops from ``[{"name": ..., **options}, ...]``.

    Raises
    ------
    ValueError
        For wrong names and options, and if nothing would end a campaign that does not converge.
    """
    if isinstance(values, (str, Mapping)) or not isinstance(values, Sequence):
        raise ValueError(f"stop: expected a list of stops, got {values!r}")
    stops: list[Stop] = [
        plugins.make("stops", value, f"stop[{i}]") for i, value in enumerate(values)
    ]
    if not any(stop.bounds for stop in stops):
        raise ValueError(
            "stop: nothing ends a campaign that does not converge, add "
            "{'name': 'iterations', 'n': ...} or {'name': 'labels', 'n': ...}"
        )
    return stops


def decide(stops: Sequence[Stop], state: State) -> Verdict:
    """Return one verdict of several stops: converged if one says so, else exhausted if one does."""
    verdicts = []
    for stop in stops:
        with plugins.named("stops", stop):
            verdicts.append(stop.judge(state))
    for outcome in ("converged", "exhausted"):
        reasons = [verdict.reason for verdict in verdicts if verdict.outcome == outcome]
        if reasons:
            return Verdict(outcome, "; ".join(reasons))
    return Verdict("go on", "; ".join(verdict.reason for verdict in verdicts))


def are_met_by(
    stops: Sequence[Stop],
    runs: Sequence[Mapping[str, Any]],
    trajectory: Configurations | None = None,
    dataset: Configurations | None = None,
) -> bool:
    """Whether simulations went so well that none of their frames wants a label.

    Stops are asked that look at how simulations went, or at the labels of their last frames, which
    may be in the data set already.
    """
    nothing = Configurations.empty()
    known = {"trajectory": trajectory or nothing, "dataset": dataset or nothing}
    asked = [stop for stop in stops if stop.looks_at and stop.looks_at <= {"runs", "ends"}]
    return bool(asked) and decide(asked, State.ahead(runs=runs, **known)).outcome == "converged"


def met_runs(
    stops: Sequence[Stop],
    runs: Sequence[Mapping[str, Any]],
    trajectory: Configurations,
    dataset: Configurations,
) -> list[int]:
    """Return the simulations each of which alone would end the campaign (see ``are_met_by``)."""
    return [
        number
        for number, run in enumerate(runs)
        if are_met_by(stops, [run], of_run(trajectory, number), dataset)
    ]


def are_worth_labels(stops: Sequence[Stop], scores: Sequence[float]) -> bool:
    """Whether structures chosen by these scores are worth their labels."""
    asked = [stop for stop in stops if stop.looks_at == {"scores"}]
    return not asked or decide(asked, State.ahead(scores=scores)).outcome == "go on"


def _is_on_its_way(run: Mapping[str, Any]) -> bool:
    """Whether a run names images that shall be stationary, and some are not yet."""
    return run.get("stationary") is not None and not run.get("converged")


def interrupted(run: Mapping[str, Any]) -> bool:
    """Whether a simulation was ended by its guard."""
    return run.get("reason") in REASONS


def labels_left(stops: Iterable[Stop], n_labels: int) -> int | None:
    """Return the number of further labels that the stops allow; ``None`` without a limit."""
    return allowance(stops, State.ahead(n_labels=n_labels)).labels


def structures_left(stops: Iterable[Stop], n_learnable: int) -> int | None:
    """Return the number of further structures to learn from; ``None`` without a limit."""
    return allowance(stops, State.ahead(foreseen=n_learnable)).structures


def allowance(stops: Iterable[Stop], state: State) -> Allowance:
    """Return the smallest allowance of all stops."""
    allowed = []
    for stop in stops:
        with plugins.named("stops", stop):
            allowed.append(stop.allowance(state))
    return Allowance(
        labels=min((a.labels for a in allowed if a.labels is not None), default=None),
        structures=min((a.structures for a in allowed if a.structures is not None), default=None),
        iterations=min((a.iterations for a in allowed if a.iterations is not None), default=None),
    )


def row(state: State) -> dict[str, Any]:
    """Return the line of the learning curve for an iteration, as JSON values.

    Returns
    -------
    dict
        ``iteration``; ``labels`` paid so far; ``learnable`` of them; ``statuses`` of the new ones,
        counted; ``errors`` of what the potential predicted for the new ones (see
        ``ml.metrics.errors``); mean and largest ``uncertainty`` of all frames simulated;
        ``converged`` runs and those ``interrupted`` by their guard, of how many ``runs``;
        ``steps_min`` and ``steps_mean``, how many steps the shortest run had, and they on average;
        ``oracle_fmax``, the largest labelled force (eV/Å) at the end of a run;
        ``oracle_smax_GPa``, the largest component of the labelled stress that moves a cell there.
        What is not known is ``None``, as is the latter where no cell moves.
    """
    uncertainty = UNCERTAINTY.of(state.trajectory)
    uncertainty = uncertainty[np.isfinite(uncertainty)]
    good = state.new.learnable
    fmax = [final.fmax for final in state.finals]
    smax = [final.smax_GPa for final in state.finals if final.cell]
    n_steps = [run["steps"] for run in state.runs if "steps" in run]
    return {
        "iteration": state.iteration,
        "labels": state.n_labels,
        "learnable": state.n_learnable,
        "statuses": dict(sorted(Counter(state.new.status.tolist()).items())),
        "errors": prediction_errors(good, good),
        "uncertainty_mean": float(uncertainty.mean()) if len(uncertainty) else None,
        "uncertainty_max": float(uncertainty.max()) if len(uncertainty) else None,
        "runs": len(state.runs),
        "converged": sum(bool(run.get("converged")) for run in state.runs),
        "interrupted": sum(interrupted(run) for run in state.runs),
        "steps_min": min(n_steps) if n_steps else None,
        "steps_mean": float(np.mean(n_steps)) if n_steps else None,
        "oracle_fmax": _worst(fmax),
        "oracle_smax_GPa": _worst(smax),
    }


def prediction_errors(predicted: Configurations, labelled: Configurations) -> dict[str, float]:
    """Return the errors of attached predictions; empty where none are attached."""
    return errors(labelled, *(column.of(predicted) for column in PREDICTIONS))


def _worst(values: Sequence[float]) -> float | None:
    return float(max(values)) if len(values) and np.isfinite(values).all() else None
