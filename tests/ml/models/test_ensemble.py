import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.bpnn import BPNN
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction

NARROW = {"g2_etas": [0.1, 4.0], "g4_zetas": [2.0]}


def bpnn(seed, **options):
    return single({"architecture": "bpnn", "hidden": [5], **options}, ["H", "C", "O"], seed)


def morse():
    return single({"architecture": "morse"}, ["H", "C", "O"], 0)


@pytest.fixture
def graph():
    diamond = bulk("C").repeat((2, 1, 1))
    diamond.rattle(0.1, seed=1)
    return bpnn(0).graph(Configurations.from_ase([molecule("CH3OH"), diamond]))


COMMITTEES = {
    "alike": lambda: [bpnn(0), bpnn(1), bpnn(2)],
    "other networks": lambda: [bpnn(0), bpnn(1, hidden=[3, 3])],
    "other descriptors": lambda: [bpnn(0), bpnn(1, descriptor=NARROW), bpnn(2)],
    "other cutoff": lambda: [bpnn(0), bpnn(1, cutoff=4.0)],
    "other architecture first": lambda: [morse(), bpnn(1)],
    "other architecture last": lambda: [bpnn(0), bpnn(1), morse()],
}


@pytest.mark.parametrize("make", COMMITTEES.values(), ids=COMMITTEES)
def test_a_committee_says_what_its_members_say(make, graph):
    members = make()
    with torch.no_grad():
        found = Ensemble(members).committee(graph)
        expected = Prediction.stack([m(graph.within(m.cutoff)) for m in members])
    for name in ("energies", "forces", "stresses"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-11, atol=1e-12
        )
        assert not getattr(found, name).requires_grad


def test_a_committee_learns_as_its_members_do(graph):
    members = [bpnn(0), bpnn(1)]
    ensemble = Ensemble(members)

    def gradients(said):
        loss = said.energies.square().sum() + said.forces.square().sum()
        weights = list(ensemble.parameters())
        return torch.autograd.grad(loss, weights, materialize_grads=True)

    together = gradients(ensemble.committee(graph))
    alone = gradients(Prediction.stack([member(graph) for member in members]))
    for one, other in zip(together, alone):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def test_members_alike_are_described_once(graph, monkeypatch):
    calls, features = [], BPNN.features

    def counted(self, graph):
        calls.append(self)
        return features(self, graph)

    monkeypatch.setattr(BPNN, "features", counted)
    Ensemble([bpnn(0), bpnn(1), bpnn(2)]).committee(graph)
    assert len(calls) == 1
