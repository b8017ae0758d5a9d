"""Variances without draws, against draws."""

import copy

import numpy as np
import pytest
import torch
from ase.build import molecule

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.uncertainty.dropout import DropoutEnergy, DropoutForce

MODELS = {
    "bpnn": {"architecture": "bpnn", "hidden": [6], "cutoff": 3.0},
    "gmnn": {"architecture": "gmnn", "hidden": [5, 12], "cutoff": 3.0},
    "sum": {
        "architecture": "bpnn", "hidden": [6], "cutoff": 3.0, "prior": {"architecture": "morse"},
    },
}  # fmt: skip
RATE = 0.3


def structures():
    frames = [molecule(name) for name in ("CH3OH", "H2O")]
    for atoms in frames:
        atoms.rattle(0.1, seed=1)
    return Configurations.from_ase(frames)


def last_layers(potential):
    """Return the tensors whose entries are the last weights, in their order."""
    learner = potential.terms[-1] if hasattr(potential, "terms") else potential
    if hasattr(learner, "networks"):
        return [network[-1].weight for network in learner.networks]
    return [learner.layers[-1].weight]


@pytest.mark.parametrize("name", MODELS)
def test_deviations_are_those_of_many_draws(name):
    potential = ModelOptions.parse(MODELS[name]).build(["C", "H", "O"], 1)
    some, rng = structures(), np.random.default_rng(0)
    energies, forces = [], []
    for _ in range(600):
        drawn = copy.deepcopy(potential)
        with torch.no_grad():
            for weight in last_layers(drawn):
                kept = rng.random(weight.shape[1]) > RATE
                weight *= torch.from_numpy(kept / (1 - RATE))
        said = drawn.predict(some)
        energies.append(said.energies)
        forces.append(said.forces)
    found = DropoutEnergy(RATE).measure(potential, some)
    np.testing.assert_allclose(found.values * some.counts, np.std(energies, axis=0), rtol=0.15)
    found = DropoutForce(RATE).measure(potential, some)
    expected = np.sqrt(np.var(forces, axis=0).sum(axis=1))
    np.testing.assert_allclose(found.per_atom, expected, rtol=0.2, atol=1e-9)
    assert found.values[0] == found.per_atom[: some.counts[0]].max()


def test_the_last_weights_make_energies_of_the_last_layer():
    for name in MODELS:
        potential = ModelOptions.parse(MODELS[name]).build(["C", "H", "O"], 1)
        graph = potential.graph(structures())
        with torch.no_grad():
            before = potential.atomic_energies(graph)
            part = potential.last_layer(graph) @ potential.last_weights()
            for weight in last_layers(potential):
                weight.zero_()
            after = potential.atomic_energies(graph)
        np.testing.assert_allclose(before - after, part, atol=1e-10)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_that_are_none(rate):
    with pytest.raises(ValueError, match="rate between 0 and 1"):
        plugins.make("uncertainties", {"name": "dropout_energy", "rate": rate})


def test_a_model_without_a_last_layer_is_told_so():
    morse = ModelOptions.parse({"architecture": "morse"}).build(["C", "H", "O"], 0)
    with pytest.raises(ValueError, match="'morse' has no last layer"):
        DropoutEnergy().measure(morse, structures())
