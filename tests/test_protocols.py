import numpy as np
import pytest
from ase.build import molecule

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.simulation import path


@pytest.mark.parametrize("given", ["seed", [1], 3])
def test_overrides_are_a_mapping(given):
    with pytest.raises(ValueError, match="overrides: expected a mapping of inputs, got"):
        protocols.as_overrides(given)


@pytest.mark.parametrize("recipe", ["network", "gp", "bootstrap", "md", "neb", "online", "pool"])
def test_another_architecture_is_trained_as_it_declares(recipe):
    usual = protocols.inputs(recipe)
    other = "gmnn" if usual["model"]["architecture"] != "gmnn" else "bpnn"
    assert "training" not in protocols.inputs(recipe, None, {"model": {"architecture": other}})


def test_what_is_said_of_the_training_of_another_architecture_counts():
    overrides = {"model": {"architecture": "mtp"}, "training": {"epochs": 7}}
    assert protocols.inputs("pool", "fast", overrides)["training"] == {"epochs": 7}


@pytest.mark.parametrize("model", [{"ensemble": 2}, {"architecture": "bpnn", "hidden": [5]}])
def test_the_same_architecture_is_trained_as_the_protocol_says(model):
    usual = protocols.inputs("pool")
    found = protocols.inputs("pool", None, {"model": model, "training": {"epochs": 7}})
    assert found["training"] == {**usual["training"], "epochs": 7}


@pytest.mark.parametrize("protocol", ["fast", "balanced", "stringent"])
def test_no_bond_is_broken_where_a_path_of_the_recipe_begins(protocol):
    """Hydrogen of a methyl group that turns came within 0.6 Å of carbon, 39 eV above the ends."""
    begin = molecule("C2H6")
    end = begin.copy()
    upper = begin.positions[:, 2] > 0
    part = end[upper]
    part.rotate(120, "z")
    end.positions[upper] = part.positions
    neb = plugins.make("simulations", protocols.inputs("neb", protocol)["simulation"])
    images = path.interpolated([begin, end], [0, neb.images - 1], neb.interpolation, True)
    bonded = begin.get_all_distances() < 1.2
    for image in images:
        np.testing.assert_allclose(
            image.get_all_distances()[bonded], begin.get_all_distances()[bonded], atol=0.1
        )
