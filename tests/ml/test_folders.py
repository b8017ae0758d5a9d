import os

import pytest

from aiida_mlal.ml.folders import check_writable


def test_where_a_file_can_be_written(tmp_path, monkeypatch):
    check_writable(tmp_path / "new.cfg")
    (tmp_path / "old.cfg").touch()
    check_writable(tmp_path / "old.cfg")
    monkeypatch.chdir(tmp_path)
    check_writable("new.cfg")


def test_where_none_can_be(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"a\.cfg: there is no folder .*nowhere to write to"):
        check_writable(tmp_path / "nowhere" / "a.cfg")
    with pytest.raises(ValueError, match="is a folder, a file is to be written"):
        check_writable(tmp_path)
    (tmp_path / "a.cfg").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match=r"a\.cfg is not writable"):
        check_writable(tmp_path / "a.cfg")
    with pytest.raises(ValueError, match=r"b\.cfg: .* is not writable"):
        check_writable(tmp_path / "b.cfg")
