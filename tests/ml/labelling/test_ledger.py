import resource

import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.journal import Journal
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.label import label
from aiida_mlal.ml.labelling.ledger import Ledger
from aiida_mlal.ml.labelling.outcome import labelled

METHOD = {"fingerprint": "abc", "description": {"cutoff": 14}}


@pytest.fixture
def structures():
    frames = [bulk("Cu", a=3.5 + 0.1 * i) for i in range(4)]
    return Configurations.from_ase(frames).with_info(reason=["final"] * 4)


def good(one):
    return labelled(one, -1.0, [[0.0, 0.0, 0.0]])


def process(path, structures, *does):
    """Let a process do something with a ledger and then die: labels of numbers, or begun ones."""
    journal = Journal(path)
    ledger = Ledger(structures, journal, METHOD)
    order = ledger.left
    for i, ends in does:
        ledger.begin(i)
        if ends:
            ledger.end(i, good(structures[i]))
    journal.close()
    return order


def test_outcomes_are_found_again_and_what_was_not_begun_is_not_tried(tmp_path, structures):
    path = tmp_path / "a.journal"
    process(path, structures, (0, True), (1, True))
    found = Ledger(structures, Journal(path), METHOD)
    assert found.found_before == 2
    assert found.left == [2, 3]
    assert found.configurations.keys == structures.keys
    assert found.configurations.status.tolist() == ["ok", "ok", "unlabelled", "unlabelled"]
    assert found.configurations.info["reason"].tolist() == ["final"] * 4
    assert found.configurations[0].to_bytes() == good(structures[0]).to_bytes()


def test_a_structure_in_which_a_process_ended_comes_last(tmp_path, structures):
    path = tmp_path / "a.journal"
    process(path, structures, (0, True), (1, False))
    assert process(path, structures, (2, True)) == [2, 3, 1]


def test_a_structure_is_given_up_when_it_ends_a_process_that_did_nothing_else(tmp_path, structures):
    path = tmp_path / "a.journal"
    process(path, structures, (0, True), (1, False))
    process(path, structures, (2, True), (3, True), (1, False))
    assert Ledger.left_in(path.read_bytes(), structures).left == [1]
    process(path, structures, (1, False))
    found = Ledger.left_in(path.read_bytes(), structures).configurations
    assert found.status.tolist() == ["ok", "failed", "ok", "ok"]
    assert found.info["reason"][1].startswith("3 processes ended while they computed it")


def test_attempts_of_jobs_before_count(tmp_path, structures):
    path = tmp_path / "a.journal"
    process(path, structures, (0, False))
    first = Ledger.left_in(path.read_bytes(), structures).configurations
    assert first.info["attempts"].tolist() == [1, 0, 0, 0]
    path.unlink()
    process(path, first[[0]], (0, False))
    assert Ledger.left_in(path.read_bytes(), first[[0]]).configurations.status.tolist() == [
        "failed"
    ]


def test_who_stops_by_hand_blames_no_structure(tmp_path, structures):
    path = tmp_path / "a.journal"
    for _ in range(3):
        journal = Journal(path)
        ledger = Ledger(structures, journal, METHOD)
        ledger.begin(0)
        ledger.release()
        journal.close()
    assert Ledger(structures, Journal(path), METHOD).left == [0, 1, 2, 3]


@pytest.mark.parametrize("other", ["structures", "method"])
def test_the_journal_of_another_labelling_is_refused_and_kept(tmp_path, structures, other):
    path = tmp_path / "a.journal"
    process(path, structures, (0, True))
    before = path.read_bytes()
    method = METHOD if other == "structures" else {"fingerprint": "xyz"}
    wanted = structures[1:] if other == "structures" else structures
    with pytest.raises(ValueError, match="labels of another labelling"):
        Ledger(wanted, Journal(path), method)
    assert path.read_bytes() == before


def test_a_journal_of_other_structures_is_not_believed(tmp_path, structures):
    path = tmp_path / "a.journal"
    process(path, structures, (0, True))
    with pytest.raises(ValueError, match="not those that were to be labelled"):
        Ledger.left_in(path.read_bytes(), structures[1:])


def test_labels_with_and_without_a_ledger_are_the_same(tmp_path, structures):
    journal = Journal(tmp_path / "a.journal")
    emt = CalculatorOptions("emt")
    found = label(structures, emt, ledger=Ledger(structures, journal, emt.made_by))
    assert found.to_bytes() == label(structures, emt).to_bytes()


def test_where_there_is_no_room_for_a_label_nothing_is_begun(tmp_path, structures):
    """The limit of a file's size stands for that of the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(tmp_path / "a.journal")
    emt = CalculatorOptions("emt")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            label(structures, emt, ledger=Ledger(structures, journal, emt.made_by))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.computed.status.tolist() == ["unlabelled"] * 4
    assert "attempts" not in caught.value.computed.info


def test_a_damaged_first_record_costs_no_label(tmp_path, structures):
    path = tmp_path / "a.journal"
    process(path, structures, (0, True))
    process(path, structures, (1, True))
    path.write_bytes(b"00" + path.read_bytes()[2:])
    assert Ledger(structures, Journal(path), METHOD).left == [2, 3]
