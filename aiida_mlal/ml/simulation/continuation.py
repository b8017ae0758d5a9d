"""One trajectory of several simulations, or of one that was interrupted and continued."""

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN, STEP
from aiida_mlal.ml.simulation.state import Checkpoint


def join(
    trajectory: Configurations, checkpoint: Checkpoint, continuation: Configurations
) -> Configurations:
    """Return the frames that simulations would have without an interruption.

    Those from the step of the checkpoint on are taken from the continuation, which has them too
    if they are kept for more than being the last ones before the interruption.

    Parameters
    ----------
    trajectory
        Until the interruption.
    checkpoint
        Where the continuation began.
    """
    return Configurations.concatenate([before(trajectory, checkpoint), continuation])


def numbered_behind(trajectory: Configurations, others: Configurations) -> Configurations:
    """Return frames whose runs have numbers behind those of others, where both begin such runs.

    Frames of a continuation, which has no step 0, keep their numbers.
    """
    if not (len(others) and RUN.is_in(trajectory) and RUN.is_in(others)):
        return trajectory
    runs, taken = RUN.of(trajectory), RUN.of(others)
    if not np.isin(runs[STEP.of(trajectory) == 0], taken).any():
        return trajectory
    return trajectory.with_columns({RUN: runs + 1 + taken.max()})


def before(trajectory: Configurations, checkpoint: Checkpoint) -> Configurations:
    """Return the frames before the step of a checkpoint."""
    run, step = RUN.of(trajectory), STEP.of(trajectory)
    return trajectory[(run < checkpoint.run) | ((run == checkpoint.run) & (step < checkpoint.step))]
