"""Models of the protocols, trained at one volume of copper (EMT), at other volumes."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from scipy.stats import spearmanr

import aiida_mlal.ml
from aiida_mlal import protocols
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.committee import ForceStd
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd

HERE = Path(__file__).parent
PROTOCOLS = Path(aiida_mlal.ml.__file__).parents[1] / "protocols"


def learned(protocol, seed):
    given = yaml.safe_load((PROTOCOLS / f"{protocol}.yaml").read_text())["default_inputs"]
    train = read(str(HERE / "cu_train.extxyz"))
    potential = ModelOptions.parse(given["model"]).build(train.elements, seed)
    fit(potential, train, build(TrainingOptions, given["training"]), seed)
    return potential


def errors_of(potential, pool):
    """Root mean squares of the errors of the components of forces in eV/Å."""
    squares = ((potential.predict(pool).forces - pool.forces) ** 2).mean(axis=1)
    return np.sqrt(np.add.reduceat(squares, pool.offsets[:-1]) / pool.counts)


@pytest.fixture(scope="module", params=[(p, s) for p in ("network", "pool") for s in range(4)])
def found(request):
    """Uncertainties and errors (eV/Å) of the volume learned, of seven others, and of rattles."""
    protocol, seed = request.param
    potential, pool = learned(protocol, seed), read(str(HERE / "cu_pool.extxyz"))
    return ForceStd().measure(potential, pool).values, errors_of(potential, pool)


@pytest.fixture(scope="module", params=[None, "moving_cell"])
def of_process(request):
    """The same of the default model, for a fixed cell, and for one that moves by its stress."""
    train, pool = read(str(HERE / "cu_train.extxyz")), read(str(HERE / "cu_pool.extxyz"))
    if request.param is not None:
        frames = train.bare.to_ase()
        for atoms in frames:
            atoms.calc = EMT()
            atoms.get_stress()
        train = Configurations.from_ase(frames)
    given = protocols.inputs("gp", None, {}, request.param)
    options = ModelOptions.parse(given["model"])
    potential = options.build(train.elements, 0)
    fit(potential, train, options.training(given["training"]), 0)
    carry(potential, {"name": "gp_std"}, train)
    return ProcessForceStd().measure(potential, pool).values, errors_of(potential, pool)


def check(values, errors):
    assert spearmanr(values, errors).statistic > 0.79999
    assert errors[np.argsort(values)[: len(values) // 2]].max() < 0.5


def test_uncertainties_go_with_errors_far_away(found):
    """And none of the more certain half is wrong by half an eV/Å."""
    check(*found)


def test_so_do_those_of_a_process(of_process):
    check(*of_process)


def test_no_volume_is_as_certain_as_that_of_the_training_set(found):
    values, errors = found
    assert values[1:].min() > values[0]
    assert errors[1:].min() > 0.4 * errors[0]


def test_where_forces_are_wrong_by_1_the_members_disagree(found):
    values, errors = found
    wrong = errors > 1
    if wrong.any():
        assert values[wrong].min() > 10 * values[0]
