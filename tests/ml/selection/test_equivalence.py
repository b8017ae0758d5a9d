"""Optimal experimental design and Gaussian processes of the last layer are the same algebra."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.selection.base import Query
from aiida_mlal.ml.selection.max_det import MaxDet
from aiida_mlal.ml.selection.max_diag import MaxDiag
from aiida_mlal.ml.selection.oed import OptimalDesign
from aiida_mlal.ml.uncertainty.design import sensitivities
from aiida_mlal.ml.uncertainty.information import gain

N_TRAIN, N_POOL, N = 12, 40, 15
RIDGE = 1e-4


def structures(n, seed):
    frames = []
    for i in range(n):
        atoms = molecule(("CH3OH", "H2O", "CH4")[i % 3])
        atoms.rattle(0.05 + 0.2 * (i % 5) / 5, seed=1000 * seed + i)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(scope="module")
def potential():
    model = {"architecture": "bpnn", "hidden": [6], "cutoff": 3.0}
    return ModelOptions.parse(model).build(["C", "H", "O"], 1)


@pytest.fixture(scope="module")
def query(potential):
    pool, train = structures(N_POOL, 2), structures(N_TRAIN, 1)
    return Query(pool, train, np.arange(N_POOL), potential=potential)


@pytest.fixture(scope="module")
def same(potential, query):
    """The options of a Gaussian process whose noise is the ridge."""
    n_weights = potential.last_layer(potential.graph(query.train)).shape[1]
    # sigma² in units of the mean square length of N rows is a ridge in units of the mean of m
    sigma = np.sqrt(RIDGE * N_TRAIN / n_weights)
    return {"n": N, "features": {"name": "last_layer"}, "sigma": float(sigma)}


def indices(strategy, query):
    return [choice.index for choice in strategy.choose(query)]


def test_qs1_is_the_order_of_max_diag(query, same):
    assert indices(OptimalDesign(n=N, ridge=RIDGE), query) == indices(MaxDiag(**same), query)


def test_qs1_in_turn_is_max_det(query, same):
    in_turn = OptimalDesign(n=N, ridge=RIDGE, sequential=True)
    assert indices(in_turn, query) == indices(MaxDet(**same), query)
    assert indices(in_turn, query) != indices(replace(in_turn, sequential=False), query)


def slow(query, potential, quantity, beta):
    """Choose one after the other, the matrix built and inverted anew each time (equation 10)."""
    names = ["energy", "forces"] if quantity == "both" else [quantity]

    def rows(one, name):
        found = sensitivities(potential, potential.graph(one), name)
        return found.reshape(-1, found.shape[-1])

    ridges = {}
    for name in names:
        first = np.concatenate([rows(one, name) for one in query.train])
        ridges[name] = RIDGE * np.trace(first.T @ first) / first.shape[1]
    chosen = []
    while len(chosen) < 4:
        known = [*query.train, *(query.pool[i] for i in chosen)]
        values = np.zeros(len(query.pool))
        for name in names:
            every = np.concatenate([rows(one, name) for one in known])
            inverse = np.linalg.inv(every.T @ every + ridges[name] * np.eye(every.shape[1]))
            for i, one in enumerate(query.pool):
                mine = rows(one, name)
                gains = gain(np.einsum("ij,jk,ik->i", mine, inverse, mine))
                values[i] += (beta if len(names) > 1 and name == "forces" else 1) * gains.mean()
        values[chosen] = -np.inf
        chosen.append(int(values.argmax()))
    return chosen


@pytest.mark.parametrize("quantity", ["energy", "forces", "both"])
def test_choices_in_turn_are_those_of_the_definition(query, potential, quantity):
    strategy = OptimalDesign(n=4, quantity=quantity, beta=1.5, ridge=RIDGE, sequential=True)
    assert indices(strategy, query) == slow(query, potential, quantity, 1.5)


def test_the_information_that_the_potential_carries_serves_without_labelled_structures(
    query, potential
):
    from aiida_mlal.ml.uncertainty.oed import OED

    with_train = OptimalDesign(n=N, ridge=RIDGE)
    extras = OED(ridge=RIDGE).fitted(potential, query.train).extras
    potential.extras = dict(extras)
    alone = replace(query, train=Configurations.empty())
    one, other = with_train.choose(alone), with_train.choose(query)
    potential.extras = {}
    assert [c.index for c in one] == [c.index for c in other]
    np.testing.assert_allclose([c.score for c in one], [c.score for c in other], rtol=1e-6)


def test_the_score_is_the_informativeness(query):
    bare = OptimalDesign(n=N, ridge=RIDGE, threshold=None).choose(query)
    by_median = OptimalDesign(n=N, ridge=RIDGE).choose(query)
    assert [c.index for c in bare] == [c.index for c in by_median]
    odds = [a.score / (1 - a.score) for a in bare]
    ratios = [a / b.score for a, b in zip(odds, by_median)]
    np.testing.assert_allclose(ratios, ratios[0])
    assert all(0 < c.score < 1 for c in bare)
    assert by_median[0].score > 1
