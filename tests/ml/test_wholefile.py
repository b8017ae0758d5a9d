import pytest

from aiida_mlal.ml import wholefile
from aiida_mlal.ml.wholefile import write_whole


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"first", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_there_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    """As on a full disk, which is noticed when data are to reach it."""
    path = tmp_path / "a.bin"
    write_whole(path, b"first")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wholefile.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
