import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.descriptor import Described, DescriptorPotential
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prepared import Prepared

STRUCTURES = {
    "an atom that is its own neighbour": lambda: Atoms(
        "Cu", cell=[[2.2, 0.1, 0], [0.3, 2.4, 0.2], [0, -0.3, 2.6]], pbc=True
    ),
    "two atoms with many images": lambda: Atoms(
        "CuC", [[0, 0, 0], [1.1, 1.3, 0.9]], cell=[2.4, 2.3, 2.5], pbc=True
    ),
    "lone atom": lambda: Atoms("C"),
    "molecule": lambda: Atoms("CuC2", [[0, 0, 0], [1.9, 0.2, 0], [0.3, 1.8, 0.4]]),
    "crystal": lambda: bulk("Cu", cubic=True),
}


class Quadratic(DescriptorPotential):
    """Coordination numbers, and an energy that is quadratic in them."""

    def __init__(self):
        super().__init__(["C", "Cu"], 3.0)
        weights = torch.tensor([[0.3, -0.2], [1.1, 0.7]], dtype=torch.float64)
        self.weights = torch.nn.Parameter(weights)
        self.common = torch.nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def features(self, graph):
        near = (1 - graph.distances / self.cutoff) ** 3
        neighbour = self.species(graph.numbers)[graph.pairs[1]]
        own = torch.nn.functional.one_hot(neighbour, 2).to(near.dtype)
        return graph.sum_over_neighbours(near[:, None] * own)

    def readout(self, features, element):
        return features @ self.weights[element] + self.common * features.square().sum(-1)

    def config(self):
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError


@pytest.fixture(params=["quadratic", "bpnn"])
def potential(request):
    if request.param == "quadratic":
        return Quadratic()
    return single({"architecture": "bpnn", "hidden": [4, 3], "cutoff": 3.0}, ["C", "Cu"], 1)


def of(*frames):
    return Configurations.from_ase(frames)


def assert_same(one, other):
    for name in ("energies", "forces", "stresses"):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), rtol=1e-10, atol=1e-12, equal_nan=True
        )


@pytest.mark.parametrize("make", STRUCTURES.values(), ids=STRUCTURES)
def test_a_description_says_what_the_potential_says(potential, make):
    graph = potential.graph(of(make()))
    assert_same(potential.prepare(graph).predict(potential), potential(graph))


def test_a_description_of_many_structures(potential):
    structures = of(*(make() for make in STRUCTURES.values()))
    graph = potential.graph(structures)
    prepared = potential.prepare(graph)
    assert isinstance(prepared, Described)
    assert_same(prepared.predict(potential), potential(graph))
    which = np.array([4, 0, 0, 2, 3])
    expected = potential(potential.graph(structures[which]))
    assert_same(prepared.take(which).predict(potential), expected)
    assert_same(prepared.take(which).take(np.array([1])).predict(potential), expected_of(potential))


def expected_of(potential):
    return potential(potential.graph(of(STRUCTURES["an atom that is its own neighbour"]())))


def test_images_of_a_neighbour_are_kept_together(potential):
    """What is stored grows with pairs of atoms, not with images."""
    prepared = potential.prepare(potential.graph(of(STRUCTURES["two atoms with many images"]())))
    assert prepared.graph.pairs.tolist() == [[0, 0, 1, 1], [0, 1, 0, 1]]
    assert len(prepared.jacobian) == 4


def test_no_structures(potential):
    prepared = potential.prepare(potential.graph(Configurations.empty()))
    assert prepared.predict(potential).energies.shape == (0,)


def test_derivatives_by_weights_are_those_of_autograd(potential):
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=1)
    frames = [make() for make in STRUCTURES.values()]
    mixed = frames[3][[2, 0, 1]]  # the molecule, its atoms in another order
    graph = potential.graph(of(*frames, rattled, mixed, Atoms()))
    periodic = graph.volumes.isfinite()
    for weights in (None, list(potential.parameters())[:2]):
        found = potential.prepare(graph).derivatives(potential, weights)
        expected = Prepared(graph).derivatives(potential, weights)
        torch.testing.assert_close(found.energies, expected.energies)
        torch.testing.assert_close(found.forces, expected.forces)
        torch.testing.assert_close(found.stresses[:, periodic], expected.stresses[:, periodic])


def test_derivatives_in_blocks_are_the_same(potential, monkeypatch):
    graph = potential.graph(of(*(make() for make in STRUCTURES.values()), bulk("Cu", cubic=True)))
    prepared = potential.prepare(graph)
    whole = prepared.derivatives(potential)
    monkeypatch.setattr("aiida_mlal.ml.models.descriptor.LARGEST", 1)
    assert_same(prepared.derivatives(potential), whole)
