import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.bpnn import BPNN, STRAIN, BPNNOptions
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction


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
            x = np.arcsinh(x) if k < 2 else x
        expected[owner] += potential.scale.item() * x[0] + potential.shift[element].item()
    np.testing.assert_allclose(potential.predict(structures).energies, expected, rtol=1e-12)


def swells(potential, structures, step=1e-5):
    """What the features of each atom change by, per strain."""
    sides = []
    for sign in (1, -1):
        frames = structures.to_ase()
        for atoms in frames:
            atoms.set_cell(atoms.cell * (1 + sign * step), scale_atoms=True)
        strained = Configurations.from_ase(frames)
        sides.append(potential.features(potential.graph(strained)).numpy())
    return abs(sides[0] - sides[1]) / (2 * step)


def test_features_are_scaled_element_by_element():
    potential, structures = bpnn(), alloys()
    features, species = initialise(potential, structures, [-9.0, -8.5, -8.0, -7.0])
    swell = swells(potential, structures)
    for element in (0, 1):
        mine = features[species == element]
        least = 2 * STRAIN * swell[species == element].mean(axis=0)
        width = np.maximum(np.ptp(mine, axis=0), least)
        assert (width > 1e-8).sum() >= 12
        centre = (mine.min(axis=0) + mine.max(axis=0)) / 2
        low = np.where(width > 1e-8, centre - width / 2, -1)
        high = np.where(width > 1e-8, centre + width / 2, 1)
        np.testing.assert_allclose(potential.low[element].numpy(), low, atol=1e-6)
        np.testing.assert_allclose(potential.high[element].numpy(), high, atol=1e-6)


def test_features_wider_apart_than_a_strain_are_scaled_by_their_extremes():
    potential = bpnn(["Cu"])
    frames = [Atoms("Cu2", [[0, 0, 0], [r, 0, 0]]) for r in (0.5, 3.9, 3.95, 3.99)]
    features, _ = initialise(potential, Configurations.from_ase(frames), [-9.0, -8.5, -8.0, -8.0])
    low, high = potential.low[0].numpy(), potential.high[0].numpy()
    at = np.flatnonzero(np.isclose(low, features.min(axis=0), rtol=1e-12))
    assert len(at)
    np.testing.assert_allclose(high[at], features.max(axis=0)[at], rtol=1e-12)


def test_features_that_are_all_alike_have_the_range_of_a_strain():
    potential = bpnn()
    crystal = Configurations.from_ase([bulk("Cu", cubic=True)] * 2)
    features, _ = initialise(potential, crystal, [-1.0, -2.0])
    assert potential.low[0].unique().tolist() == [-1]  # carbon was never seen
    assert potential.high[0].unique().tolist() == [1]
    differ = features[0] > 1e-8  # none has a neighbour of carbon
    assert potential.low[1][~differ].unique().tolist() == [-1]
    middle = (potential.low[1] + potential.high[1]).numpy() / 2
    np.testing.assert_allclose(middle[differ], features[0][differ])
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
    again = BPNN.from_config(bpnn(descriptor=options).config())
    assert again.options.descriptor.g2_centres == (1.0, 2.0)
    assert again.descriptor.n_features == 4
    assert torch.equal(again.descriptor.radial[:, 0], torch.full((2,), 0.3, dtype=torch.float64))


def test_layers_without_nodes_are_refused():
    with pytest.raises(ValueError, match=r"widths of hidden layers above 0, got \[3, 0\]"):
        BPNNOptions(hidden=(3, 0))
