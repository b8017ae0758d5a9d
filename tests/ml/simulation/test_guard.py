import re
from dataclasses import replace

import numpy as np
import pytest

from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.simulation.guard import Guard, Snapshot


def snapshot(distance=2.3, energy=-1.0, force=0.1, uncertainty=0.01, numbers=(29, 6, 29)):
    """Return three atoms in a row, with edges between those that are next to each other."""
    pairs = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
    distances = np.array([2.0, 2.0, distance, distance])
    forces = np.zeros((3, 3))
    forces[2] = [0, force, 0]
    near = distances < 6.0
    return Snapshot(np.array(numbers), pairs[:, near], distances[near], energy, forces, uncertainty)


FIRST = snapshot()


def test_says_nothing_about_a_sound_step():
    assert Guard(select=0.1, break_=0.5).verdict(FIRST, FIRST) is None


@pytest.mark.parametrize(
    ("now", "reason", "message"),
    [
        (snapshot(distance=1.0), "unphysical", r"C 1 and Cu 2 are 1\.00 Å apart, 0\.48 times"),
        (snapshot(force=1e3), "unphysical", r"force on Cu 2 is 1000\.0 eV/Å"),
        (snapshot(energy=np.nan), "unphysical", "not finite"),
        (snapshot(force=np.inf), "unphysical", "not finite"),
        (snapshot(distance=7.0), "unphysical", "Cu 2 flew away"),
        (snapshot(uncertainty=0.5), "uncertain", r"0\.5 reached 0\.5"),
        (snapshot(uncertainty=np.nan), "uncertain", "nan reached"),
        (snapshot(uncertainty=9.0, force=1e3), "unphysical", "force"),
    ],
)
def test_ends_a_run_for_a_reason(now, reason, message):
    verdict = Guard(break_=0.5).verdict(now, FIRST)
    assert verdict[0] == reason
    assert re.search(message, verdict[1])


def test_the_most_uncertain_atom_is_named():
    now = replace(snapshot(uncertainty=0.5), uncertainties=np.array([np.nan, 0.5, 0.1]))
    _, message = Guard(break_=0.5).verdict(now, FIRST)
    assert message == "the uncertainty 0.5, largest at C 1, reached 0.5"
    _, message = Guard(break_=0.5).verdict(replace(now, uncertainties=np.full(3, np.nan)), FIRST)
    assert message == "the uncertainty 0.5 reached 0.5"


@pytest.mark.parametrize(
    ("volume", "message"),
    [(149.0, None), (151.0, "the volume is 1.51 times"), (67.0, None), (66.0, "is 0.66 times")],
)
def test_a_volume_may_not_change_by_more_than_a_factor(volume, message):
    now, first = replace(FIRST, volume=volume), replace(FIRST, volume=100.0)
    verdict = Guard(max_volume_ratio=1.5).verdict(now, first)
    assert (verdict and verdict[0]) == (message and "strayed")
    assert message is None or message in verdict[1]
    assert Guard(max_volume_ratio=None).verdict(now, first) is None


def test_limits_that_are_off_are_not_watched():
    guard = Guard(min_distance=None, max_force=None, escape=False)
    for now in (snapshot(distance=0.1), snapshot(force=1e9), snapshot(distance=7.0)):
        assert guard.verdict(now, FIRST) is None


def test_an_atom_alone_from_the_start_has_not_flown_away():
    alone = snapshot(distance=7.0)
    assert Guard().verdict(alone, alone) is None


def test_only_uncertain_frames_are_candidates_once_there_is_a_threshold():
    assert Guard().wants_label(0.0)
    guard = Guard(select=0.2)
    assert [guard.wants_label(u) for u in (0.1, 0.2, 0.3, np.nan)] == [False, True, True, True]


def test_options_are_called_as_users_call_them():
    guard = build(Guard, {"select": 0.1, "break": 1})
    assert guard == Guard(select=0.1, break_=1.0)
    assert as_dict(guard)["break"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"break": -1.0}, "expected break above 0 or null, got -1.0"),
        ({"select": 2.0, "break": 1.0}, "select not above break"),
        ({"uncertainty": {"name": "force_sdt"}}, "did you mean 'force_std'"),
        ({"breaks": 1.0}, "did you mean 'break'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(Guard, options, "guard")
