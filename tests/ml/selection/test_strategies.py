import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.selection.base import Query, last_frames
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select

OFF = Filters(min_distance=None, duplicate=None)
NOTHING = Configurations.empty()


def pool_of(n, **info):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu")
        atoms.positions += rng.normal(size=3)
        frames.append(atoms)
    return Configurations.from_ase(frames).with_info(**info)


@pytest.fixture
def pool():
    rng = np.random.default_rng(1)
    return pool_of(12, run=np.repeat([0, 1, 2], 4), uncertainty=rng.permutation(12) / 10)


def test_random_is_fair():
    pool = pool_of(5)
    counts = np.zeros(5)
    for seed in range(500):
        counts[select(pool, NOTHING, {"name": "random", "n": 2}, OFF, seed).indices] += 1
    assert abs(counts / 500 - 0.4).max() < 0.08  # 3.6 standard deviations


def test_uncertainty_prefers_the_uncertain():
    pool = pool_of(5, uncertainty=[0.1, 0.5, 0.2, np.nan, 0.4])
    selection = select(pool, NOTHING, {"name": "uncertainty", "n": 5}, OFF)
    assert selection.indices == [1, 4, 2, 0, 3]
    assert [s["score"] for s in selection.selected] == [0.5, 0.4, 0.2, 0.1, None]
    assert selection.selected[0]["reason"] == "uncertainty 0.5, rank 1"
    assert selection.selected[-1]["reason"] == "uncertainty unknown, rank 5"


def test_an_infinite_uncertainty_is_the_largest():
    pool = pool_of(4, uncertainty=[0.1, np.inf, np.nan, 0.4])
    selection = select(pool, NOTHING, {"name": "uncertainty", "n": 4}, OFF)
    assert selection.indices == [1, 3, 0, 2]


def test_of_equally_uncertain_structures_content_decides():
    pool = pool_of(4, uncertainty=[0.1, 0.3, 0.3, 0.3])
    found = select(pool, NOTHING, {"name": "uncertainty", "n": 2}, OFF).selected
    assert [s["key"] for s in found] == sorted(pool.keys[1:])[:2]


def test_filters_leave_a_reason(pool):
    selection = select(pool, pool[[3, 4, 5, 11]], {"name": "random", "n": 12})
    assert sorted(selection.indices) == [0, 1, 2, 6, 7, 8, 9, 10]
    assert {r["index"] for r in selection.rejected} == {3, 4, 5, 11}


@pytest.mark.parametrize("info", [{}, {"uncertainty": np.full(3, np.nan)}])
def test_uncertainty_that_nobody_knows(info):
    with pytest.raises(ValueError, match="no 'uncertainty', and no potential"):
        select(pool_of(3, **info), NOTHING, {"name": "uncertainty"}, OFF)


@pytest.mark.parametrize("info", [{}, {"uncertainty": np.full(3, np.nan)}])
def test_uncertainty_that_the_potential_knows(info):
    dimers = [Atoms("Cu2", [[0, 0, 0], [0, 0, d]]) for d in (2.2, 1.6, 3.0)]
    pool = Configurations.from_ase(dimers).with_info(**info)
    committee = Ensemble(
        [
            single({"architecture": "morse", "parameters": {"Cu": values}}, ["Cu"], 0)
            for values in ({"De": 2.0, "re": 2.2, "a": 1.4}, {"De": 3.0, "re": 2.2, "a": 1.4})
        ]
    )
    selection = select(pool, NOTHING, {"name": "uncertainty", "n": 3}, OFF, potential=committee)
    assert selection.indices == [1, 2, 0]  # at 2.2 Å both say that there is no force
    forces = [m.predict(pool).forces[::2, 2] for m in committee.members]
    expected = abs(forces[0] - forces[1]) / 2
    assert [s["score"] for s in selection.selected] == pytest.approx(expected[[1, 2, 0]])


@pytest.mark.parametrize("name", ["final", "final_uncertainty"])
class TestFinals:
    """Of the strategies that want the last frame of every run."""

    def test_last_frames_come_first(self, name, pool):
        selection = select(pool, NOTHING, {"name": name, "n": 5}, OFF)
        assert selection.indices[:3] == [3, 7, 11]
        assert [s["reason"] for s in selection.selected[:3]] == [
            f"last frame of run {run}" for run in range(3)
        ]

    def test_a_pool_without_runs_is_one_run(self, name):
        pool = pool_of(6, uncertainty=np.zeros(6))
        assert select(pool, NOTHING, {"name": name, "n": 2}, OFF).indices[0] == 5

    def test_too_few_for_all_runs_is_said(self, name, pool):
        selection = select(pool, NOTHING, {"name": name, "n": 2}, OFF)
        assert selection.indices == [3, 7]
        assert "1 last frames were left out" in selection.message

    def test_a_last_frame_near_a_labelled_structure_is_chosen(self, name, pool):
        train = replace(pool[[7]], positions=pool[[7]].positions + 1e-4)
        selection = select(pool, train, {"name": name, "n": 3})
        assert selection.indices == [3, 7, 11]

    def test_a_labelled_last_frame_is_not_replaced_by_the_one_before(self, name, pool):
        selection = select(pool, pool[[7]], {"name": name, "n": 2})
        assert selection.indices == [3, 11]

    def test_an_impossible_last_frame_is_replaced_by_the_last_possible_one(self, name, pool):
        energy = np.zeros(12)
        energy[[6, 7]] = np.inf
        selection = select(pool.with_info(predicted_energy=energy), NOTHING, {"name": name, "n": 3})
        assert selection.indices == [3, 5, 11]
        assert selection.selected[1]["reason"] == "last frame of run 1 that passed the filters"

    def test_a_run_without_any_possible_frame_is_left_out(self, name, pool):
        energy = np.zeros(12)
        energy[4:8] = np.nan
        selection = select(pool.with_info(predicted_energy=energy), NOTHING, {"name": name, "n": 2})
        assert selection.indices == [3, 11]


