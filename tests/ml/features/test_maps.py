"""What holds for all feature maps, and what each of them is."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from installed import ours

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.features.gradient import Gradient
from aiida_mlal.ml.models.capabilities import HasLayers
from aiida_mlal.ml.models.factory import ModelOptions

MODELS = {
    "bpnn": {"architecture": "bpnn", "hidden": [6, 5], "cutoff": 3.0},
    "gmnn": {"architecture": "gmnn", "hidden": [7, 6], "cutoff": 3.0},
    "gmnn of standard layers": {
        "architecture": "gmnn", "hidden": [7], "cutoff": 3.0, "layers": "standard",
    },
    "mtp": {"architecture": "mtp", "level": 6, "cutoff": 3.0, "min_dist": 0.7},
    "sum": {
        "architecture": "bpnn", "hidden": [4], "cutoff": 3.0,
        "prior": {"architecture": "morse", "cutoff": 3.5},
    },
    "ensemble": {"architecture": "bpnn", "hidden": [4], "cutoff": 3.0, "ensemble": 2},
}  # fmt: skip
MAPS = {
    "descriptor": {"name": "descriptor"},
    "gradient": {"name": "gradient"},
    "all of the gradient": {"name": "gradient", "size": None},
    "a sketch of the gradient": {"name": "gradient", "size": 20},
    "last layer": {"name": "last_layer"},
}


def structures(n=6):
    frames = []
    for i in range(n):
        atoms = molecule(("CH3OH", "H2O", "CH4")[i % 3])
        atoms.rattle(0.1, seed=i)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def build(name):
    potential = ModelOptions.parse(MODELS[name]).build(["C", "H", "O"], 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in potential.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return potential


@pytest.fixture(params=MODELS)
def potential(request):
    return build(request.param)


def test_every_map_of_the_package_is_here():
    assert {options["name"] for options in MAPS.values()} == ours("features")


@pytest.mark.parametrize("options", MAPS.values(), ids=MAPS)
def test_rows_belong_to_structures_not_to_their_company(potential, options):
    if options["name"] == "last_layer" and potential.config()["architecture"] == "mtp":
        pytest.skip("has no last layer")
    maker, some = plugins.make("features", options), structures()
    together = maker.matrix(potential, some)
    order = [3, 1, 5]
    np.testing.assert_allclose(maker.matrix(potential, some[order]), together[order], atol=1e-10)
    assert (np.linalg.norm(together, axis=1) > 0).all()
    averaged = plugins.make("features", {**options, "per_atom": True}).matrix(potential, some)
    np.testing.assert_allclose(averaged, together / some.counts[:, None])


def test_the_whole_gradient_is_the_derivative_of_the_energy(potential):
    some = structures()
    found = Gradient(size=None).matrix(potential, some)
    for i, one in enumerate(some):
        with torch.enable_grad():
            energy = potential.atomic_energies(potential.graph(one)).sum()
        weights = [w for w in potential.parameters() if w.requires_grad]
        slopes = torch.autograd.grad(energy, weights, allow_unused=True)
        expected = [
            (torch.zeros_like(w) if s is None else s).flatten() for w, s in zip(weights, slopes)
        ]
        expected = np.sort(torch.cat(expected).numpy())
        np.testing.assert_allclose(np.sort(found[i]), expected, atol=1e-10)


def test_layers_are_the_derivatives_by_their_weights(potential):
    some = structures(3)
    graph = potential.graph(some)
    if potential.config()["architecture"] == "mtp":
        assert not isinstance(potential, HasLayers)
        return
    layers = potential.layer_gradients(graph)
    rows = potential.parameter_gradients(graph).numpy()
    for layer in layers:
        products = layer.slopes[:, :, None] * layer.inputs[:, None, :]
        full = products.new_zeros(len(graph.numbers), *products.shape[1:])
        columns = full.index_add(0, layer.atoms, products).flatten(1).numpy()
        apart = abs(columns.T[:, None] - rows.T[None]).max(axis=2).min(axis=1)
        np.testing.assert_allclose(apart, 0, atol=1e-10)


@pytest.mark.parametrize("name", ["bpnn", "gmnn", "gmnn of standard layers"])
def test_products_of_sketches_are_those_of_gradients_on_average(name):
    potential, some = build(name), structures()
    layers = potential.layer_gradients(potential.graph(some))
    exact = np.zeros((len(some), len(some)))
    owner = some.owner
    for layer in layers:
        products = (layer.slopes[:, :, None] * layer.inputs[:, None, :]).flatten(1).numpy()
        rows = np.zeros((len(some), products.shape[1]))
        np.add.at(rows, owner[layer.atoms.numpy()], products)
        exact += rows @ rows.T
    kernels = []
    for seed in range(60):
        sketch = Gradient(size=60, seed=seed).matrix(potential, some)
        kernels.append(sketch @ sketch.T)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    error = (np.mean(kernels, axis=0) - exact) / scale
    spread = np.std(kernels, axis=0) / scale / np.sqrt(60)
    assert abs(error).max() < 5 * spread.max()
    assert abs(error).max() < 0.15


@pytest.mark.parametrize("name", ["gmnn", "gmnn of standard layers"])
def test_features_without_derivatives_are_those_with(name):
    potential, some = build(name), structures()
    graph = potential.graph(some)
    with torch.inference_mode():
        fast = potential.features(graph), potential.last_layer(graph)
    slow = potential.features(graph), potential.last_layer(graph)
    for one, other in zip(fast, slow):
        np.testing.assert_allclose(one.numpy(), other.detach().numpy(), atol=1e-12)


def test_what_a_model_does_not_have_is_said():
    with pytest.raises(ValueError, match=r"'mtp' has no last layer.*'bpnn', 'gmnn'"):
        plugins.make("features", {"name": "last_layer"}).matrix(build("mtp"), structures())
    morse = ModelOptions.parse({"architecture": "morse"}).build(["C", "H", "O"], 0)
    with pytest.raises(ValueError, match="'morse' has no descriptors of atoms"):
        plugins.make("features", {"name": "descriptor"}).matrix(morse, structures())
    with pytest.raises(ValueError, match="'morse' has no weights"):
        Gradient().matrix(morse, structures())


def test_features_that_are_no_numbers_are_named():
    potential = build("bpnn")
    with torch.no_grad():
        potential.scale.fill_(torch.nan)
    with pytest.raises(ValueError, match="features of 6 structures are not finite"):
        plugins.make("features", {"name": "last_layer"}).matrix(potential, structures())


def test_a_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size above 0 or null"):
        Gradient(size=0)
