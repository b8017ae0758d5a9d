import json

import numpy as np
import pytest
from rattled import alloys

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files, potentials
from aiida_mlal.ml.formats.mlip import cfg
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.tasks.runner import execute
from aiida_mlal.ml.uncertainty.active_set import ActiveSet


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
    potential = single(options, ["Ag", "Pd"], 0)
    potential.types = ("Pd", "Ag")
    potentials.save(potential, "pot.mtp")
    potentials.save(potential, "potential.safetensors")
    alloys(60).save("train.safetensors")
    alloys(9, 1).save("dataset.safetensors")
    return potential


def test_of_structures_and_of_atoms(folder):
    for mode in ("configuration", "neighbourhood"):
        result = execute({"task": "grade", "train": "train.safetensors", "mode": mode})
        assert result["status"] == "ok", result
        wanted = ActiveSet.of(folder, alloys(60), mode)
        graded = Configurations.load("graded.safetensors")
        np.testing.assert_allclose(
            graded.info["grade"], wanted.grades(folder, alloys(9, 1)).values, rtol=1e-6
        )
        assert ("grade" in graded.arrays) == (mode == "neighbourhood")
        assert result["rank"] == wanted.rank < result["n_parameters"]
        assert result["max_grade"] == graded.info["grade"].max()
        json.dumps(result)


def test_of_the_active_set_in_the_file():
    first = execute({"task": "grade", "train": "train.safetensors", "save_potential": "with.almtp"})
    assert first["status"] == "ok", first
    again = execute({"task": "grade", "potential": "with.almtp", "output": "again.safetensors"})
    assert again["max_grade"] == pytest.approx(first["max_grade"])
    wrong = execute({"task": "grade", "potential": "with.almtp", "mode": "neighbourhood"})
    assert wrong["status"] == "invalid_input"
    assert "the training set is needed" in wrong["message"]


def test_an_active_set_that_is_not_full_says_so():
    alloys(2).save("train.safetensors")
    result = execute({"task": "grade", "train": "train.safetensors"})
    assert result["rank"] == 2
    assert result["n_outside"] == 9
    assert "2 of 20 rows of the active set are filled" in result["message"]
    assert Configurations.load("graded.safetensors").info["outside"].all()


def test_types_are_those_of_the_potential(folder):
    """A file that only numbers its types means those of the potential, in its order."""
    cfg.write(alloys(9, 1), "dataset.cfg", ["Pd", "Ag"])
    with open("dataset.cfg") as file:
        lines = [line for line in file if "elements" not in line]
    with open("dataset.cfg", "w") as file:
        file.writelines(lines)
    task = {"task": "grade", "train": "train.safetensors", "dataset": "dataset.cfg"}
    result = execute({**task, "potential": "pot.mtp", "output": "graded.cfg"})
    assert result["status"] == "ok", result
    found = files.read("graded.cfg")
    assert found.formulas == alloys(9, 1).formulas
    wanted = ActiveSet.of(folder, alloys(60)).grades(folder, alloys(9, 1))
    np.testing.assert_allclose(found.info["grade"], wanted.values, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "carries no active set"),
        ({"train": "nothing.safetensors"}, "there is no file"),
        ({"train": "empty.safetensors"}, "has no structures"),
        ({"threshold": 0.5}, "above 1"),
        ({"start": 0.0}, "expected start above 0, got 0.0"),
        ({"start": float("nan")}, "expected a finite number, got nan"),
        ({"save_potential": "with.mtp"}, "expected a format that holds an active set"),
        ({"save_potential": "nowhere/with.almtp"}, "there is no folder nowhere"),
        ({"output": "nowhere/graded.cfg"}, "there is no folder nowhere"),
        ({"output": "graded.zzz"}, "ASE does not know this format"),
        ({"mode": "atoms"}, "unknown choice"),
    ],
)
def test_what_cannot_be(options, words):
    Configurations.empty().save("empty.safetensors")
    result = execute({"task": "grade", **options})
    assert result["status"] == "invalid_input"
    assert words in result["message"]


def test_an_active_set_survives_conversion(folder):
    active = ActiveSet.of(folder, alloys(60), "neighbourhood")
    active.store(folder)
    potentials.save(folder, "a.almtp")
    potentials.save(load_potential("a.almtp"), "b.safetensors")
    again = load_potential("b.safetensors")
    found = ActiveSet.stored(again)
    np.testing.assert_array_equal(found.volume.matrix, active.volume.matrix)
    np.testing.assert_array_equal(found.volume.owners, active.volume.owners)
    assert found.weights == active.weights
    np.testing.assert_allclose(
        found.grades(again, alloys(9, 1)).values, active.grades(folder, alloys(9, 1)).values
    )
    potentials.save(folder, "c.mtp")
    assert not ActiveSet.is_in(load_potential("c.mtp"))
