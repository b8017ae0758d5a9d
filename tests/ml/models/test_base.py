import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from torch import nn

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models import base
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.models.prediction import Prediction


class Springs(Potential):
    """Pairs held by springs of a strength that is learned, and a constant."""

    def __init__(self, elements=("C", "Cu"), cutoff=3.0):
        super().__init__(elements, cutoff)
        self.strength = nn.Parameter(torch.tensor([0.7, 1.9], dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.fixed = nn.Parameter(torch.ones(3, dtype=torch.float64), requires_grad=False)

    def atomic_energies(self, graph):
        strengths = self.strength[self.species(graph.numbers)]
        return strengths * graph.sum_over_neighbours((graph.distances - self.cutoff) ** 3)

    def config(self):
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError


def alloy():
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[:2] = 6
    atoms.rattle(0.15, seed=1)
    return atoms


@pytest.fixture
def structures():
    cluster = Atoms("CuC2", [[0, 0, 0], [1.9, 0.2, 0], [0.3, 1.8, 0.4]])
    return Configurations.from_ase([alloy(), cluster, Atoms("C"), alloy()])


def vector(potential):
    return nn.utils.parameters_to_vector([w for w in potential.parameters() if w.requires_grad])


def parts(prediction):
    return {f.name: getattr(prediction, f.name) for f in fields(prediction)}


def assert_close(one, other, **tolerances):
    tolerances = {"rtol": 1e-9, "atol": 1e-10} | tolerances
    for name, values in parts(one).items():
        torch.testing.assert_close(
            values,
            getattr(other, name),
            equal_nan=True,
            msg=lambda m, n=name: f"{n}: {m}",
            **tolerances,
        )


def test_elements_stand_by_atomic_number():
    potential = Springs(["Cu", "H", "C"])
    assert potential.elements == ("H", "C", "Cu")
    assert potential.species(torch.tensor([29, 1, 6, 29])).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("number", [0, 1, 8, 118])
def test_elements_that_are_not_known_are_named(number):
    with pytest.raises(ValueError, match=r"knows \['C', 'Cu'\], the structures have \['"):
        Springs().species(torch.tensor([29, number]))


def test_a_subclass_need_only_say_the_energy_of_atoms(structures):
    found = Springs().predict(structures)
    assert found.energies[2] == 0
    np.testing.assert_allclose(found.forces[4:7].sum(axis=0), 0, atol=1e-12)
    assert np.isfinite(found.stresses[[0, 3]]).all()
    assert np.isnan(found.stresses[[1, 2]]).all()


def test_the_virial_of_a_pair_by_hand():
    cell = np.diag([2.0, 9, 9])  # a chain: each atom sees itself at both sides
    one = Configurations.from_ase(Atoms("C", cell=cell, pbc=True))
    found = Springs().predict(one)
    assert found.energies[0] == pytest.approx(0.7 * 2 * (-1))
    slope = 0.7 * 2 * 3 * (2.0 - 3.0) ** 2  # of the energy by the length
    assert found.stresses[0, 0, 0] == pytest.approx(2.0 * slope / (2 * 81))
    np.testing.assert_allclose(found.stresses[0].ravel()[1:], 0, atol=1e-15)


def test_predictions_carry_no_gradients_unless_learning(structures):
    potential = Springs()
    graph = potential.graph(structures)
    assert potential(graph).forces.requires_grad
    with torch.no_grad():
        assert not potential(graph).forces.requires_grad
    potential.requires_grad_(False)
    for values in parts(potential(graph)).values():
        assert not values.requires_grad


def test_a_potential_without_floats_is_double():
    potential = Springs()
    assert potential.dtype == torch.float64
    assert potential.to(torch.float32).dtype == torch.float32
    assert potential.device == torch.device("cpu")


POTENTIALS = {
    "bpnn": {"architecture": "bpnn", "hidden": [4], "cutoff": 3.5},
    "bpnn of three layers": {"architecture": "bpnn", "hidden": [3, 2], "cutoff": 3.5},
    "linear": {"architecture": "bpnn", "hidden": [], "cutoff": 3.5},
    "mtp": {"architecture": "mtp", "level": 6, "cutoff": 3.5, "min_dist": 1.5},
}


def build(name):
    if name == "springs":
        return Springs()
    return ModelOptions.parse(POTENTIALS[name]).build(["C", "Cu"], seed=2)


@pytest.fixture(params=["springs", *POTENTIALS])
def learner(request):
    return build(request.param)


def test_what_is_prepared_says_the_same(learner, structures):
    graph = learner.graph(structures)
    found = learner.prepare(graph).predict(learner)
    assert_close(found, learner(graph))


def test_what_is_prepared_follows_the_weights(learner, structures):
    graph = learner.graph(structures)
    prepared = learner.prepare(graph)
    with torch.no_grad():
        for weight in learner.parameters():
            weight += 0.1
    assert_close(prepared.predict(learner), learner(graph))


def test_some_of_what_is_prepared(learner, structures):
    which = np.array([3, 1, 1, 0, 2])
    taken = learner.prepare(learner.graph(structures)).take(which)
    expected = learner(learner.graph(structures[which]))
    assert_close(taken.predict(learner), expected)
    graph = learner.graph(structures)
    assert_close(learner(graph).take(graph, which), expected)


def test_gradients_of_a_loss_are_those_of_the_potential_itself(learner, structures):
    graph = learner.graph(structures)

    def gradient(said):
        loss = said.energies.square().sum() + said.forces.square().sum()
        loss = loss + said.stresses[[0, 3]].square().sum()
        weights = [w for w in learner.parameters() if w.requires_grad]
        found = torch.autograd.grad(loss, weights, materialize_grads=True)
        return torch.cat([g.flatten() for g in found])

    prepared, direct = gradient(learner.prepare(graph).predict(learner)), gradient(learner(graph))
    assert bool(torch.isfinite(direct).all())
    torch.testing.assert_close(prepared, direct, rtol=1e-8, atol=1e-10)


def test_derivatives_by_the_weights_are_differences(learner, structures):
    prepared = learner.prepare(learner.graph(structures))
    found = prepared.derivatives(learner)
    start, step = vector(learner).detach(), 1e-5
    weights = [w for w in learner.parameters() if w.requires_grad]
    assert len(found.energies) == len(start)
    for k in np.random.default_rng(0).choice(len(start), min(15, len(start)), replace=False):
        ends = []
        for sign in (1, -1):
            moved = start.clone()
            moved[k] += sign * step
            nn.utils.vector_to_parameters(moved, weights)
            with torch.no_grad():
                ends.append(prepared.predict(learner))
        for name, values in parts(found).items():
            slope = (getattr(ends[0], name) - getattr(ends[1], name)) / (2 * step)
            known = slope.isfinite()  # there is no stress without a volume
            torch.testing.assert_close(values[k][known], slope[known], rtol=1e-5, atol=1e-7)
    nn.utils.vector_to_parameters(start, weights)


def test_derivatives_of_what_is_taken(learner, structures):
    which = np.array([1, 3, 3])
    graph = learner.graph(structures)
    found = learner.prepare(graph).take(which).derivatives(learner)
    expected = learner.prepare(graph).derivatives(learner).take(graph, which)
    assert_close(found, expected)


def test_weights_that_are_fixed_have_no_derivatives(structures):
    learner = build("bpnn")
    prepared = learner.prepare(learner.graph(structures))
    free = prepared.derivatives(learner)
    first = next(learner.parameters())
    first.requires_grad_(False)
    fewer = prepared.derivatives(learner)
    assert_close(fewer, Prediction(*(v[first.numel() :] for v in parts(free).values())))


def test_no_derivative_is_carried_on(learner, structures):
    prepared = learner.prepare(learner.graph(structures))
    with torch.no_grad():
        found = prepared.derivatives(learner)
    assert not found.energies.requires_grad
    assert all(weight.grad is None for weight in learner.parameters())


def test_predictions_add_and_average():
    one, other = (
        Prediction(torch.full((2,), x), torch.full((3, 3), x), torch.full((2, 3, 3), x))
        for x in (1.0, 4.0)
    )
    both = Prediction.stack([one, other])
    assert_close(both.mean(), Prediction(*(torch.full_like(v, 2.5) for v in parts(one).values())))
    added = one + both
    assert added.energies.tolist() == [[2, 2], [5, 5]]
    assert added.forces.shape == (2, 3, 3)


def test_initialising_draws_nothing_at_random(learner, structures):
    before = torch.random.get_rng_state()
    again = copy.deepcopy(learner)
    graph = learner.graph(structures)
    targets = learner(graph).detach()
    for potential, seed in ((learner, 1), (again, 2)):
        potential.initialise(potential.prepare(graph), targets, seed)
    assert_close(learner(graph), again(graph))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_many_structures_are_predicted_in_parts(monkeypatch):
    potential = ModelOptions.parse({"architecture": "morse", "cutoff": 4.0}).build(["Cu"], 0)
    frames = []
    for seed in range(7):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    structures = Configurations.from_ase(frames)
    whole = potential.predict(structures)
    monkeypatch.setattr(base, "AT_ONCE", 9)
    parts = potential.predict(structures)
    for name in ("energies", "forces", "stresses"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)
