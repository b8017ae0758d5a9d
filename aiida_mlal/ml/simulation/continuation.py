"""Simulations that were stopped from outside: where to go on, and how the parts fit together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.base import INTERRUPTED

Runs = Sequence[Mapping[str, Any]]
"""How each run ended, as the JSON values of ``Run``; runs that never began are not in it."""


def unfinished(
    structures: Configurations, trajectory: Configurations, runs: Runs
) -> Configurations:
    """Return where to go on: one structure for each run that has not come to its end.

    Its ``info`` has the number of the ``run``, and the ``step`` that it begins at.
    """
    over = {i for i, run in enumerate(runs) if run["reason"] != INTERRUPTED}
    parts = []
    for i, structure in enumerate(structures):
        if i in over:
            continue
        start, step = structure, 0
        if len(trajectory):
            frames = np.flatnonzero(trajectory.info["run"] == i)
            start = trajectory[frames[-1]] if len(frames) else structure
            step = int(start.info["step"][0]) if len(frames) else 0
        parts.append(start.bare.with_info(run=[i], step=[step]))
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
    for index, later in enumerate(later_runs):
        number, step = int(start.info["run"][index]), int(start.info["step"][index])
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
        local = continuation.info["run"].astype(int)
        seen_before = (continuation.info["step"] == 0) & (start.info["step"][local] > 0)
        renumbered = continuation.with_info(
            run=start.info["run"][local],
            step=continuation.info["step"] + start.info["step"][local],
        )[~seen_before]
        trajectory = Configurations.concatenate([trajectory, renumbered])
        trajectory = trajectory[np.lexsort((trajectory.info["step"], trajectory.info["run"]))]
    for number, run in merged.items():
        mine = trajectory.info["run"] == number
        run["n_candidates"] = int(trajectory.info["candidate"][mine].sum())
    return trajectory, [merged[number] for number in sorted(merged)]
