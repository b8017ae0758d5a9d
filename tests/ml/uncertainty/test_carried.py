"""Which measure speaks for a potential."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.carried import carry, measure_of
from aiida_mlal.ml.uncertainty.committee import ForceStd
from aiida_mlal.ml.uncertainty.grade import Grade
from aiida_mlal.ml.uncertainty.oed import OED

GMNN = {"architecture": "gmnn", "hidden": [8], "cutoff": 4.0}
NOTHING = Configurations.empty()


@pytest.fixture
def copper():
    frames = [bulk("Cu", cubic=True) for _ in range(6)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.02 * (i + 1), seed=i)
    return Configurations.from_ase(frames)


def build(model, seed=0):
    return ModelOptions.parse(model).build(["Cu"], seed)


@pytest.mark.parametrize("options", [{}, {"quantity": "forces"}, {"quantity": "both", "beta": 2.0}])
def test_a_potential_knows_the_options_that_it_was_trained_for(copper, options, tmp_path):
    potential = build(GMNN)
    about = carry(potential, {"name": "oed", **options}, copper[:3])
    assert about["name"] == "oed"
    Checkpoint(potential).save(tmp_path / "potential.safetensors")
    again = load_potential(tmp_path / "potential.safetensors")
    assert measure_of(again, copper) == OED(**options)
    assert Guard(select=1.0).measure(again, copper) == OED(**options)


@pytest.mark.parametrize("options", [{}, {"quantity": "forces"}])
def test_the_query_uncertainty_uses_the_matrix_that_is_carried(copper, options):
    potential = build(GMNN)
    carry(potential, {"name": "oed", **options}, copper[:2])
    query = {"name": "uncertainty", "n": 2}
    found = select(copper, NOTHING, query, potential=potential, taken=[0, 1])
    values = OED(**options).measure(potential, copper).values
    assert found.indices == [i for i in np.argsort(-values) if i > 1][:2]
    scores = [chosen["score"] for chosen in found.selected]
    np.testing.assert_allclose(scores, values[found.indices])
    same = plugins.make("strategies", {"name": "oed", "n": 2, **options})
    assert select(copper, NOTHING, same, potential=potential, taken=[0, 1]).indices == found.indices


def test_an_active_set_of_nobody_knows_which_training_is_a_grade(copper):
    potential = build({"architecture": "mtp", "level": 4, "cutoff": 4.0})
    potential.extras = dict(ActiveSet.of(potential, copper, "configuration").tensors)
    assert isinstance(measure_of(potential, copper), Grade)


def test_a_committee_spreads_and_a_single_potential_knows_nothing(copper):
    assert measure_of(build({**GMNN, "ensemble": 2}), copper) == ForceStd()
    assert measure_of(build(GMNN), copper) is None
    with pytest.raises(ValueError, match="a single potential has none unless it was trained"):
        select(copper, NOTHING, {"name": "uncertainty"}, potential=build(GMNN))


MEASURES = (
    {"name": "grade"},
    {"name": "grade", "mode": "neighbourhood"},
    {"name": "last_layer_energy"},
    {"name": "last_layer_force"},
    {"name": "oed"},
    {"name": "oed", "quantity": "forces"},
    {"name": "dropout_force"},
    {"name": "calibrated", "base": {"name": "dropout_force"}},
    {"name": "calibrated", "base": {"name": "last_layer_force"}},
)


@pytest.mark.parametrize("trained", [None, *MEASURES], ids=str)
def test_what_training_leaves_out_is_known_before(copper, trained):
    """A measure says beforehand whether the potential will carry what it needs."""
    labelled = build(GMNN, seed=1).predict(copper)
    potential = build({**GMNN, "hidden": [2], "cutoff": 3.0})
    if trained is not None:
        carry(potential, trained, labelled[:4], labelled[4:])
    made = None if trained is None else plugins.make("uncertainties", trained)
    for options in MEASURES:
        measure = plugins.make("uncertainties", options)
        try:
            measure.measure(potential, copper)
        except ValueError:
            with pytest.raises(ValueError, match="needs a potential that carries"):
                measure.check_provided(made)
        else:
            measure.check_provided(made)


@pytest.mark.parametrize("options", [*MEASURES, {"name": "force_std"}, {"name": "gp_std"}], ids=str)
@pytest.mark.parametrize(
    "model", [GMNN, {**GMNN, "ensemble": 2}, {"architecture": "mtp", "level": 4}], ids=str
)
def test_a_model_that_a_measure_does_not_suit_is_known_by_its_options(copper, model, options):
    labelled = build(GMNN, seed=1).predict(copper)
    small = {**model, "hidden": [2], "cutoff": 3.0} if model["architecture"] == "gmnn" else model
    potential, measure = build(small), plugins.make("uncertainties", options)
    try:
        carry(potential, options, labelled[:4], labelled[4:])
        measure.measure(potential, copper)
    except ValueError:
        with pytest.raises(
            ValueError, match=r"has no last layer|spread of a comm|no Gaussian process"
        ):
            measure.check_model(ModelOptions.parse(model))
    else:
        measure.check_model(ModelOptions.parse(model))
