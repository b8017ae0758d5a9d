"""Strategies one after the other."""

import numpy as np
import pytest
from ase import Atoms

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN, UNCERTAINTY
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select

OFF = Filters(min_distance=None, duplicate=None)
MOST, SOME = {"name": "uncertainty", "n": 3}, {"name": "random", "n": 2}


@pytest.fixture
def pool():
    frames = [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0 + 0.05 * i]]) for i in range(12)]
    return Configurations.from_ase(frames).with_columns(
        {UNCERTAINTY: np.arange(12.0), RUN: np.repeat([0, 1], 6)}
    )


def chosen(pool, *of, **more):
    return select(pool, Configurations.empty(), {"name": "combined", "of": of, **more}, OFF, seed=2)


def test_later_ones_choose_from_what_is_left(pool):
    found = chosen(pool, MOST, SOME)
    assert found.indices[:3] == [11, 10, 9]
    assert len(set(found.indices)) == 5
    reasons = [one["reason"] for one in found.selected]
    assert reasons[0] == "uncertainty: uncertainty 11, rank 1"
    assert reasons[4] == "random: drawn at random"


def test_the_first_are_kept_where_a_budget_is_small(pool):
    assert chosen(pool, MOST, SOME, n=4).indices == chosen(pool, MOST, SOME).indices[:4]


def test_what_one_wants_all_want(pool):
    parts = [{"name": "final", "n": 2}, MOST]
    made = plugins.make("strategies", {"name": "combined", "of": parts}, "query")
    assert made.wants_final
    assert made.wants_uncertainty
    assert made.n_final == 2
    random = [SOME, {"name": "first"}]
    made = plugins.make("strategies", {"name": "combined", "of": random}, "query")
    assert not any((made.wants_final, made.wants_uncertainty, made.wants_potential))
    found = chosen(pool, *parts)
    assert found.indices == [5, 11, 10, 9, 8]


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ([SOME], "expected two or more strategies"),
        ([SOME, {"name": "randum"}], r"of\[1\].*did you mean 'random'"),
        ([MOST, {"name": "random", "n": 0}], r"of\[1\].*n of structures above 0"),
    ],
)
def test_wrong_options_are_named(of, said):
    with pytest.raises(ValueError, match=said):
        plugins.make("strategies", {"name": "combined", "of": of}, "query")


def test_models_that_one_cannot_ask_are_refused():
    parts = [SOME, {"name": "maxvol"}]
    made = plugins.make("strategies", {"name": "combined", "of": parts}, "query")
    alone = plugins.make("strategies", {"name": "maxvol"}, "query")
    for model in ({"architecture": "bpnn"}, {"architecture": "mtp", "level": 4}):
        options = ModelOptions.parse(model)
        assert _refuses(made, options) == _refuses(alone, options)


def _refuses(strategy, model):
    try:
        strategy.check_model(model)
    except ValueError:
        return True
    return False
