"""Last frames of runs that stopped for a label, and will continue."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import CANDIDATE, REASON, RUN, UNCERTAINTY
from aiida_mlal.ml.selection.base import last_frames
from aiida_mlal.ml.simulation.guard import UNCERTAIN, UNPHYSICAL


def stopped(frames: Configurations, run: Mapping[str, Any], number: int) -> Configurations:
    """Return the last frame of each image of a run, with why it stopped there as ``reason``.

    Of several images the most uncertain one is the candidate, if the uncertainty was the reason. Of
    a run that became unphysical there are all frames, since the last one that is worth a label may
    be any of them.

    Parameters
    ----------
    run
        How it ended, as the JSON values of ``Run``.
    number
        It becomes the ``run`` of the frames.
    """
    reason = run["reason"]
    if reason != UNPHYSICAL:
        frames = frames[np.array([last.frame for last in last_frames(frames)], int)]
    candidate = CANDIDATE.of(frames)
    if reason == UNCERTAIN:
        values = np.nan_to_num(UNCERTAINTY.of(frames), nan=np.inf)
        candidate = np.arange(len(frames)) == values.argmax()
    why = "converged, to be verified" if run["converged"] else reason
    told = f"{why} ({run['message']})" if run["message"] else why
    return frames.with_columns({RUN: number, CANDIDATE: candidate, REASON: told})


def of_run(frames: Configurations, number: int) -> Configurations:
    """Return the frames of a run as those of a single one."""
    return frames[RUN.of(frames) == number].with_columns({RUN: 0})
