"""Steps of a campaign over a pool that need no job."""

import numpy as np
import pytest
from aiida import orm

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.ml.selection.random import Random
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.stops import Labels, Size, State
from aiida_mlal.workflows import pool_calcfunctions as functions

UUID = "01234567-89ab-cdef-0123-456789abcdef"
VALIDATION = {"n": 2, "redraw": True}


@pytest.fixture
def chosen(configurations):
    """Two of six structures, chosen at random from what they are without labels."""
    bare = configurations.bare
    return select(bare, bare[:0], Random(n=2)).of(bare)


def test_labels_are_taken_out_of_the_pool(aiida_profile, configurations):
    told = configurations.with_info(hint=configurations.energies).with_arrays(
        hint=configurations.forces
    )
    pool = functions.strip(DatasetData(told))
    assert functions.is_bare(pool.configurations)
    assert pool.configurations.keys == configurations.keys
    np.testing.assert_array_equal(pool.configurations.fixed, configurations.fixed)
    assert b"hint" not in pool.content


def test_what_carries_a_value_is_not_bare(configurations):
    bare = configurations.bare
    assert functions.is_bare(bare)
    assert not functions.is_bare(configurations)
    assert not functions.is_bare(bare.with_info(hint=np.zeros(6)))
    forces = np.full(bare.forces.shape, np.nan)
    assert not functions.is_bare(bare.with_labels([1.0, *[np.nan] * 5], forces))


def test_labels_are_looked_up(aiida_profile, configurations, chosen):
    candidates = DatasetData(configurations, ["", UUID, "", UUID, "", UUID])
    found = functions.reveal(candidates=candidates, chosen=DatasetData(chosen))["dataset"]
    places = chosen.info["index"]
    np.testing.assert_array_equal(found.configurations.forces, configurations[places].forces)
    assert found.configurations.status.tolist() == ["ok", "ok"]
    assert found.sources == tuple(UUID if i % 2 else candidates.uuid for i in places)


def test_labels_of_other_structures_are_not_taken(aiida_profile, configurations, chosen):
    moved = DatasetData(configurations[[1, 2, 3, 4, 5, 0]])
    with pytest.raises(ValueError, match="not the candidates of these indices"):
        functions.reveal(candidates=moved, chosen=DatasetData(chosen))


def test_what_was_labelled_before_is_found_in_the_pool(aiida_profile, configurations):
    known = DatasetData(configurations[[4, 1]])
    assert functions.find(DatasetData(configurations), known).get_array().tolist() == [
        1,
        4,
    ]


def test_places_are_taken_once(aiida_profile, configurations):
    first = SelectionData(select(configurations, configurations[:0], Random(n=3)))
    taken = functions.take(first)
    assert taken.get_array().tolist() == sorted(first.indices)
    more = functions.take(first, orm.ArrayData(np.array([*taken.get_array(), 5])))
    assert more.get_array().tolist() == sorted({*first.indices, 5})


def test_other_structures_validate_after_others_were_taken(aiida_profile, configurations):
    node, seed = DatasetData(configurations), orm.Int(1)
    seen = set()
    for taken in ([], [0], [0, 1], [0, 1, 2]):
        drawn = functions.redraw(
            node, orm.Dict(VALIDATION), seed, orm.ArrayData(np.array(taken, int))
        )
        places = drawn.configurations.info["index"].tolist()
        assert not set(places) & set(taken)
        assert drawn.configurations.keys == configurations[places].keys
        seen.add(tuple(places))
    assert len(seen) > 1
    again = functions.redraw(node, orm.Dict(VALIDATION), seed, orm.ArrayData(np.array([0, 1, 2])))
    assert again.sha256 == drawn.sha256


def test_fewer_validate_where_fewer_are_left(aiida_profile, configurations):
    drawn = functions.redraw(
        DatasetData(configurations),
        orm.Dict(VALIDATION),
        orm.Int(0),
        orm.ArrayData(np.array([0, 1, 2, 3, 5])),
    )
    assert drawn.configurations.info["index"].tolist() == [4]


def test_what_is_drawn_to_be_kept_has_no_labels_yet(aiida_profile, configurations):
    found = functions.draw(
        DatasetData(configurations), orm.Dict({"n": 2}), orm.Int(0), orm.ArrayData(np.array([0]))
    )
    drawn = found["drawn"].configurations
    assert np.isnan(drawn.energies).all()
    assert set(found["taken"].get_array()) == {0, *drawn.info["index"].tolist()}


@pytest.mark.parametrize(
    ("growth", "known", "paid", "n"),
    [
        (None, 20, 20, 7),
        (0.1, 24, 24, 2),
        (0.1, 3, 3, 1),
        (0.5, 80, 80, 40),
        (0.5, 120, 120, 30),
        (0.5, 20, 196, 4),
        (0.29, 100, 0, 29),
    ],
)
def test_as_much_is_asked_as_the_stops_allow(growth, known, paid, n):
    limits, state = [Size(150), Labels(200)], State.ahead(n_labels=paid, foreseen=known)
    assert functions.next_n({"name": "random", "n": 7}, limits, growth, state) == n


def test_a_tenth_more_each_time_is_the_protocol_of_the_paper():
    """Zaverkin and Kästner (2021), section 3.1: 31 additions lead from 100 structures to 1863."""
    n = 100
    for _ in range(31):
        state = State.ahead(n_labels=n, foreseen=n)
        n += functions.next_n({"name": "random"}, [Size(5000)], 0.1, state)
    assert n == 1863


def test_candidates_are_read_once_by_all_steps(aiida_profile, configurations, monkeypatch):
    node = orm.load_node(DatasetData(configurations).store().pk)
    read = []
    content = DatasetData.content.fget
    monkeypatch.setattr(
        DatasetData, "content", property(lambda self: read.append(self.pk) or content(self))
    )
    functions.redraw(node, orm.Dict(VALIDATION), orm.Int(0))
    functions.redraw(node, orm.Dict(VALIDATION), orm.Int(1))
    functions.draw(node, orm.Dict(VALIDATION), orm.Int(1))
    assert read.count(node.pk) == 1


def test_what_was_not_tried_is_a_candidate_again(aiida_profile, configurations):
    taken = orm.ArrayData(np.array([0, 2, 3]))
    status = ["ok", "unlabelled", "failed"]
    labelled = configurations[[0, 2, 3]].with_info(index=[0, 2, 3], status=status)
    assert functions.give_back(taken, DatasetData(labelled)).get_array().tolist() == [0, 3]


def test_what_was_not_tried_is_not_paid_by_a_pool_either(aiida_profile, configurations):
    labelled = DatasetData(configurations[:3].with_info(status=["ok", "unlabelled", "failed"]))
    found = functions.judge(
        stop=orm.List([{"name": "labels", "n": 9}]),
        query=orm.Dict({"name": "random", "n": 2}),
        dataset=DatasetData(configurations),
        labelled=labelled,
        initial=labelled,
    )
    assert found["row"]["labels"] == 4
