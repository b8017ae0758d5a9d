import numpy as np
import pytest
from ase import Atoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.unseen import unseen


def dimers(moments, distances=(2.0, 2.0, 2.2)):
    frames = []
    for moment, distance in zip(moments, distances, strict=True):
        atoms = Atoms("Fe2", [(0, 0, 0), (distance, 0, 0)])
        atoms.set_initial_magnetic_moments(moment)
        frames.append(atoms)
    found = Configurations.from_ase(frames)
    return found.with_labels([-1.0, -2.0, -1.5], np.zeros((6, 3)))


def test_states_of_one_geometry_are_said():
    said = unseen(dimers([[1, 1], [1, -1], [1, 1]]))
    assert said == [
        "1 structures differ from others in initial magnetic moments or charges alone (number 1 "
        "from 0), which no model sees: what is learned is in between their labels"
    ]


@pytest.mark.parametrize(
    "structures",
    [
        dimers([[0, 0], [0, 0], [0, 0]]),
        dimers([[1, 1], [1, 1], [1, 1]]),
        dimers([[1, 1], [1, -1], [1, 1]], (2.0, 2.1, 2.2)),
    ],
    ids=["without moments", "the same twice", "other geometries"],
)
def test_what_models_can_tell_apart_is_not(structures):
    assert unseen(structures) == []


def test_a_training_says_so():
    structures = dimers([[1, 1], [1, -1], [1, 1]])
    model = ModelOptions.parse({"architecture": "bpnn", "hidden": [2]})
    record = fit(model.build(["Fe"], 0), structures, model.training({"epochs": 1}), 0)
    assert unseen(structures)[0] in record.warnings
