"""Interface of simulations: runs of a potential from given structures, and their results."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.guard import (
    Guard,
)
from aiida_mlal.ml.simulation.recorder import Recorder, Store, join_frames, known, largest_force
from aiida_mlal.ml.simulation.state import Checkpoint, SimulationState, system_of
from aiida_mlal.ml.simulation.unguarded import remarks

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.uncertainty.base import Uncertainty

CONVERGED, COMPLETED, MAX_STEPS = "converged", "completed", "max_steps"
REACHED = CONVERGED, COMPLETED
"""Ends of runs that reached their aim: what they look for, or all the steps that they should do."""

INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Run:
    """The result of one run.

    Attributes
    ----------
    converged
        Whether it reached its aim.
    reason
        ``converged``, ``completed``, ``max_steps``, ``uncertain``, ``strayed``, ``unphysical`` or
        ``interrupted``.
    message
        Details of the reason.
    steps
        Number of steps done; there is one more frame.
    fmax
        Largest predicted force on a free atom at the end, in eV/Å.
    uncertainty
        At the end; None where nothing measures it.
    max_uncertainty
        The largest of all frames.
    n_candidates
        Number of frames that are candidates for a label.
    cell
        What of the cell was moved, and against which pressure.
    smax_GPa
        Largest component of what of the predicted stress moves the cell, at the end; 0 where the
        cell is fixed, None where no stress is predicted.
    engines
        What computed: ``numba`` (kernels), ``torch``; empty if the run was interrupted, or another
        code computed.
    results
        What else a simulation has to tell of a run, as JSON values.
    stationary
        Which of several images are to be stationary points, the one looked for first, such as the
        saddle point of a path; None where all are.
    """

    converged: bool
    reason: str
    message: str
    steps: int
    fmax: float
    uncertainty: float | None
    max_uncertainty: float | None
    n_candidates: int
    cell: MovingCell = FIXED
    smax_GPa: float | None = 0.0
    engines: tuple[str, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    stationary: tuple[int, ...] | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Run":
        """Build a run from its JSON values."""
        fmax, stationary = values["fmax"], values.get("stationary")
        others = {
            "fmax": np.nan if fmax is None else fmax,
            "cell": MovingCell.of(values),
            "engines": tuple(values.get("engines", ())),
            "stationary": None if stationary is None else tuple(stationary),
        }
        return cls(**{**values, **others})


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """Recorded frames of all runs, and the result of each.

    Attributes
    ----------
    store
        Has the frames.
    checkpoint
        Where to go on, if the simulations were interrupted, or are a single run.
    warnings
        Sentences about where the potential cannot be relied upon, see ``unguarded``.
    """

    store: Store
    runs: tuple[Run, ...]
    checkpoint: Checkpoint | None = None
    warnings: tuple[str, ...] = ()

    @cached_property
    def trajectory(self) -> Configurations:
        """Frames without labels, with the columns of ``ml.frames``.

        These are ``run``, ``step``, ``candidate``, ``uncertainty``, ``predicted_energy``,
        ``predicted_forces`` and ``predicted_stress``; ``uncertainties`` where the measure has one
        for each atom, and ``image`` where a run moves several structures together.
        """
        return self.store.read()


@dataclass(frozen=True)
class Ending:
    """How a run ended: reason, message, engines that computed it, and results (see ``Run``)."""

    reason: str
    message: str
    engines: tuple[str, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    stationary: tuple[int, ...] | None = None


class Image(NamedTuple):
    """One of the structures that a run moves: number of the run, and of the structure in it."""

    run: int
    image: int


class Plan:
    """What a campaign has to know of simulations beforehand, whichever engine runs them.

    Attributes
    ----------
    guard
        What ends a run early, and which frames are candidates for labels.
    every
        Stride of the steps whose frames are kept: 1 by default.
    relaxes
        Whether a converged run ends in a stationary point of the potential energy (of the enthalpy
        where a cell moves), as relaxations do; true by default. The stop ``oracle_force`` is
        refused where it is false, as in molecular dynamics.
    """

    guard: Guard
    every: int = 1

    relaxes: ClassVar[bool] = True

    @property
    def moving_cell(self) -> MovingCell:
        """Degrees of freedom of the cell that these simulations change; none by default.

        Labels at the ends of runs are judged in these components, and simulating ends with an
        error as soon as a cell changes that is said to be fixed.
        """
        return FIXED

    @property
    def reached(self) -> tuple[float, float]:
        """Largest predicted force (eV/Å) and stress (GPa) with which runs may end as converged.

        Stops that want less of the labels are refused. By default 0, for not known; the stress is
        that which moves the cell.
        """
        return 0.0, 0.0

    def groups(self, structures: Configurations) -> list[Configurations]:
        """Split structures into the initial structures of each run: by default one a run.

        Those of one run are images of the same atoms.

        Raises
        ------
        ValueError
            For structures that cannot be grouped so.
        """
        return list(structures)

    def minimised(self, structures: Configurations) -> list[Image | None]:
        """List for each structure the image that starts there and is relaxed to a minimum, or None.

        By default all do in simulations that relax, in the order in which ``groups`` has them.
        """
        if not self.relaxes:
            return [None] * len(structures)
        return [
            Image(run, image)
            for run, group in enumerate(self.groups(structures))
            for image in range(len(group))
        ]

    def can_move(self, start: Configurations) -> bool:
        """Whether the run has degrees of freedom."""
        return bool(self.moving_cell) or not start.fixed.all()

    def check(self, structures: Configurations) -> None:
        """Raise ``ValueError`` for structures that these simulations cannot begin with."""
        self.moving_cell.check(structures)
        self.groups(structures)

    def check_model(self, model: "ModelOptions") -> None:
        """Raise ``ValueError`` for a model that these simulations cannot be run with."""

    def check_potential(self, potential: "Potential") -> None:
        """Raise ``ValueError`` for a potential that these simulations cannot be run with."""


class Simulation(Plan, ABC):
    """Moves atoms with a potential. A subclass is a frozen dataclass, its fields the options.

    Attributes
    ----------
    IDENTITY
        Names of the options that have to be the same when a run goes on from a state, such as the
        optimiser whose memory is in it; none by default, so that any may change.
    """

    IDENTITY: ClassVar[tuple[str, ...]] = ()

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, options in ``IDENTITY``, and the measure of the guard, as JSON values.

        A run continues with these alone.
        """
        values = as_dict(self)
        name = plugins.name_of("simulations", type(self))
        measure = as_dict(self.guard)["uncertainty"]
        return {
            "name": name,
            **{option: values[option] for option in self.IDENTITY},
            "guard.uncertainty": measure,
        }

    @property
    def most_steps(self) -> int | None:
        """The step at which a run is over at the latest; None where that isn't known before."""
        return None

    def check_begun(self, checkpoint: Checkpoint, structures: Configurations) -> None:
        """Raise ``ValueError`` for a checkpoint that these simulations cannot go on from."""
        checkpoint.check(structures, self.identity)
        if checkpoint.state is None:
            return
        most = self.of(self.groups(structures)[checkpoint.run]).most_steps
        if most is not None and checkpoint.step > most:
            raise ValueError(
                f"the state is that of step {checkpoint.step} of run {checkpoint.run}, which is to "
                f"be over after {most}: expected as many steps or more"
            )

    def of(self, start: Configurations) -> "Simulation":
        """Return the options of the run from these structures; by default all are alike."""
        return self

    @abstractmethod
    def simulate(
        self,
        potential: "Potential",
        start: Configurations,
        measure: "Uncertainty | None",
        record: Recorder,
    ) -> Ending:
        """Do one run from the structures of one group: record its frames, return how it ended.

        Where ``record.state`` is not None the run goes on from there; ``follow`` sees to it.
        """

    def run(
        self,
        potential: "Potential",
        structures: Configurations,
        progress: Callable[..., None] | None = None,
        checkpoint: Checkpoint | None = None,
        store: Store | None = None,
        save: Callable[[Checkpoint], None] | None = None,
        seconds: float = 60.0,
    ) -> SimulationResult:
        """Do all runs, one after the other.

        Whatever ends the whole from outside (an interrupt, no memory) passes through, with what
        was computed until then as its attribute ``computed``, a ``SimulationResult``.

        Parameters
        ----------
        progress
            Called after each step with ``run``, ``n_runs``, ``step``, ``n_steps`` (at most),
            ``energy``, ``fmax`` and ``uncertainty``.
        checkpoint
            Where interrupted simulations from the same structures go on: their later frames are
            those that they would have had, to the last bit. With another potential the first run
            goes on from its step as it was (momenta, thermostat, what an optimiser has learned of
            curvatures), and what the former potential had found is found anew; the structure
            there counts as labelled.
        store
            Takes the frames.
        save
            Called every so many ``seconds`` with a checkpoint, when all frames before it are on
            disk.

        Raises
        ------
        ValueError
            If the potential does not know an element, or cannot be watched as the options ask;
            for a constraint that would not be kept, and a checkpoint of other structures.
        """
        store = store or Store()
        potential.check_structures(structures)
        structures.check_movable()
        structures.check_not_empty()
        from aiida_mlal.ml.models.checkpoint import mark_of

        begun = checkpoint or Checkpoint(system_of(structures))
        self.check_begun(begun, structures)
        if not len(structures):
            return SimulationResult(store, ())
        self.check(structures)
        self.check_potential(potential)
        measure = self.guard.measure(potential, structures, self.moving_cell)
        self.guard.check_cell(measure, self.moving_cell)
        groups = self.groups(structures)
        runs, mark = [Run.of(values) for values in begun.runs], mark_of(potential)
        end: SimulationState | None = None
        ends = []
        for index, start in list(enumerate(groups))[begun.run :]:
            mine = self.of(start)
            over = tuple(as_dict(run) for run in runs)
            here = partial(Checkpoint, begun.system, over, potential=mark, simulation=self.identity)
            going_on = index == begun.run and begun.state is not None
            record = Recorder(
                start,
                store,
                index,
                mine.every,
                mine.moving_cell,
                None
                if progress is None
                else partial(progress, run=index, n_runs=len(groups), n_steps=mine.most_steps),
                begun.state if going_on else None,
                None if save is None else partial(_save, save, here),
                seconds,
                going_on and begun.is_of_another(mark),
            )
            interruption: BaseException | None = None
            try:
                with plugins.named("simulations", self, *plugins.NUMERICAL):
                    ending = mine.simulate(potential, start, measure, record)
                    if not isinstance(ending, Ending):
                        raise TypeError(
                            f"'simulate' returned {ending!r}, expected an Ending, such as 'follow' "
                            "returns"
                        )
                if not mine.can_move(start):
                    ending = replace(ending, message="nothing moves: no degree of freedom is free")
            except BaseException as error:
                interruption, ending = error, Ending(INTERRUPTED, str(error))
            record.close()
            if record.last:
                runs.append(summarise(start, record, ending, mine.moving_cell))
                ends.append(join_frames(start[0], index, record.last))
            if interruption is not None:
                computed = SimulationResult(store, tuple(runs), here(record.state))
                setattr(interruption, "computed", computed)  # noqa: B010
                raise interruption
            end = record.state
        alone = Checkpoint(begun.system, (), end, mark, self.identity)
        said: list[str] = []
        if begun.runs and begun.is_of_another(mark):
            said.append(f"another potential did the runs that were over, up to {begun.run - 1}")
        if self.guard.break_ is None:
            last = Configurations.concatenate(ends)
            said += remarks(potential, measure, last, *self._counting(runs))
        going_on_from = alone if len(groups) == 1 else None
        return SimulationResult(store, tuple(runs), going_on_from, tuple(said))

    def _counting(self, runs: Sequence[Run]) -> tuple[list[float | None], str]:
        """Return the uncertainty of each run that counts, and where in it that is."""
        if self.relaxes:
            return [run.uncertainty for run in runs], "at the end of"
        return [run.max_uncertainty for run in runs], "in"


