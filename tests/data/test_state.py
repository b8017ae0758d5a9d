import numpy as np
import pytest
from aiida.plugins import DataFactory

from aiida_mlal.ml.simulation.state import Checkpoint, SimulationState


@pytest.fixture
def content():
    state = SimulationState(5, np.zeros((1, 2, 3)), np.eye(3)[None])
    return Checkpoint("system", ({"reason": "converged"},) * 2, state).to_bytes()


def test_knows_where_to_go_on(aiida_profile, content):
    node = DataFactory("mlal.state")(content).store()
    assert (node.base.attributes.get("run"), node.base.attributes.get("step")) == (2, 5)
    assert node.checkpoint.to_bytes() == content


def test_refuses_what_is_no_state(aiida_profile):
    with pytest.raises(ValueError, match="not an intact safetensors file"):
        DataFactory("mlal.state")(b"nothing")
