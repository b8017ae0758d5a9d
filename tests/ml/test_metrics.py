import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.metrics import errors


@pytest.fixture
def labelled():
    frames = Configurations.from_ase([bulk("Cu"), bulk("Cu", cubic=True)])
    return frames.with_labels([1.0, 8.0], np.zeros((5, 3)), np.zeros((2, 3, 3)))


def test_energies_are_compared_per_atom(labelled):
    found = errors(labelled, np.array([1.1, 8.8]), labelled.forces)
    assert found["energy_mae"] == pytest.approx((0.1 + 0.2) / 2)
    assert found["energy_rmse"] == pytest.approx(np.sqrt((0.01 + 0.04) / 2))
    assert found["energy_max"] == pytest.approx(0.2)
    assert found["force_max"] == 0


def test_forces_are_compared_by_component(labelled):
    forces = np.zeros((5, 3))
    forces[3] = [0.3, 0, -0.4]
    found = errors(labelled, labelled.energies, forces)
    assert found["force_mae"] == pytest.approx(0.7 / 15)
    assert found["force_rmse"] == pytest.approx(np.sqrt(0.25 / 15))


def test_each_of_six_stress_components_counts_once(labelled):
    stresses = np.zeros((2, 3, 3))
    stresses[0, 0, 1] = stresses[0, 1, 0] = 0.6
    found = errors(labelled, labelled.energies, labelled.forces, stresses)
    assert found["stress_mae"] == pytest.approx(0.6 / 12)


def test_what_is_missing_is_left_out(labelled):
    energies = np.array([np.nan, 8.0])
    found = errors(labelled, energies, np.full((5, 3), np.nan), np.full((2, 3, 3), np.nan))
    assert found == {"energy_mae": 0, "energy_rmse": 0, "energy_max": 0}
