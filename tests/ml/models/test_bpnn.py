import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Prediction
from aiida_mlal.ml.models.bpnn import BPNN, BPNNOptions
from aiida_mlal.ml.models.factory import single


def bpnn(elements=("C", "Cu"), seed=0, **options):
    return single({"architecture": "bpnn", "cutoff": 4.0, **options}, elements, seed)


def alloys(n=4):
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.numbers[0] = 6
        atoms.rattle(0.15, seed=seed)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def initialise(potential, structures, energies):
    graph = potential.graph(structures)
    n = len(structures.numbers)
    targets = Prediction(
        torch.tensor(energies, dtype=torch.float64),
        torch.full((n, 3), torch.nan, dtype=torch.float64),
        torch.full((len(structures), 3, 3), torch.nan, dtype=torch.float64),
    )
    potential.initialise(potential.prepare(graph), targets, 0)
    return potential.features(graph).numpy(), potential.species(graph.numbers).numpy()


def test_the_network_of_the_paper():
    """Two hidden layers of twenty nodes for each element, on 8 + 12 functions for two elements."""
    potential = single({"architecture": "bpnn"}, ["C", "Cu"], 0)
    assert potential.cutoff == 6.0
    assert potential.descriptor.n_features == 20
    n = 20 * 20 + 20 + 20 * 20 + 20 + 20 + 1
    assert sum(p.numel() for p in potential.parameters()) == 2 * n


def test_the_energy_of_an_atom_by_hand():
    potential = bpnn(hidden=[5, 3])
    structures = alloys()
    features, species = initialise(potential, structures, [-9.0, -8.5, -8.0, -7.0])
    expected = np.zeros(len(structures))
    for owner, x, element in zip(structures.owner, features, species):
        low, high = (t[element].numpy() for t in (potential.low, potential.high))
        x = -1 + 2 * (x - low) / (high - low)
        layers = [m for m in potential.networks[element] if isinstance(m, torch.nn.Linear)]
        for k, layer in enumerate(layers):
            x = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
            x = np.tanh(x) if k < 2 else x
        expected[owner] += potential.scale.item() * x[0] + potential.shift[element].item()
    np.testing.assert_allclose(potential.predict(structures).energies, expected, rtol=1e-12)


def test_features_are_scaled_element_by_element():
    potential, structures = bpnn(), alloys()
    features, species = initialise(potential, structures, [-9.0, -8.5, -8.0, -7.0])
    for element in (0, 1):
        mine = features[species == element]
        differ = np.ptp(mine, axis=0) > 1e-8
        assert differ.sum() >= 12
        low, high = potential.low[element].numpy(), potential.high[element].numpy()
        np.testing.assert_array_equal(low, np.where(differ, mine.min(axis=0), -1))
        np.testing.assert_array_equal(high, np.where(differ, mine.max(axis=0), 1))


def test_features_that_are_all_alike_are_left_as_they_are():
    potential = bpnn()
    crystal = Configurations.from_ase([bulk("Cu", cubic=True)] * 2)
    initialise(potential, crystal, [-1.0, -2.0])
    for element in (0, 1):  # copper is always the same, carbon was never seen
        assert potential.low[element].unique().tolist() == [-1]
        assert potential.high[element].unique().tolist() == [1]
    assert np.isfinite(potential.predict(alloys()).forces).all()


def test_energies_are_scaled_by_their_mean_and_spread_per_atom():
    potential = bpnn()
    frames = [bulk("Cu"), bulk("Cu", cubic=True), molecule("C2H2")[[0, 1]]]
    initialise(potential, Configurations.from_ase(frames), [-3.0, -16.0, np.nan])
    assert potential.shift.tolist() == pytest.approx([-3.5, -3.5])
    assert potential.scale.item() == pytest.approx(0.5)


@pytest.mark.parametrize("energies", [[-8.0] * 4, [-8.0, np.nan, np.nan, np.nan]])
def test_equal_energies_are_not_scaled(energies):
    potential = bpnn()
    initialise(potential, alloys(), energies)
    assert potential.scale.item() == 1.0
    assert potential.shift.tolist() == [-2.0, -2.0]


def test_without_energies_nothing_is_shifted():
    potential = bpnn()
    initialise(potential, alloys(), [np.nan] * 4)
    assert potential.scale.item() == 1.0
    assert potential.shift.tolist() == [0.0, 0.0]


def test_initialising_again_forgets_the_first_time():
    once, twice = bpnn(), bpnn()
    initialise(twice, Configurations.from_ase(Atoms("C2", np.eye(3)[:2] * 1.2)), [-50.0])
    for potential in (once, twice):
        initialise(potential, alloys(), [-9.0, -8.5, -8.0, -7.0])
    for one, other in zip(once.state_dict().values(), twice.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_each_element_has_a_network_of_its_own():
    potential, structures = bpnn(), alloys(1)
    before = potential.predict(structures).energies
    with torch.no_grad():
        for weight in potential.networks[0].parameters():
            weight.zero_()
    after = potential.predict(structures).energies
    assert before != after
    copper = Configurations.from_ase(bulk("Cu"))
    with torch.no_grad():
        for weight in potential.networks[1].parameters():
            weight.zero_()
    assert potential.predict(copper).energies == [0.0]


def test_without_hidden_layers_it_is_linear():
    potential = bpnn(hidden=[])
    assert sum(p.numel() for p in potential.parameters()) == 2 * (20 + 1)


def test_features_are_shared_by_networks_of_equal_functions_only():
    base = bpnn()
    assert base.describes_like(bpnn(seed=3, hidden=[2]))
    narrow = {"g2_etas": [0.1]}
    for other in (bpnn(cutoff=4.5), bpnn(elements=["Cu"]), bpnn(descriptor=narrow)):
        assert not base.describes_like(other)
    assert not base.describes_like(single({"architecture": "morse"}, ["C", "Cu"], 0))
    assert not base.describes_like(bpnn().to(torch.float32))


def test_a_description_keeps_the_functions():
    options = {"g2_etas": [0.3], "g4_etas": [], "eta_units": "1/A^2", "g2_centres": [1.0, 2.0]}
    again = BPNN.restore(bpnn(descriptor=options).describe())
    assert again.options.descriptor.g2_centres == (1.0, 2.0)
    assert again.descriptor.n_features == 4
    assert torch.equal(again.descriptor.radial[:, 0], torch.full((2,), 0.3, dtype=torch.float64))


def test_layers_without_nodes_are_refused():
    with pytest.raises(ValueError, match=r"widths of hidden layers above 0, got \[3, 0\]"):
        BPNNOptions(hidden=(3, 0))
