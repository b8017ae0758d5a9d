"""The loop over the steps of a run: a guard looks at them, and frames are recorded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.linalg import LinAlgError

from aiida_mlal.ml.errors import in_words
from aiida_mlal.ml.frames import Column
from aiida_mlal.ml.neighbours import closest_approach, neighbours
from aiida_mlal.ml.simulation.base import CONVERGED, MAX_STEPS, Ending
from aiida_mlal.ml.simulation.cell import travelled, volume_of
from aiida_mlal.ml.simulation.guard import (
    STRAYED,
    UNPHYSICAL,
    Guard,
    Reference,
    Snapshot,
    Standstill,
)
from aiida_mlal.ml.simulation.recorder import Frame, Recorder
from aiida_mlal.ml.simulation.state import Memory, SimulationState
from aiida_mlal.ml.text import said


def follow(
    steps: Iterator[bool],
    atoms: Atoms | Sequence[Atoms],
    guard: Guard,
    record: Recorder,
    memory: Memory | None = None,
    stage: int = 0,
    moving: Sequence[int] | None = None,
    columns: Callable[[], Mapping[Column, Any]] | None = None,
) -> Ending:
    """Take steps until one says that it converged, there are no more, or the guard objects.

    Steps that neither the guard nor the recorder asks for are only taken. A run that goes on is set
    to the state it had before the first step is taken. One that has several stages calls this for
    each, without those before the stage that ``record`` is in.

    Parameters
    ----------
    steps
        Moves the atoms, whose calculators are each an ``MLCalculator``; the first step only looks.
        Where the run goes on it is the step ``record.first_step``.
    atoms
        One structure, or all images of a run.
    memory
        Of what takes the steps; None if it remembers nothing but positions, cells and momenta.
    stage
        Number of the stage; see ``Recorder.leg`` for the step it begins with.
    moving
        Which images it moves, if not all: only these are looked at and recorded.
    columns
        Returns what else is to be kept with a frame, of a run of one structure.

    Raises
    ------
    ValueError
        What a step raised, where the structure is sound: the error is one of options or code. Where
        numbers grew beyond bounds the run ends as ``unphysical``.
    """
    import torch

    images = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    engines = tuple(
        dict.fromkeys(engine for one in images for engine in one.calc.engine.computed_by)
    )
    seen = {i: images[i] for i in (range(len(images)) if moving is None else moving)}
    leg = record.leg(stage)

    def state(step: int, more: Mapping[str, Any]) -> SimulationState:
        return _state(step, images, memory, {**more, "stage": stage, "since": leg.since})

    watch = _Watch(images, seen, guard, record, columns or dict, state)
    if leg.is_going_on and record.state is not None:
        try:
            _resume(images, record.state, memory, record.renewed)
            watch.origin = watch.origin.after(record.state, seen, record.renewed)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(
                "the state is damaged, or that of another simulation: its memory does not fit"
            ) from error
    watched = True
    for step in count(leg.step):
        was_watched, watched = watched, step % guard.every == 0 or record.keeps(step)
        watched |= not watch.origin.first
        for one in images:
            one.calc.watching = watched
        try:
            converged = next(steps, None)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except (ArithmeticError, ValueError, RuntimeError) as error:
            if "allocate memory" in str(error):  # how torch says it on a CPU
                raise MemoryError(str(error)) from error
            numerical = not isinstance(error, ValueError) or isinstance(error, LinAlgError)
            if not numerical and all(_is_sound(one, guard) for one in seen.values()):
                raise ValueError(
                    f"step {step} failed, though nothing is wrong with its structure: {said(error)}"
                ) from error
            if all(np.isfinite(one.positions).all() for one in seen.values()):
                for image, one in seen.items():
                    record(_failed_frame(step, one, image, watch.columns()))
            return Ending(UNPHYSICAL, in_words(error), engines)
        if converged is None:
            verdict = None if was_watched else watch.look(step - 1)
            return Ending(*(verdict or (MAX_STEPS, "")), engines)
        if not (watched or converged):
            continue
        watched, verdict = True, watch.look(step)
        if verdict is not None:
            return Ending(*verdict, engines)
        if converged:
            record.keep_last()
            return Ending(CONVERGED, "", engines)
    raise AssertionError("steps never end")


class _Watch:
    """Looks at the images that move, and records their frames.

    Attributes
    ----------
    origin
        What the guard compares each of them with.
    """

    def __init__(
        self,
        images: Sequence[Atoms],
        seen: Mapping[int, Atoms],
        guard: Guard,
        record: Recorder,
        columns: Callable[[], Mapping[Column, Any]],
        state: Callable[[int, Mapping[str, Any]], SimulationState],
    ) -> None:
        self._several, self._seen = len(images) > 1, seen
        self._guard, self._record, self._state = guard, record, state
        self.columns = columns
        labelled = 0 if record.begins_learned and not self._several else None
        self.origin = Origin([one.copy() for one in seen.values()], labelled)

    def look(self, step: int) -> tuple[str, str] | None:
        """Record each image; return the first violation that the guard finds, or None."""
        for atoms in self._seen.values():
            atoms.calc.watch()
        now = self.origin.snapshots(step, self._seen, self._guard)
        more = {**self.origin.remember(), "recorder": self._record.settle(step)}
        self._record.remember(self._state(step, more))
        return self._judge(step, now)

    def _judge(self, step: int, now: Sequence[Snapshot]) -> tuple[str, str] | None:
        ending, guard = None, self._guard
        labelled = step == self.origin.step
        for (image, atoms), snapshot, first in zip(self._seen.items(), now, self.origin.first):
            verdict = guard.verdict(snapshot, first, labelled)
            reason = verdict[0] if verdict else ""
            candidate = reason == STRAYED or guard.wants_label(snapshot.uncertainty)
            candidate &= reason != UNPHYSICAL
            wanted = candidate and guard.select is not None
            self._record(_frame(step, atoms, candidate, wanted, image, self.columns()))
            if verdict is not None and ending is None:
                where = f"image {image}: " if self._several else ""
                ending = reason, where + verdict[1]
        return ending


def _state(
    step: int,
    images: Sequence[Atoms],
    memory: Memory | None,
    more: Mapping[str, Any],
) -> SimulationState:
    moving = any("momenta" in atoms.arrays for atoms in images)
    return SimulationState(
        step,
        np.array([atoms.positions for atoms in images]),
        np.array([atoms.cell.array for atoms in images]),
        np.array([atoms.get_momenta() for atoms in images]) if moving else None,
        {
            "motion": {} if memory is None else memory.remember(),
            "calculators": [atoms.calc.remember() for atoms in images],
            **more,
        },
    )


@dataclass
class Origin:
    """Reference structures of a run: its first step, or that where another potential took over.

    Attributes
    ----------
    begun
        The structures there.
    step
        Of a structure that had been labelled when the potential took over, or where the run began;
        None where none had.
    first
        What the guard saw there.
    still
        Where atoms stand still; None where the guard doesn't look at that.
    """

    begun: list[Atoms]
    step: int | None = None
    first: Sequence[Reference] = ()
    still: Standstill | None = None

    def after(self, state: SimulationState, seen: Mapping[int, Atoms], renewed: bool) -> "Origin":
        """Return the reference of a run that continues from a state, to which ``seen`` were set."""
        if renewed:
            return Origin([one.copy() for one in seen.values()], state.step)
        memory = state.memory
        begun = self.begun
        if "begun" in memory:
            for atoms, positions, cell in zip(begun, *memory["begun"]):
                atoms.positions[:], atoms.cell[:] = positions, cell
        still = memory.get("still")
        return Origin(
            begun,
            memory.get("renewed"),
            [Reference(**one) for one in memory["first"]],
            None if still is None else Standstill(**still),
        )

    def snapshots(self, step: int, seen: Mapping[int, Atoms], guard: Guard) -> list[Snapshot]:
        """Take the snapshots that the guard judges; the first ones are kept as the reference."""
        still = 0
        if guard.stagnation is not None:
            positions = np.stack([atoms.positions for atoms in seen.values()])
            self.still = self.still or Standstill(positions, step)
            still = self.still.after(positions, step)
        steps, with_way = step - (self.step or 0), guard.trust is not None
        snapshots = [
            _snapshot(atoms, begun, with_way, steps, still)
            for atoms, begun in zip(seen.values(), self.begun)
        ]
        self.first = self.first or [Reference(one.has_neighbours, one.volume) for one in snapshots]
        return snapshots

    def remember(self) -> Mapping[str, Any]:
        """Return the reference as values of a state, from which ``after`` restores it."""
        memory: dict[str, Any] = {"first": [vars(one) for one in self.first], "renewed": self.step}
        if self.step is not None:
            memory["begun"] = [
                np.stack([one.positions for one in self.begun]),
                np.stack([one.cell.array for one in self.begun]),
            ]
        if self.still is not None:
            memory["still"] = dict(vars(self.still))
        return memory


def _resume(
    images: Sequence[Atoms], state: SimulationState, memory: Memory | None, renewed: bool
) -> None:
    """Restore images and memory; ``renewed`` says that another potential reached the state."""
    shape = (len(images), len(images[0]), 3)
    if state.positions.shape != shape:
        raise ValueError(
            f"the state is that of another simulation: expected positions of shape {shape} "
            f"(images, atoms, 3), got {state.positions.shape}"
        )

    def place() -> None:
        for atoms, positions, cell in zip(images, state.positions, state.cells):
            atoms.positions[:], atoms.cell[:] = positions, cell

    place()
    for image, atoms in enumerate(images):
        if state.momenta is not None:
            atoms.set_momenta(state.momenta[image], apply_constraint=False)
        if not renewed:
            atoms.calc.recall(atoms, state.memory["calculators"][image])
    if memory is not None:
        memory.recall(state.memory["motion"])
        if renewed:
            memory.renew()
            place()  # to the last bit


def _snapshot(atoms: Atoms, begun: Atoms, with_way: bool, steps: int, still: int) -> Snapshot:
    results = atoms.calc.results
    pairs, distances = atoms.calc.contacts()
    return Snapshot(
        atoms.numbers,
        pairs,
        distances,
        results["energy"],
        results["forces"],
        results.get("uncertainty", np.nan),
        volume_of(atoms.cell.array) if atoms.pbc.all() else np.nan,
        travelled(begun.positions, begun.cell.array, atoms.positions, atoms.cell.array)
        if with_way
        else 0.0,
        results.get("uncertainties"),
        steps,
        still,
    )


def _frame(
    step: int,
    atoms: Atoms,
    candidate: bool,
    wanted: bool,
    image: int,
    columns: Mapping[Column, Any],
) -> Frame:
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
        wanted=wanted,
        image=image,
        columns=columns,
    )


def _is_sound(atoms: Atoms, guard: Guard) -> bool:
    """Whether structure and prediction are finite and no atoms overlap."""
    geometry = atoms.positions, atoms.cell.array, atoms.get_momenta()
    if not all(np.isfinite(part).all() for part in (*geometry, *atoms.calc.results.values())):
        return False
    try:
        closest = closest_approach(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        neighbours(atoms.positions, atoms.cell.array, atoms.pbc, atoms.calc.potential.cutoff)
    except ValueError:
        return False
    return guard.min_distance is None or closest >= guard.min_distance


def _failed_frame(step: int, atoms: Atoms, image: int, columns: Mapping[Column, Any]) -> Frame:
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
        image=image,
        columns=columns,
    )