def test_final_uncertainty_goes_on_with_the_most_uncertain():
    pool = pool_of(5, uncertainty=[0.1, 0.9, 0.3, 0.8, 0.2])
    selection = select(pool, NOTHING, {"name": "final_uncertainty", "n": 3}, OFF)
    assert selection.indices == [4, 1, 3]


def test_runs_may_be_interleaved():
    assert last_frames(pool_of(5, run=[0, 1, 0, 1, 0])) == [(0, 0, 4), (1, 0, 3)]
    images = pool_of(6, run=[0, 0, 0, 0, 1, 1], image=[0, 1, 0, 1, 0, 1])
    assert last_frames(images) == [(0, 0, 2), (0, 1, 3), (1, 0, 4), (1, 1, 5)]


def test_a_query_draws_the_same_numbers_again(pool):
    query = Query(pool, NOTHING, np.arange(12), seed=5)
    assert query.rng().random() == query.rng().random()


def test_chosen_structures_carry_no_label(pool):
    labelled = pool.with_labels(np.ones(12), np.ones((12, 3))).with_info(
        status=["ok"] * 12, fingerprint=["abc"] * 12
    )
    selection = select(labelled, NOTHING, {"name": "final", "n": 4}, OFF)
    chosen = selection.of(labelled)
    assert chosen.keys == [s["key"] for s in selection.selected]
    assert np.isnan(chosen.energies).all()
    assert np.isnan(chosen.forces).all()
    assert set(chosen.status) == {"unlabelled"}
    assert list(chosen.info["fingerprint"]) == [""] * 4
    assert list(chosen.info["reason"]) == [s["reason"] for s in selection.selected]


def test_selection_of_nothing_is_empty(pool):
    selection = select(pool, pool, {"name": "random"})
    assert len(selection.of(pool)) == 0


def test_record_is_json_and_complete(pool):
    selection = select(pool, pool[:1], {"name": "uncertainty", "n": 2}, seed=9)
    record = json.loads(selection.to_json())
    assert record["strategy"] == {"name": "uncertainty", "n": 2}
    assert (record["n_pool"], record["n_train"], record["seed"]) == (12, 1, 9)
    assert record["filters"]["duplicate"] == 1e-3
    assert record["rejected"] == [
        {
            "index": 0,
            "key": pool.keys[0],
            "reason": "tried (unlabelled) already: structure 0 of train",
        }
    ]


def test_wrong_names_are_explained():
    with pytest.raises(ValueError, match="did you mean 'final'"):
        plugins.make("strategies", {"name": "finale"})
    with pytest.raises(ValueError, match="unknown option 'm'"):
        plugins.make("strategies", {"name": "final", "m": 2})


def test_the_pool_or_the_training_set_with_strange_elements_is_named():
    potential = single({"architecture": "morse"}, ["Cu"], 0)
    copper, gold = (
        Configurations.from_ase(Atoms(x + "2", [[0, 0, 0], [0, 0, 2.5]])) for x in ("Cu", "Au")
    )
    for pool, train, message in (
        (gold, copper, r"the pool: the potential knows \['Cu'\], the structures have \['Au'\]"),
        (copper, gold, r"the training set: the potential knows \['Cu'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            select(pool, train, {"name": "random"}, OFF, potential=potential)


def test_what_interrupts_a_simulation_is_labelled_however_near_it_is(pool):
    """Else nothing is left to choose, and every later run is interrupted there again."""
    frames = pool[[0, 1]].with_info(run=[0, 0], candidate=[True, True], uncertainty=[3.0, 20.0])
    train = replace(frames, positions=frames.positions + 1e-4)
    chosen = select(frames, train, {"name": "uncertainty", "n": 2})
    assert chosen.indices == [1]
    certain = frames.with_info(candidate=[True, False])
    assert select(certain, train, {"name": "uncertainty", "n": 2}).indices == []
    assert select(frames, frames, {"name": "uncertainty", "n": 2}).indices == []
