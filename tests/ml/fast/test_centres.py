"""Choices of centres, by the definitions written slowly."""

import numpy as np
import pytest

from aiida_mlal.ml.fast.centres import grow
from aiida_mlal.ml.selection.kmeans_pp import KMeansPP
from aiida_mlal.ml.selection.lcmd import LCMD
from aiida_mlal.ml.selection.max_dist import MaxDist

RNG = np.random.default_rng(0)


def rows(n, m=5, seed=3, spread=1.0):
    return (np.random.default_rng(seed).normal(size=(n, m)) * spread).astype(np.float32)


def slow_lcmd(pool, train, n):
    """Follow the paper literally: rebuild every cluster from nothing at every step."""
    pool, train = pool.astype(float), train.astype(float)
    chosen = []
    while len(chosen) < n:
        centres = [*train, *pool[chosen]]
        clusters = [[] for _ in centres]
        for i, x in enumerate(pool):
            squares = [((x - c) ** 2).sum() for c in centres]
            clusters[int(np.argmin(squares))].append((min(squares), -i))
        heaviest = max(clusters, key=lambda members: sum(d for d, _ in members))
        chosen.append(-max(heaviest)[1])
    return chosen


def slow_max_dist(pool, train, n):
    chosen = []
    while len(chosen) < n:
        centres = [*train, *pool[chosen]]
        apart = [min(((x - c) ** 2).sum() for c in centres) for x in pool]
        chosen.append(int(np.argmax(apart)))
    return chosen


@pytest.mark.parametrize("shape", [(60, 5), (100, 16), (45, 37), (33, 1)])
@pytest.mark.parametrize(
    ("strategy", "slow"), [(LCMD(), slow_lcmd), (MaxDist(), slow_max_dist)], ids=["lcmd", "dist"]
)
def test_agrees_with_the_definition(strategy, slow, shape):
    pool, train = rows(*shape), rows(5, shape[1], 4)
    chosen, scores = strategy.pick(pool, train, 15, RNG)
    assert chosen == slow(pool, train, 15)
    centres = np.concatenate([train, pool[chosen]])
    for k, (i, score) in enumerate(zip(chosen, scores)):
        expected = ((centres[: 5 + k] - pool[i]) ** 2).sum(axis=1).min()
        assert score == pytest.approx(expected, rel=1e-4)


def test_distances_are_those_to_the_nearest_of_many_centres():
    """Many clusters far apart, so that most comparisons are left out."""
    places = rows(40, 6, 1, 30.0)
    pool = (places[np.arange(4000) % 40] + rows(4000, 6, 2)).astype(np.float32)
    seen = []

    def watch(now):
        seen.append((now.distances.copy(), now.centres.copy()))
        return int(now.distances.argmax())

    chosen, _ = grow(pool, places[:3], 60, watch)
    centres = np.concatenate([places[:3], pool[chosen]])
    for k in (0, 1, 30, 59):
        apart = ((pool[:, None] - centres[None, : 3 + k]) ** 2).sum(axis=2)
        np.testing.assert_allclose(seen[k][0], apart.min(axis=1), rtol=1e-3, atol=1e-2)
        np.testing.assert_array_equal(seen[k][1], apart.argmin(axis=1))


def test_prefers_the_crowd_to_the_outlier():
    crowd = 5 + rows(50, 2, 1, 0.5)
    pool = np.concatenate([crowd, [[-12, 0]]]).astype(np.float32)
    train = np.array([[0, 0], [-1, 0]], np.float32)
    assert MaxDist().pick(pool, train, 1, RNG)[0] == [50]
    assert LCMD().pick(pool, train, 1, RNG)[0][0] < 50


@pytest.mark.parametrize("strategy", [LCMD(), MaxDist()], ids=["lcmd", "dist"])
def test_without_centres_the_longest_row_is_first_and_the_origin_is_none(strategy):
    pool = np.array([[3, 0], [2.9, 0.2], [0.1, 0], [-2, 0]], np.float32)
    chosen, scores = strategy.pick(pool, pool[:0], 3, RNG)
    assert chosen == [0, 3, 2]  # were the origin a centre, the last one would be 1
    assert scores[0] == pytest.approx(9)


def test_draws_are_as_likely_as_squared_distances():
    pool = np.array([[1, 0], [2, 0], [0, 3], [0, 0]], np.float32)
    train = np.zeros((1, 2), np.float32)
    rng = np.random.default_rng(0)
    counts = np.zeros(4)
    for _ in range(2000):
        counts[KMeansPP().pick(pool, train, 1, rng)[0]] += 1
    np.testing.assert_allclose(counts / 2000, np.array([1, 4, 9, 0]) / 14, atol=0.04)


@pytest.mark.parametrize("strategy", [LCMD(), MaxDist(), KMeansPP()])
def test_rows_that_are_all_the_same_are_chosen_once_each(strategy):
    pool = np.ones((40, 3), np.float32)
    assert sorted(strategy.pick(pool, pool[:1], 40, RNG)[0]) == list(range(40))
