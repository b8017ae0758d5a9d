from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.tasks.runner import execute
from aiida_mlal.ml.uncertainty.committee import ForceStd


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
    result = execute({"task": "evaluate", "dataset": "structures.safetensors", "output": None})
    assert result["status"] == "invalid_input"
    assert result["message"] == "structures.safetensors has no labels to compare with"


def test_predictions_that_are_not_finite_are_said(copper, folder):
    Checkpoint(single({"architecture": "mtp", "level": 2}, ["Cu"], 0)).save("potential.safetensors")
    positions = copper.positions.copy()
    positions[9] = positions[8]
    replace(copper, positions=positions).save("dataset.safetensors")
    message = execute({"task": "evaluate"})["message"]
    assert "the predictions for 1 of 4 structures, the first is 2, are not finite; 1 of" in message


def test_positions_that_are_not_finite_are_refused(start, potential):
    positions = start.positions.copy()
    positions[5, 1] = np.inf
    replace(start, positions=positions).save("dataset.safetensors")
    result = execute({"task": "evaluate"})
    assert result["status"] == "invalid_input"
    assert "structure 1 (Cu4): the position of atom 1 is not finite" in result["message"]


def test_what_cannot_be_predicted_is_named_with_file_and_structure(start, potential):
    cells = start.cells.copy()
    cells[1, 2] = cells[1, 0] + cells[1, 1]
    replace(start, cells=cells).save("flat.safetensors")
    result = execute({"task": "evaluate", "dataset": "flat.safetensors"})
    assert result["status"] == "invalid_input"
    assert result["message"].startswith("flat.safetensors: structure 1 (Cu4): the lattice vectors")
    numbers = start.numbers.copy()
    numbers[5] = 46
    replace(start, numbers=numbers).save("others.safetensors")
    message = execute({"task": "evaluate", "dataset": "others.safetensors"})["message"]
    assert message.startswith("others.safetensors: structure 1 (Cu3Pd): the potential knows")


@pytest.mark.parametrize("keep_labels", [True, False])
@pytest.mark.parametrize("output", ["predictions.safetensors", "predictions.extxyz"])
def test_what_was_measured_is_written_with_the_predictions(dataset, potential, output, keep_labels):
    options = {"uncertainty": {"name": "force_std"}, "output": output, "keep_labels": keep_labels}
    result = execute({"task": "evaluate", **options})
    assert result["status"] == "ok", result
    expected, written = ForceStd().measure(potential, dataset), read(output)
    np.testing.assert_allclose(written.info["uncertainty"], expected.values, atol=1e-7)
    np.testing.assert_allclose(written.arrays["uncertainties"], expected.per_atom, atol=1e-7)


def test_says_how_uncertainties_go_with_errors(dataset, potential):
    result = execute({"task": "evaluate", "uncertainty": {"name": "force_std"}, "output": None})
    assert result["status"] == "ok", result
    predicted = potential.predict(dataset)
    values = ForceStd().measure(potential, dataset).values
    apart = np.abs(predicted.forces - dataset.forces).reshape(len(dataset), -1).mean(axis=1)
    found = result["uncertainty"]
    assert found["pearson"] == pytest.approx(np.corrcoef(values, apart)[0, 1])
    assert (found["kind"], found["max"]) == ("force_std", pytest.approx(values.max()))
    forces = found["calibration"]["forces"]
    assert forces["n"] == len(dataset.numbers)
    assert set(forces["factors"]) == {"conformal", "gaussian", "log"}
    assert not Path("predictions.safetensors").exists()
    np.testing.assert_allclose(found["values"], values)
    message = execute({"task": "evaluate", "uncertainty": {"name": "force_sdt"}})["message"]
    assert "did you mean 'force_std'" in message


def test_says_where_atoms_are_nearer_than_the_radial_functions_are_made_for(copper, folder):
    model = {"architecture": "mtp", "level": 2, "radial_basis_size": 4, "min_dist": 2.0}
    Checkpoint(single(model, ["Cu"], 0)).save("potential.safetensors")
    positions = copper.positions.copy()
    positions[9] = positions[8] + [1.5, 0, 0]
    replace(copper, positions=positions).save("dataset.safetensors")
    message = execute({"task": "evaluate"})["message"]
    assert message.startswith("1 of 4 structures, the first is 2, have atoms nearer than min_dist")
    copper.save("dataset.safetensors")
    assert execute({"task": "evaluate"})["message"] == ""
