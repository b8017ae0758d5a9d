import numpy as np
import pytest

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute


def test_says_how_far_predictions_are_from_labels(dataset, potential):
    result = execute({"task": "evaluate"})
    assert result["status"] == "ok", result
    predicted = potential.predict(dataset)
    expected = abs(predicted.energies - dataset.energies).mean() / 4
    assert result["errors"]["energy_mae"] == pytest.approx(expected)
    written = Configurations.load("predictions.safetensors")
    np.testing.assert_array_equal(written.energies, dataset.energies)
    np.testing.assert_allclose(written.info["predicted_energy"], predicted.energies)
    np.testing.assert_allclose(written.arrays["predicted_forces"], predicted.forces)
    np.testing.assert_allclose(written.info["predicted_stress"], predicted.stresses)


def test_structures_without_labels_are_predicted_all_the_same(start, potential):
    result = execute({"task": "evaluate", "dataset": "structures.safetensors"})
    assert result["status"] == "ok"
    assert result["errors"] == {}
