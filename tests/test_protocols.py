import pytest

from aiida_mlal import protocols


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
