"""What every simulation is: runs of a potential from given structures, all frames kept."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Bool, Float

from aiida_mlal.ml import parts
from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.frames import (
    CANDIDATE,
    PREDICTED_ENERGY,
    PREDICTED_FORCES,
    PREDICTED_STRESS,
    RUN,
    START_VOLUME,
    STATUS,
    STEP,
    UNCERTAINTIES,
    UNCERTAINTY,
    Column,
)
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell, travelled
from aiida_mlal.ml.simulation.guard import STRAYED, UNPHYSICAL, Guard, Snapshot

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty

CONVERGED, MAX_STEPS = "converged", "max_steps"
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Run:
    """How one run ended.

    Attributes
    ----------
    converged
        Whether it reached its aim.
    reason
        ``converged``, ``max_steps``, ``uncertain``, ``strayed``, ``unphysical`` or
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


@dataclass(frozen=True, eq=False)
class SimulationResult:
    """All frames of all runs, and how each run ended.

    Attributes
    ----------
    trajectory
        Frames without labels, with the columns ``run``, ``step``, ``candidate``, ``uncertainty``,
        ``predicted_energy``, ``predicted_forces`` and ``predicted_stress`` (see ``ml.frames``),
        and ``uncertainties`` where the measure has one for each atom.
    """

    trajectory: Configurations
    runs: tuple[Run, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of a run, as the potential saw it."""

    step: int
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"]
    uncertainty: float
    uncertainties: Float[np.ndarray, " atoms"] | None
    candidate: bool


@dataclass(frozen=True)
class Ending:
    """Why a run is over, and by what it was computed."""

    reason: str
    message: str
    engines: tuple[str, ...] = ()


class Simulation(ABC):
    """Moves atoms with a potential. A subclass is a frozen dataclass, its fields the options."""

    guard: Guard

    @property
    def moving_cell(self) -> MovingCell:
        """What it moves of the cell; nothing, unless a subclass says so.

        Labels at the ends of runs are judged in these components, and simulating ends with an
        error as soon as a cell changes that is said to be fixed.
        """
        return FIXED

    @abstractmethod
    def simulate(
        self,
        potential: "Potential",
        structure: Configurations,
        measure: "Uncertainty | None",
        record: Callable[[Frame], None],
    ) -> Ending:
        """Run from one structure, record each frame, return why it is over."""

    def check(self, structures: Configurations) -> None:
        """Raise ``ValueError`` for structures that this simulation cannot begin with."""
        self.moving_cell.check(structures)

    def run(
        self,
        potential: "Potential",
        structures: Configurations,
        progress: Callable[..., None] | None = None,
    ) -> SimulationResult:
        """Run from each structure, one after the other.

        Whatever ends the whole from outside (an interrupt, no memory) passes through, with what
        was computed until then as its attribute ``computed``, a ``SimulationResult``.

        Parameters
        ----------
        progress
            Called after each step with ``run``, ``n_runs``, ``step``, ``energy``, ``fmax`` and
            ``uncertainty``.

        Raises
        ------
        ValueError
            If the potential does not know an element, or cannot be watched as the options ask; and
            for a constraint that would not be kept.
        """
        potential.check_elements(structures.elements)
        if not (np.isfinite(structures.positions).all() and np.isfinite(structures.cells).all()):
            raise ValueError("the structures to begin with have positions or cells not finite")
        structures.check_movable()
        if not len(structures):
            return SimulationResult(Configurations.empty(), ())
        self.check(structures)
        measure = self.guard.measure(potential, structures)
        self.guard.check_cell(measure, self.moving_cell)
        done: list[Configurations] = []
        runs: list[Run] = []
        for index, structure in enumerate(structures):
            frames: list[Frame] = []
            tell = partial(progress or _ignore, run=index, n_runs=len(structures))
            record = _recorder(frames, structure, tell, self.moving_cell)
            interruption: BaseException | None = None
            try:
                with parts.named("simulations", self, *parts.NUMERICAL):
                    ending = self.simulate(potential, structure, measure, record)
            except BaseException as error:
                interruption, ending = error, Ending(INTERRUPTED, str(error))
            if frames:
                done.append(_join(structure, index, frames))
                runs.append(_summary(structure, frames, ending, self.moving_cell))
            if interruption is not None:
                computed = SimulationResult(Configurations.concatenate(done), tuple(runs))
                setattr(interruption, "computed", computed)  # noqa: B010
                raise interruption
        return SimulationResult(Configurations.concatenate(done), tuple(runs))


def follow(
    steps: Iterator[bool], atoms: Atoms, guard: Guard, record: Callable[[Frame], None]
) -> Ending:
    """Take steps until one says that it converged, there are no more, or the guard objects.

    Parameters
    ----------
    steps
        Moves the atoms, whose calculator is an ``MLCalculator``; the first step only looks.
    """
    import torch

    engines = atoms.calc.engine.computed_by
    first, begun = None, atoms.copy()
    for step in count():
        try:
            converged = next(steps, None)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except (ArithmeticError, ValueError, RuntimeError) as error:
            if "allocate memory" in str(error):  # how torch says it on a CPU
                raise MemoryError(str(error)) from error
            if np.isfinite(atoms.positions).all():
                record(_failed_frame(step, atoms))
            return Ending(UNPHYSICAL, f"{type(error).__name__}: {error}", engines)
        if converged is None:
            return Ending(MAX_STEPS, "", engines)
        now = _snapshot(atoms, begun)
        first = first or _beginning(now, atoms)
        verdict = guard.verdict(now, first)
        reason = verdict[0] if verdict else ""
        wanted = reason == STRAYED or guard.wants_label(now.uncertainty)
        record(_frame(step, atoms, wanted and reason != UNPHYSICAL))
        if verdict is not None:
            return Ending(*verdict, engines)
        if converged:
            return Ending(CONVERGED, "", engines)
    raise AssertionError("steps never end")


def _recorder(
    frames: list[Frame],
    structure: Configurations,
    tell: Callable[..., None],
    moving: MovingCell,
) -> Callable[[Frame], None]:
    """Return what keeps a frame and tells of it."""

    def record(frame: Frame) -> None:
        if not moving and not np.array_equal(frame.cell, structure.cells[0]):
            raise ValueError(
                f"the simulation moved the cell in step {frame.step}, but its 'moving_cell' says "
                "that it is fixed"
            )
        frames.append(frame)
        tell(
            step=frame.step,
            energy=frame.energy,
            fmax=_fmax(frame.forces, structure.fixed),
            uncertainty=_known(frame.uncertainty),
        )

    return record


def _ignore(**values: Any) -> None:
    """Tell nobody."""


def _snapshot(atoms: Atoms, begun: Atoms) -> Snapshot:
    results = atoms.calc.results
    pairs, distances = atoms.calc.contacts()
    return Snapshot(
        atoms.numbers,
        pairs,
        distances,
        results["energy"],
        results["forces"],
        results.get("uncertainty", np.nan),
        atoms.cell.volume if atoms.pbc.all() else np.nan,
        travelled(begun.positions, begun.cell.array, atoms.positions, atoms.cell.array),
    )


def _beginning(now: Snapshot, atoms: Atoms) -> Snapshot:
    """Return the first step, with the volume at the start of a run that goes on."""
    volume = atoms.info.get(START_VOLUME.name, np.nan)
    return replace(now, volume=volume) if np.isfinite(volume) else now


def _frame(step: int, atoms: Atoms, candidate: bool) -> Frame:
    results = atoms.calc.results
    stress = results.get("stress")
    return Frame(
        step=step,
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        energy=results["energy"],
        forces=results["forces"],
        stress=np.full((3, 3), np.nan) if stress is None else voigt_6_to_full_3x3_stress(stress),
        uncertainty=results.get("uncertainty", np.nan),
        uncertainties=results.get("uncertainties"),
        candidate=candidate,
    )


def _failed_frame(step: int, atoms: Atoms) -> Frame:
    return Frame(
        step=step,
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        energy=np.nan,
        forces=np.full((len(atoms), 3), np.nan),
        stress=np.full((3, 3), np.nan),
        uncertainty=np.nan,
        uncertainties=None,
        candidate=False,
    )


def _join(structure: Configurations, run: int, frames: list[Frame]) -> Configurations:
    """Return the frames of a run as unlabelled structures with predictions."""
    n = len(frames)
    columns: dict[Column, Any] = {
        RUN: run,
        STEP: [frame.step for frame in frames],
        UNCERTAINTY: [frame.uncertainty for frame in frames],
        CANDIDATE: [frame.candidate for frame in frames],
        PREDICTED_ENERGY: [frame.energy for frame in frames],
        PREDICTED_FORCES: np.concatenate([frame.forces for frame in frames]),
        PREDICTED_STRESS: [frame.stress for frame in frames],
        STATUS: UNLABELLED,
    }
    if any(frame.uncertainties is not None for frame in frames):
        unknown = np.full(len(structure.numbers), np.nan)
        columns[UNCERTAINTIES] = np.concatenate(
            [unknown if frame.uncertainties is None else frame.uncertainties for frame in frames]
        )
    return Configurations.from_geometry(
        np.tile(structure.numbers, n),
        np.concatenate([frame.positions for frame in frames]),
        np.tile(structure.counts, n),
        np.stack([frame.cell for frame in frames]),
        np.tile(structure.pbc, (n, 1)),
        fixed=np.tile(structure.fixed, (n, 1)),
        arrays={name: np.concatenate([values] * n) for name, values in structure.sites.items()},
    ).with_columns(columns)


def _summary(
    structure: Configurations, frames: list[Frame], ending: Ending, moving: MovingCell
) -> Run:
    uncertainties = [f.uncertainty for f in frames if np.isfinite(f.uncertainty)]
    last = frames[-1]
    return Run(
        converged=ending.reason == CONVERGED,
        reason=ending.reason,
        message=ending.message,
        steps=last.step,
        fmax=_fmax(last.forces, structure.fixed),
        uncertainty=_known(last.uncertainty),
        max_uncertainty=max(uncertainties, default=None),
        n_candidates=sum(frame.candidate for frame in frames),
        cell=moving,
        smax_GPa=_known(moving.largest(last.stress[None])[0]),
        engines=ending.engines,
    )


def _fmax(forces: Float[np.ndarray, "atoms 3"], fixed: Bool[np.ndarray, "atoms 3"]) -> float:
    free = np.where(fixed, 0.0, forces)
    return float(np.linalg.norm(free, axis=1).max(initial=0.0))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
