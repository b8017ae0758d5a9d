"""Simulations that were stopped from outside: where to go on, and how the parts fit together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import CANDIDATE, RUN, START_VOLUME, STEP
from aiida_mlal.ml.simulation.base import INTERRUPTED

Runs = Sequence[Mapping[str, Any]]
"""How each run ended, as the JSON values of ``Run``; runs that never began are not in it."""


def unfinished(
    structures: Configurations, trajectory: Configurations, runs: Runs
) -> Configurations:
    """Return where to go on: one structure for each run that has not come to its end.

    Its ``info`` has the number of the ``run``, the ``step`` that it begins at, and the volume at
    the start of the run, ``start_volume``, which a guard goes by.
    """
    over = {i for i, run in enumerate(runs) if run["reason"] != INTERRUPTED}
    parts = []
    for i, structure in enumerate(structures):
        if i in over:
            continue
        start, step = structure, 0
        if len(trajectory):
            frames = np.flatnonzero(RUN.of(trajectory) == i)
            start = trajectory[frames[-1]] if len(frames) else structure
            step = int(STEP.of(start)[0]) if len(frames) else 0
        volume = abs(np.linalg.det(structure.cells[0])) if structure.pbc.all() else np.nan
        parts.append(start.bare.with_columns({RUN: i, STEP: step, START_VOLUME: volume}))
    return Configurations.concatenate(parts)


def join(
    trajectory: Configurations,
    runs: Runs,
    start: Configurations,
    continuation: Configurations,
    later_runs: Runs,
) -> tuple[Configurations, list[dict[str, Any]]]:
    """Return all frames by run and step, and how each run ended.

    Parameters
    ----------
    trajectory, runs
        Until the interruption.
    start
        Where it went on, as ``unfinished`` returned it.
    continuation, later_runs
        What came of it.
    """
    merged = dict(enumerate(dict(run) for run in runs))
    started = list(zip(RUN.of(start).tolist(), STEP.of(start).tolist(), strict=True))
    for (number, step), later in zip(started, later_runs):
        before = merged.get(number)
        merged[number] = {**later, "steps": step + later["steps"]}
        if before is not None:
            known = [
                run["max_uncertainty"]
                for run in (before, later)
                if run["max_uncertainty"] is not None
            ]
            merged[number]["max_uncertainty"] = max(known, default=None)
    if len(continuation):
        local, steps = RUN.of(continuation), STEP.of(continuation)
        run, step_before = RUN.of(start)[local], STEP.of(start)[local]
        seen_before = (steps == 0) & (step_before > 0)
        renumbered = continuation.with_columns({RUN: run, STEP: steps + step_before})[~seen_before]
        trajectory = Configurations.concatenate([trajectory, renumbered])
        trajectory = trajectory[np.lexsort((STEP.of(trajectory), RUN.of(trajectory)))]
    for number, merged_run in merged.items():
        mine = RUN.of(trajectory) == number
        merged_run["n_candidates"] = int(CANDIDATE.of(trajectory)[mine].sum())
    return trajectory, [merged[number] for number in sorted(merged)]
