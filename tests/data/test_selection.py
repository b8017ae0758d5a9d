import json

import pytest
from aiida import orm

from aiida_mlal.data.selection import SelectionData


@pytest.fixture
def decision():
    return {
        "selected": [
            {"index": 5, "key": "k5", "score": 0.75, "reason": "final"},
            {"index": 2, "key": "k2", "score": None, "reason": "random"},
        ],
        "rejected": [{"index": 0, "key": "k0", "reason": "too close"}],
        "n_pool": 6,
        "n_train": 3,
        "strategy": {"name": "final", "n": 2},
        "seed": 11,
    }


def test_gives_back_what_it_was_made_of(decision):
    node = orm.load_node(SelectionData(decision).store().pk)
    assert node.indices == [5, 2]
    assert node.selected == decision["selected"]
    assert node.rejected == decision["rejected"]
    assert node.get_description() == "2 of 6 chosen by final"


def test_attributes_can_be_queried(decision):
    uuid = SelectionData(decision).store().uuid
    filters = {"attributes.strategy.name": "final", "attributes.n_rejected": 1, "uuid": uuid}
    assert orm.QueryBuilder().append(SelectionData, filters=filters).count() == 1


def test_order_of_keys_and_other_keys_do_not_matter(decision):
    other = {"seconds": 1.0, **dict(reversed(decision.items()))}
    first, second = SelectionData(decision).store(), SelectionData(other).store()
    assert first.content == second.content
    assert first.base.caching.get_hash() == second.base.caching.get_hash()


def test_the_file_is_plain_json(decision):
    assert json.loads(SelectionData(decision).content)["seed"] == 11


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"n_pool": 5}, r"expected indices into a pool of 5, got \[5\]"),
        ({"rejected": [{"index": 2, "key": "k", "reason": ""}]}, "selected or rejected twice"),
        ({"rejected": [{"index": 1}]}, r"an entry of 'rejected' lacks \['key', 'reason'\]"),
        ({"strategy": {}}, "expected the strategy as"),
    ],
)
def test_contradictions_are_refused(decision, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        SelectionData(decision | change)


def test_missing_parts_are_named(decision):
    del decision["seed"], decision["selected"]
    with pytest.raises(ValueError, match=r"lacks \['seed', 'selected'\]"):
        SelectionData(decision)
