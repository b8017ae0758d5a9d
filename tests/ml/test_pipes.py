"""Output that nobody reads."""

import os
import subprocess
import sys

import pytest
from ase.build import bulk
from ase.io import write

from aiida_mlal.ml.pipes import Pipe


@pytest.mark.parametrize("arguments", [["info"], ["info", "maxvol"], ["mindist", "cu.extxyz"]])
def test_a_command_whose_output_is_not_read_ends_in_peace(arguments, tmp_path):
    """As by ``| true``: the pipe is closed before anything is written."""
    write(tmp_path / "cu.extxyz", bulk("Cu", cubic=True))
    code = "import sys; from aiida_mlal.ml.cli import mlal; sys.argv[0] = 'mlal'; mlal()"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_nobody_reads_is_dropped(tmp_path):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        pipe = Pipe(stream)
        pipe.write("read\n")
        pipe.flush()
        assert os.read(reading, 99) == b"read\n"
        os.close(reading)
        assert not pipe.is_closed
        for _ in range(2):
            pipe.write("lost\n")
            pipe.flush()
        assert pipe.is_closed
