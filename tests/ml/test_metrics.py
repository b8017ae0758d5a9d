import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.metrics import correlations, errors, structure_errors


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


def test_forces_of_each_structure_count_the_same_by_equation_9(labelled):
    forces = np.zeros((5, 3))  # of one atom, then of four
    forces[0] = [0.3, 0, 0]
    forces[3] = [0.3, 0, -0.4]
    found = errors(labelled, labelled.energies, forces)
    expected = np.sqrt((0.09 / 3 + 0.25 / 12) / 2)
    assert found["force_rmse_by_structure"] == pytest.approx(expected)
    forces[4] = np.nan  # without a label
    found = errors(labelled, labelled.energies, forces)
    expected = np.sqrt((0.09 / 3 + 0.25 / 9) / 2)
    assert found["force_rmse_by_structure"] == pytest.approx(expected)


def test_the_nine_components_of_a_stress_count_by_equation_10(labelled):
    stresses = np.zeros((2, 3, 3))
    stresses[0, 0, 1] = stresses[0, 1, 0] = 0.6
    found = errors(labelled, labelled.energies, labelled.forces, stresses)
    assert found["stress_mae"] == pytest.approx(1.2 / 18)
    assert found["stress_rmse"] == pytest.approx(np.sqrt(0.72 / 18))


def test_what_is_missing_is_left_out(labelled):
    energies = np.array([np.nan, 8.0])
    found = errors(labelled, energies, np.full((5, 3), np.nan), np.full((2, 3, 3), np.nan))
    assert found == {"energy_mae": 0, "energy_rmse": 0, "energy_max": 0}


def test_each_structure_has_one_error(labelled):
    forces = np.zeros((5, 3))
    forces[0] = [0.3, 0, -0.6]
    forces[3] = [0.3, 0, 0]
    found = structure_errors(labelled, labelled.energies, forces)
    np.testing.assert_allclose(found, [0.3, 0.3 / 12])


def test_without_forces_it_is_that_of_the_energy(labelled):
    bare = labelled.with_labels(labelled.energies, np.full((5, 3), np.nan))
    found = structure_errors(bare, np.array([1.1, 7.2]), labelled.forces)
    np.testing.assert_allclose(found, [0.1, 0.2])


def test_uncertainties_that_order_the_errors_correlate_by_rank():
    values, apart = np.array([1.0, 2.0, 3.0, np.nan]), np.array([0.1, 0.2, 0.9, 0.5])
    found = correlations(values, apart)
    assert found["spearman"] == pytest.approx(1.0)
    assert found["pearson"] == pytest.approx(np.corrcoef([1, 2, 3], [0.1, 0.2, 0.9])[0, 1])
    assert correlations(-values, apart)["spearman"] == pytest.approx(-1.0)


def test_what_is_the_same_for_all_correlates_with_nothing():
    nothing = {"pearson": None, "spearman": None}
    assert correlations(np.ones(3), np.arange(3.0)) == nothing
    assert correlations(np.full(3, np.nan), np.arange(3.0)) == nothing
