import os
import resource
from pathlib import Path

import pytest

from aiida_mlal.ml.journal import Journal, read


def written(path, n):
    journal = Journal(path)
    for i in range(n):
        journal.append({"number": i})
    return journal


def numbers(path):
    return [record["number"] for record in Journal(path).records]


def test_records_are_on_disk_at_once_and_found_again(tmp_path):
    path = tmp_path / "a.journal"
    journal = written(path, 2)
    assert [record["number"] for record in read(path.read_bytes())] == [0, 1]
    journal.close()
    again = Journal(path)
    again.append({"number": 2})
    again.close()
    assert numbers(path) == [0, 1, 2]
    again.remove()
    assert not list(tmp_path.iterdir())


def test_nothing_is_made_before_the_first_record(tmp_path):
    Journal(tmp_path / "a.journal").close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", [b"8f00", b'8f00 {"number": 7', b"\0" * 4096])
def test_a_record_written_by_halves_spoils_no_other(tmp_path, end):
    path = tmp_path / "a.journal"
    written(path, 2).close()
    with path.open("ab") as file:
        file.write(end)
    journal = Journal(path)
    journal.append({"number": 2})
    journal.close()
    assert numbers(path) == [0, 1, 2]


def test_a_damaged_record_is_left_out(tmp_path):
    path = tmp_path / "a.journal"
    written(path, 3).close()
    path.write_bytes(path.read_bytes().replace(b'"number": 1', b'"number": 9'))
    assert numbers(path) == [0, 2]


def test_only_one_process_writes(tmp_path):
    journal = written(tmp_path / "a.journal", 1)
    with pytest.raises(ValueError, match="another process is writing"):
        Journal(tmp_path / "a.journal")
    journal.close()
    assert numbers(tmp_path / "a.journal") == [0]


def test_room_is_given_back(tmp_path):
    path = tmp_path / "a.journal"
    journal = written(path, 1)
    size = path.stat().st_size
    journal.reserve(100_000)
    assert path.stat().st_size > 100_000
    journal.close()
    assert path.stat().st_size == size


def test_a_path_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    journal = Journal("a.journal")
    monkeypatch.chdir("/")
    journal.append({"number": 0})
    journal.close()
    assert numbers(tmp_path / "a.journal") == [0]


def test_a_full_disk_is_known_before_something_is_computed(tmp_path):
    """The limit of a file's size stands for that of the disk."""
    path = tmp_path / "a.journal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = written(path, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.reserve(100_000)
        journal.append({"number": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.close()
    assert numbers(path) == [0, 1]
    assert os.listdir(tmp_path) == [Path(path).name]