def check_pace(every: int, threads: int) -> None:
    """Raise ``ValueError`` unless stride of frames and number of threads are 1 or more."""
    if every < 1:
        raise ValueError(f"expected every as 1 step or more, got {every}")
    if threads < 1:
        raise ValueError(f"expected one thread or more, got {threads}")


def first_message(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the first message that a run has, with its number, from the JSON values of runs."""
    said = (f"run {i}: {run['message']}" for i, run in enumerate(runs) if run.get("message"))
    return next(said, "")


def check_results(
    groups: Sequence[Configurations],
    trajectory: Configurations,
    runs: Sequence[Mapping[str, Any]],
) -> None:
    """Raise ``ValueError`` unless frames and results belong to runs that began from ``groups``.

    Parameters
    ----------
    runs
        For each run the JSON values of ``Run``.
    """
    if len(runs) != len(groups):
        raise ValueError(f"expected the ends of {len(groups)} runs, got {len(runs)}")
    for values in runs:
        try:
            Run.of(values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"a run is not told as by 'Run': {error}") from error
    owner = RUN.of(trajectory)
    strange = sorted(set(owner.tolist()) - set(range(len(groups))))
    if strange:
        raise ValueError(f"there are frames of runs {strange}, and no more than {len(groups)} runs")
    for run, start in enumerate(groups):
        frames, atoms = trajectory[owner == run], start[0].numbers
        numbers = frames.numbers.reshape(-1, len(atoms)) if len(frames) else np.zeros((0, 0))
        if not len(frames) or (frames.counts != len(atoms)).any() or (numbers != atoms).any():
            raise ValueError(f"run {run} has no frames, or frames of other atoms")


def _save(
    save: Callable[[Checkpoint], None],
    here: Callable[[SimulationState], Checkpoint],
    state: SimulationState,
) -> None:
    save(here(state))


def summarise(
    start: Configurations, record: Recorder, ending: Ending, moving: MovingCell = FIXED
) -> Run:
    """Build the result of a run from its ending and its recorded frames."""
    last, fixed = record.last, start[0].fixed
    uncertainties = [frame.uncertainty for frame in last]
    return Run(
        converged=ending.reason in REACHED,
        reason=ending.reason,
        message=ending.message,
        steps=last[-1].step,
        fmax=float(np.max([largest_force(frame.forces, fixed) for frame in last])),
        uncertainty=known(np.max(uncertainties)),
        max_uncertainty=record.max_uncertainty,
        n_candidates=record.n_candidates,
        cell=moving,
        smax_GPa=known(moving.largest(np.stack([frame.stress for frame in last])).max()),
        engines=ending.engines,
        results=ending.results,
        stationary=ending.stationary,
    )
