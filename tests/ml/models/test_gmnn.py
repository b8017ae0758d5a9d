import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction

SMALL = {"architecture": "gmnn", "hidden": [8, 5], "cutoff": 4.0, "descriptor": {"n_radial": 3}}


def ethanol(seed=0):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_the_network_of_the_paper_has_more_than_142000_weights():
    potential = single({"architecture": "gmnn"}, ["C", "H", "O"], 0)
    weights = [layer.weight for layer in potential.layers]
    assert [tuple(w.shape) for w in weights] == [(256, 427), (128, 256), (1, 128)]
    assert sum(w.numel() for w in weights) == 142_208


@pytest.mark.parametrize("layers", ["standard", "ntk"])
def test_invariant_to_ten_digits_at_full_size(layers):
    potential = single({"architecture": "gmnn", "layers": layers}, ["C", "H", "O"], 0)
    atoms = ethanol()
    turn = -Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions = moved.positions @ turn.T + [0.3, -5.0, 11.0]
    first, second = potential.predict(Configurations.from_ase([atoms, moved]))
    np.testing.assert_allclose(second.energies, first.energies, rtol=1e-10)
    np.testing.assert_allclose(second.forces, first.forces[order] @ turn.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers", ["standard", "ntk"])
def test_the_last_layer_is_the_derivative_by_its_weights(layers):
    potential = single({**SMALL, "layers": layers}, ["C", "H", "O"], 0)
    with torch.no_grad():
        potential.scale.copy_(torch.tensor([0.3, 2.0, 1.1]))
    graph = potential.graph(Configurations.from_ase([ethanol(), ethanol(1)]))
    weight = potential.layers[-1].weight
    expected = [
        torch.autograd.grad(energy, weight, retain_graph=True)[0].ravel()
        for energy in potential.atomic_energies(graph)
    ]
    torch.testing.assert_close(
        potential.last_layer(graph), torch.stack(expected), rtol=1e-12, atol=1e-14
    )


def test_the_last_layer_is_a_function_of_positions():
    potential = single(SMALL, ["C", "H", "O"], 0)
    graph = potential.graph(Configurations.from_ase(ethanol()))
    graph.vectors.requires_grad_()
    features = potential.last_layer(graph)
    (slopes,) = torch.autograd.grad(features.sum(), graph.vectors)
    assert slopes.abs().min() > 0


def targets(configurations, energies):
    return Prediction(
        torch.as_tensor(energies),
        torch.full((len(configurations.numbers), 3), torch.nan, dtype=torch.float64),
        torch.full((len(energies), 3, 3), torch.nan, dtype=torch.float64),
    )


def test_shifts_are_the_energies_of_atoms_that_explain_the_compositions():
    frames = [molecule(name) for name in ("H2O", "CH4", "CH3CH2OH", "CO2", "H2", "O2")]
    configurations = Configurations.from_ase(frames)
    known = {1: -13.6, 6: -1030.0, 8: -2041.5}
    energies = np.array([sum(known[z] for z in atoms.numbers) for atoms in frames])
    noise = 0.01 * np.random.default_rng(0).normal(size=len(frames))
    potential = single(SMALL, ["H", "C", "O"], 0)
    prepared = potential.prepare(potential.graph(configurations))
    potential.initialise(prepared, targets(configurations, energies + noise), 0)
    np.testing.assert_allclose(potential.shift.detach(), list(known.values()), atol=0.05)
    assert 1e-4 < float(potential.scale.detach().mean()) < 0.02


def test_without_energies_nothing_is_set():
    potential = single(SMALL, ["Cu"], 0)
    configurations = Configurations.from_ase(bulk("Cu"))
    before = {key: value.clone() for key, value in potential.state_dict().items()}
    prepared = potential.prepare(potential.graph(configurations))
    potential.initialise(prepared, targets(configurations, [np.nan]), 0)
    after = potential.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("hidden", [[], [3, 0]])
def test_layers_without_nodes_are_refused(hidden):
    with pytest.raises(ValueError, match="one hidden layer or more"):
        single({"architecture": "gmnn", "hidden": hidden}, ["Cu"], 0)
