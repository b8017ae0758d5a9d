"""Committees of the protocols, trained at one volume of copper (EMT), at other volumes."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import spearmanr

import aiida_mlal.ml
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.committee import ForceStd

HERE = Path(__file__).parent
PROTOCOLS = Path(aiida_mlal.ml.__file__).parents[1] / "protocols"


def learned(protocol, seed):
    given = yaml.safe_load((PROTOCOLS / f"{protocol}.yaml").read_text())["default_inputs"]
    train = read(str(HERE / "cu_train.extxyz"))
    potential = ModelOptions.parse(given["model"]).build(train.elements, seed)
    fit(potential, train, build(TrainingOptions, given["training"]), seed)
    return potential


@pytest.fixture(scope="module", params=[(p, s) for p in ("network", "pool") for s in range(4)])
def found(request):
    """Uncertainties and errors (eV/Å) of the volume learned, of seven others, and of rattles."""
    protocol, seed = request.param
    potential, pool = learned(protocol, seed), read(str(HERE / "cu_pool.extxyz"))
    squares = ((potential.predict(pool).forces - pool.forces) ** 2).mean(axis=1)
    errors = np.sqrt(np.add.reduceat(squares, pool.offsets[:-1]) / pool.counts)
    return ForceStd().measure(potential, pool).values, errors


def test_uncertainties_go_with_errors_far_away(found):
    assert spearmanr(*found).statistic > 0.79999


def test_none_of_the_more_certain_half_is_wrong_by_half_an_eV_per_Å(found):
    values, errors = found
    assert errors[np.argsort(values)[: len(values) // 2]].max() < 0.5


def test_no_volume_is_as_certain_as_that_of_the_training_set(found):
    values, errors = found
    assert values[1:].min() > values[0]
    assert errors[1:].min() > 0.4 * errors[0]


def test_where_forces_are_wrong_by_1_the_members_disagree(found):
    values, errors = found
    wrong = errors > 1
    if wrong.any():
        assert values[wrong].min() > 10 * values[0]
