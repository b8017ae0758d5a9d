"""Simulations that are stopped, and go on as if nothing had happened."""

import pytest

from aiida_mlal.ml.simulation.continuation import join
from aiida_mlal.ml.simulation.state import Checkpoint
from aiida_mlal.ml.stopping import Interrupted


def interrupted(simulation, potential, structures, at, begun=None):
    """Return what is left of a simulation that is stopped at a run and step."""

    def stop(**values):
        if (values["run"], values["step"]) == at:
            raise Interrupted("enough")

    with pytest.raises(Interrupted) as caught:
        simulation.run(potential, structures, stop, begun)
    return caught.value.computed


def check_goes_on(simulation, potential, structures, whole, at):
    """Stop the first run at a step, and let it go on by a file: it is ``whole``, bit by bit."""
    left = interrupted(simulation, potential, structures, (0, at))
    begun = Checkpoint.from_bytes(left.checkpoint.to_bytes())
    rest = simulation.run(potential, structures, checkpoint=begun)
    joined = join(left.trajectory, begun, rest.trajectory)
    assert joined.to_bytes() == whole.trajectory.to_bytes(), at
    assert rest.runs == whole.runs
