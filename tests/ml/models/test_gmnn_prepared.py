"""Training by kernels against the same model in torch, whose derivatives come by autograd."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models import gmnn_prepared as module
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.gmnn_prepared import PreparedGMNN
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.training.options import LossOptions
from aiida_mlal.ml.training.problem import Problem

GMNN = {"architecture": "gmnn", "hidden": [9, 6], "cutoff": 4.0}
MODELS = {
    "ntk": {**GMNN, "descriptor": {"n_radial": 3, "n_basis": 5}},
    "standard": {
        **GMNN,
        "layers": "standard",
        "hidden": [5, 4, 3],
        "descriptor": {"n_radial": 2, "invariants": "full"},
    },
    "one hidden layer": {**GMNN, "hidden": [4], "descriptor": {"n_radial": 1}},
}


def structures():
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.1, seed=0)
    metal = bulk("Cu", cubic=True)
    metal.numbers[0] = 6
    metal.rattle(0.1, seed=1)
    return Configurations.from_ase([ethanol, Atoms("H"), metal])


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def potential(request):
    potential = single(request.param, ["H", "C", "O", "Cu"], 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in potential.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return potential


def problem(potential, prepared, loss):
    generator, graph = torch.Generator().manual_seed(1), prepared.graph

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(potential.dtype)

    n = len(graph.volumes)
    targets = Prediction(random(n), random(len(graph.numbers), 3), random(n, 3, 3))
    return Problem(potential, prepared, targets, LossOptions(*loss))


def test_training_on_the_cpu_is_by_kernels(potential):
    assert isinstance(potential.prepare(potential.graph(structures())), PreparedGMNN)


def test_predictions_are_those_of_the_model(potential):
    graph = potential.graph(structures())
    found = potential.prepare(graph).predict(potential)
    expected = potential(graph)  # by torch, as derivatives are wanted
    for name in ("energies", "forces", "stresses"):
        torch.testing.assert_close(
            getattr(found, name),
            getattr(expected, name),
            rtol=1e-10,
            atol=1e-11,
            equal_nan=True,
        )


@pytest.mark.parametrize("loss", [(1.0, 0.5, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
def test_gradients_of_a_loss_are_those_of_the_model(potential, loss):
    graph = potential.graph(structures())
    gradients = []
    for prepared in (potential.prepare(graph), Prepared(graph)):
        total = problem(potential, prepared, loss).loss()
        found = torch.autograd.grad(total, list(potential.parameters()), materialize_grads=True)
        gradients.append(found)
    for found, expected in zip(*gradients):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_single_precision_is_near_double_precision(potential):
    configurations = structures()
    double = potential.prepare(potential.graph(configurations)).predict(potential)
    potential.to(torch.float32)
    prepared = potential.prepare(potential.graph(configurations))
    found = prepared.predict(potential)
    assert found.forces.dtype == torch.float32
    torch.testing.assert_close(found.forces.double(), double.forces, rtol=1e-4, atol=1e-4)
    problem(potential, prepared, (1.0, 1.0, 0.0)).loss().backward()
    assert all(weight.grad.dtype == torch.float32 for weight in potential.parameters())


def test_some_structures_are_like_all(potential):
    graph = potential.graph(structures())
    prepared, chosen = potential.prepare(graph), np.array([2, 0, 2])
    with torch.no_grad():
        found = prepared.take(chosen).predict(potential)
        expected = prepared.predict(potential).take(graph, chosen)
    torch.testing.assert_close(found.energies, expected.energies)
    torch.testing.assert_close(found.forces, expected.forces)


def test_many_structures_are_predicted_in_portions(potential, monkeypatch):
    graph = potential.graph(structures())
    prepared = potential.prepare(graph)
    with torch.no_grad():
        expected = prepared.predict(potential)
        monkeypatch.setattr(module, "PORTION", 9)
        found = prepared.predict(potential)
    torch.testing.assert_close(found.energies, expected.energies)
    torch.testing.assert_close(found.forces, expected.forces)
    torch.testing.assert_close(found.stresses, expected.stresses, equal_nan=True)
    with torch.no_grad():
        torch.testing.assert_close(prepared.energies(potential), expected.energies)


def test_derivatives_by_each_weight_are_those_of_the_model(potential):
    graph = potential.graph(structures())
    found = potential.prepare(graph).derivatives(potential)
    expected = Prepared(graph).derivatives(potential)
    torch.testing.assert_close(found.energies, expected.energies, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-8, atol=1e-9)
