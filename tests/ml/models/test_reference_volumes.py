import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.reference_volumes import ReferenceVolumes
from aiida_mlal.ml.training.fit import fit


def copper(a, repeat=1):
    return bulk("Cu", cubic=True, a=a) * (repeat, 1, 1)


def slab(symbol="Cu", vacuum=7.0):
    atoms = fcc100(symbol, (2, 2, 2), vacuum=vacuum)
    atoms.pbc = True
    return atoms


def graph_of(frames):
    potential = ModelOptions.parse({"architecture": "gp", "cutoff": 4.0}).build(["O", "Cu"], 0)
    return potential.graph(Configurations.from_ase(frames))


def references(frames, energies=None):
    graph = graph_of(frames)
    nothing = torch.zeros(0)
    energies = torch.zeros(len(frames)) if energies is None else torch.tensor(energies)
    return ReferenceVolumes.of(graph, Prediction(energies, nothing, nothing))


def test_crystals_are_compared_with_the_mean_volume_of_an_atom():
    """Also in other cells: the mean is over atoms."""
    frames = [copper(3.5), copper(3.7, 2), copper(3.9)]
    excess = references(frames).excess(graph_of(frames))
    volumes = np.array([atoms.get_volume() for atoms in frames])
    counts = np.array([4, 8, 4])
    mean = volumes.sum() / counts.sum()
    np.testing.assert_allclose(excess, volumes - mean * counts, rtol=1e-12)


@pytest.mark.parametrize(
    "other", [slab(), Atoms("Cu", cell=[15] * 3, pbc=True), bulk("CuO", "rocksalt", a=4.2)]
)
def test_vacuum_and_other_compositions_are_apart(other):
    crystals = [copper(3.5), copper(3.7)]
    alone = references(crystals).excess(graph_of(crystals))
    together = references([*crystals, other]).excess(graph_of([*crystals, other]))
    np.testing.assert_array_equal(together, [*alone, 0])


def test_structures_that_were_not_known_are_compared_with_those_that_they_are_like():
    known = references([copper(3.5), copper(3.7), slab()])
    excess = known.excess(
        graph_of([copper(3.8), slab(vacuum=12), copper(9.0), bulk("CuO", "rocksalt", a=4)])
    )
    middle = (3.5**3 + 3.7**3) / 2
    assert excess[0] == pytest.approx(3.8**3 - middle)
    assert excess[1:].tolist() == [0, 0, 0]


def test_structures_without_an_energy_or_a_period_count_nothing():
    molecule = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]])
    frames = [copper(3.5), copper(3.7), molecule]
    known = references(frames, [0.0, np.nan, 0.0])
    np.testing.assert_allclose(known.excess(graph_of(frames)), [0, 3.7**3 - 3.5**3, 0], atol=1e-9)


def test_a_gaussian_process_tells_crystals_slabs_and_molecules_in_periodic_cells():
    """Energies were off by up to 29 meV/atom: vacuum counted as a crystal that is pulled."""
    rng, frames = np.random.default_rng(0), []
    for k in range(4):
        frames += [copper(3.55 + 0.05 * k, 2), slab("Cu")]
        frames.append(Atoms("O2", [[0, 0, 0], [0, 0, 1.2 + 0.05 * k]], cell=[12] * 3, pbc=True))
    for atoms in frames:
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_stress()
    labels = Configurations.from_ase(frames)
    model = ModelOptions.parse({"architecture": "gp"})
    potential = model.build(labels.elements, 0)
    record = fit(potential, labels, model.training({}), 0)
    assert record.learned
    off = (potential.predict(labels).energies - labels.energies) / labels.counts
    assert abs(off).max() < 2e-4
