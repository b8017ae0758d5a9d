import numpy as np
import pytest

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.state import Attributes, Checkpoint, SimulationState


class Thermostat:
    """Draws numbers, and counts them."""

    def __init__(self):
        self.random = np.random.default_rng(3)
        self.drawn, self.values, self.inner = 0, np.zeros(2), None

    def step(self):
        self.values += self.random.normal(size=2)
        self.drawn += 1
        return self.values.copy()


def test_an_object_goes_on_from_what_it_remembered_by_way_of_a_file():
    names = ["random", "drawn", "values", "inner"]
    one, other = Thermostat(), Thermostat()
    one.step()
    memory = Attributes(one, names).remember()
    state = SimulationState(7, np.zeros((1, 2, 3)), np.eye(3)[None], memory=memory)
    later = [one.step() for _ in range(3)]  # which does not change what was remembered
    content = Checkpoint("system", ({"reason": "converged", "fmax": np.nan},), state).to_bytes()
    read = Checkpoint.from_bytes(content)
    assert (read.run, read.step, read.state.momenta) == (1, 7, None)
    assert np.isnan(read.runs[0]["fmax"])
    assert read.to_bytes() == content
    Attributes(other, names).recall(read.state.memory)
    np.testing.assert_array_equal([other.step() for _ in range(3)], later)
    assert other.drawn == one.drawn == 4


def test_another_file_is_no_state():
    with pytest.raises(ValueError, match="expected a file of aiida-mlal/simulation"):
        Checkpoint.from_bytes(Configurations.empty().to_bytes())
