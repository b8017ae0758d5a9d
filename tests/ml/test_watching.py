import pytest

from aiida_mlal.ml.watching import in_parts, tell, watched_by

PARTS = [slice(0, 3), slice(3, 4), slice(4, 9)]


@pytest.fixture
def heard():
    found = []
    with watched_by(lambda *counts, **values: found.append((*counts, values))):
        yield found


def test_nobody_needs_to_watch():
    tell("steps", 1, 9)
    assert list(in_parts(iter(PARTS), "structures")) == PARTS


def test_a_part_is_told_when_it_is_done(heard):
    for number, part in enumerate(in_parts(iter(PARTS), "structures")):
        assert part == PARTS[number]
        assert len(heard) == number
    assert heard == [("structures", n, 9, {}) for n in (3, 4, 9)]


def test_parts_of_parts_tell_nothing(heard):
    for part in in_parts(PARTS, "structures"):
        assert list(in_parts([part, part], "atoms")) == [part, part]
        tell("steps", 1, 2)
    assert {what for what, *_ in heard} == {"structures"}
    tell("steps", 1, 2, loss=0.5)
    assert heard[-1] == ("steps", 1, 2, {"loss": 0.5})


def test_one_part_is_not_worth_a_word(heard):
    assert list(in_parts([slice(0, 9)], "structures")) == [slice(0, 9)]
    assert list(in_parts([], "structures")) == []
    assert heard == []


def test_after_an_error_the_next_one_is_heard(heard):
    def broken():
        for _ in in_parts(PARTS, "structures"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        broken()
    tell("steps", 1, 2)
    assert heard == [("steps", 1, 2, {})]
