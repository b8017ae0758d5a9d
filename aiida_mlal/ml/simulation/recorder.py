"""Recorder of frames of simulations, which keeps them in files."""

import signal
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from aiida_mlal.ml.configurations import UNLABELLED, Configurations, save_together
from aiida_mlal.ml.frames import (
    CANDIDATE,
    IMAGE,
    KEPT,
    LEARNED,
    PREDICTED_ENERGY,
    PREDICTED_FORCES,
    PREDICTED_STRESS,
    REASON,
    RUN,
    STATUS,
    STEP,
    UNCERTAINTIES,
    UNCERTAINTY,
    Column,
)
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.state import SimulationState

MOST_ATOMS = 200_000
"""Atoms of all frames that are kept in memory before they are written."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image in one step of a run, as the potential saw it.

    Attributes
    ----------
    candidate
        Whether it may be chosen for a label.
    wanted
        Whether it is kept whatever its step is.
    image
        Which one of several that a run moves together, counted from 0.
    columns
        What else a simulation knows of it; the same columns in each frame of a run.
    """

    step: int
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    energy: float
    forces: Float[np.ndarray, "atoms 3"]
    stress: Float[np.ndarray, "3 3"]
    uncertainty: float
    uncertainties: Float[np.ndarray, " atoms"] | None
    candidate: bool
    wanted: bool = False
    image: int = 0
    columns: Mapping[Column, Any] = field(default_factory=dict)


class Store:
    """Structures in the order in which they came, in memory as long as they are few, else on disk.

    Parameters
    ----------
    folder
        Where files go, after those that are there; a temporary folder, made when it is needed,
        without one.
    """

    SUFFIX = ".safetensors"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: list[Configurations] = []
        there = self._files()
        self._next = 1 + int(there[-1].name.partition(".")[0]) if there else 0

    @property
    def is_empty(self) -> bool:
        """Whether there are no structures."""
        return not (self._held or self._files())

    def add(self, frames: Configurations) -> None:
        """Take more structures."""
        with uninterrupted():
            self._held.append(frames)
            if sum(len(one.numbers) for one in self._held) > MOST_ATOMS:
                self.write()

    def write(self) -> None:
        """Write what is in memory to a file of its own."""
        with uninterrupted():
            if not self._held:
                return
            if self._folder is None:
                self._folder = Path(mkdtemp(prefix="frames-"))
                weakref.finalize(self, rmtree, self._folder, ignore_errors=True)
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"{self._next:06d}{self.SUFFIX}"
            Configurations.concatenate(self._held).save(path)
            self._held, self._next = [], self._next + 1

    def read(self) -> Configurations:
        """Return all structures."""
        return Configurations.concatenate([part() for part in self._parts()])

    def save(self, path: str | Path) -> None:
        """Write all structures to a file of this package, one of the files at a time."""
        save_together(path, self._parts())

    def _parts(self) -> list[Callable[[], Configurations]]:
        """Return functions that read each file and, the last one, what is in memory."""
        files = [partial(Configurations.load, path) for path in self._files()]
        return [*files, partial(Configurations.concatenate, self._held)]

    def restrict(self, choose: Callable[[Configurations], Configurations]) -> None:
        """Keep only the chosen structures of each file; a file is always whole."""
        for path in self._files():
            stored = Configurations.load(path)
            left = choose(stored)
            if not len(left):
                path.unlink()
            elif len(left) < len(stored):
                left.save(path)

    def clear(self) -> None:
        """Take away all structures, and the folder where there is nothing else in it."""
        self._held = []
        if self._folder is not None and self._folder.is_dir():
            for path in self._files():
                path.unlink()
            with suppress(OSError):
                self._folder.rmdir()

    def _files(self) -> list[Path]:
        return [] if self._folder is None else sorted(self._folder.glob(f"*{self.SUFFIX}"))


class Leg(NamedTuple):
    """First step of a stage of a run, and the step at which it continues.

    Attributes
    ----------
    since
        The step that the stage began or begins with.
    step
        The step that it takes next: the same, unless it is going on.
    is_going_on
        Whether the recorder has its state.
    """

    since: int
    step: int
    is_going_on: bool


