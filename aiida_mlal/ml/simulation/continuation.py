"""Joining of frames of simulations that were interrupted and continued."""

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


def before(trajectory: Configurations, checkpoint: Checkpoint) -> Configurations:
    """Return the frames before the step of a checkpoint."""
    run, step = RUN.of(trajectory), STEP.of(trajectory)
    return trajectory[(run < checkpoint.run) | ((run == checkpoint.run) & (step < checkpoint.step))]