class Recorder:
    """Keeps frames of one run: those of every n-th step, its first and last, and wanted ones.

    Images of a step are kept together.

    Parameters
    ----------
    start
        What the run begins from, one structure or several of the same atoms.
    store
        Takes the frames.
    run
        Number of the run.
    every
        Stride of the steps whose frames are kept.
    moving
        What of the cell may change.
    tell
        Called for each frame with ``step``, ``energy``, ``fmax`` and ``uncertainty``.
    state
        Where the run goes on; None at its beginning.
    renewed
        Whether another potential goes on from there than the one that came there.
    save
        Called with the last state, every ``seconds``, when all frames before it are on disk.

    Attributes
    ----------
    begins_learned
        Whether the potential has learned the structure that the run began at.
    state
        Where the run goes on, or would: the last one that was remembered.
    last
        Frames of the last step, one for each image.
    max_uncertainty
        Of all frames; None where nothing is known.
    n_candidates
        Number of frames that were kept and may be chosen for a label.
    """

    def __init__(
        self,
        start: Configurations,
        store: Store | None = None,
        run: int = 0,
        every: int = 1,
        moving: MovingCell = FIXED,
        tell: Callable[..., None] | None = None,
        state: SimulationState | None = None,
        save: Callable[[SimulationState], None] | None = None,
        seconds: float = 60.0,
        renewed: bool = False,
    ) -> None:
        self.begins_learned = bool(LEARNED.of(start)[0])
        self._template, self._cells = start[0], {cell.tobytes() for cell in start.cells}
        self._store, self._run, self._every = store or Store(), run, every
        self._moving, self._tell = moving, tell
        self._save, self._seconds, self._saved = save, seconds, time.monotonic()
        self.state = state
        self.last: list[Frame] = []
        self._pending: list[Frame] = []
        self._frames: list[Frame] = []
        self.renewed = renewed
        counts = {} if state is None or renewed else state.memory.get("recorder", {})
        self.max_uncertainty: float | None = counts.get("max_uncertainty")
        self.n_candidates: int = counts.get("n_candidates", 0)
        self._most = max(1, MOST_ATOMS // max(1, len(self._template.numbers)))

    @property
    def first_step(self) -> int:
        """The step that the run begins at, which is not 0 where it goes on."""
        return 0 if self.state is None else self.state.step

    @property
    def stage(self) -> int:
        """The stage of the run that the state is in: 0 for runs that have only one."""
        return 0 if self.state is None else int(self.state.memory.get("stage", 0))

    def leg(self, stage: int) -> Leg:
        """Return the first step of a stage, or the one at which it continues from the state."""
        if self.state is None:
            return Leg(0, 0, False)
        if self.stage != stage:
            following = self.state.step + 1
            return Leg(following, following, False)
        return Leg(int(self.state.memory.get("since", 0)), self.state.step, True)

    def keep_last(self) -> None:
        """Keep the frames of the last step, whatever the stride."""
        self._settle(anyway=True)

    def __call__(self, frame: Frame) -> None:
        """Take a frame; images of the same step come one after the other.

        Raises
        ------
        ValueError
            If the cell changed that is said to be fixed.
        """
        if not self._moving and frame.cell.tobytes() not in self._cells:
            raise ValueError(
                f"the simulation moved the cell in step {frame.step}, but its 'moving_cell' says "
                "that it is fixed"
            )
        if self._pending and self._pending[0].step != frame.step:
            self._settle()
        self._pending.append(frame)
        same = self.last and self.last[0].step == frame.step
        self.last = [*self.last, frame] if same else [frame]
        if np.isfinite(frame.uncertainty):
            most = self.max_uncertainty
            value = float(frame.uncertainty)
            self.max_uncertainty = value if most is None else max(most, value)
        if self._tell is not None:
            self._tell(
                step=frame.step,
                energy=frame.energy,
                fmax=largest_force(frame.forces, self._template.fixed),
                uncertainty=known(frame.uncertainty),
            )

    def keeps(self, step: int) -> bool:
        """Whether the frames of a step are kept anyway: one in ``every``."""
        return step % self._every == 0

    def settle(self, step: int) -> Mapping[str, Any]:
        """Settle frames before a step; return their counts, ``memory["recorder"]`` of its state."""
        if self._pending and self._pending[0].step < step:
            self._settle()
        return {"max_uncertainty": self.max_uncertainty, "n_candidates": self.n_candidates}

    def remember(self, state: SimulationState) -> None:
        """Take the state at a step whose frames come next."""
        self.state = state
        if self._save is not None and time.monotonic() - self._saved >= self._seconds:
            with uninterrupted():
                self._flush()
                self._store.write()
                self._save(self.state)
            self._saved = time.monotonic()

    def close(self) -> None:
        """Keep the last step, and hand over all that is left."""
        self.keep_last()
        self._flush()

    def _settle(self, anyway: bool = False) -> None:
        """Decide whether the frames of the last step are kept."""
        frames, self._pending = self._pending, []
        if not frames:
            return
        if anyway or self.keeps(frames[0].step) or any(f.wanted for f in frames):
            self._frames.extend(frames)
            self.n_candidates += sum(f.candidate for f in frames)
            if len(self._frames) >= self._most:
                self._flush()

    def _flush(self) -> None:
        with uninterrupted():
            if self._frames:
                self._store.add(join_frames(self._template, self._run, self._frames))
                self._frames = []


def join_frames(structure: Configurations, run: int, frames: Sequence[Frame]) -> Configurations:
    """Return frames of a run as unlabelled structures with predictions."""
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
    if KEPT.of(structure)[0] and REASON.is_in(structure):  # it is there to be labelled
        columns[REASON] = REASON.of(structure)[0]
    for column in frames[0].columns:
        join = np.concatenate if column.per_atom else np.stack
        columns[column] = join([frame.columns[column] for frame in frames])
    if any(frame.image for frame in frames):
        columns[IMAGE] = [frame.image for frame in frames]
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


def largest_force(
    forces: Float[np.ndarray, "atoms 3"], fixed: Bool[np.ndarray, "atoms 3"]
) -> float:
    """Return the largest force on a free atom, in eV/Å."""
    free = np.where(fixed, 0.0, forces)
    return float(np.linalg.norm(free, axis=1).max(initial=0.0))


def known(value: float) -> float | None:
    """Return a number; None in place of NaN."""
    return None if np.isnan(value) else float(value)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that end a job wait, so that what is written is written once and whole."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
