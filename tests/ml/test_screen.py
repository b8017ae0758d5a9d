import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from aiida_mlal.ml.screen import Screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def screen_on(stream, **options):
    clock = Clock()
    return Screen(stream, clock=clock, **options), clock


def test_a_bar_on_a_terminal():
    stream = Terminal()
    screen, clock = screen_on(stream)
    for done in range(1, 11):
        clock.now += 0.5
        screen("epochs", done, 10, loss=0.25, uncertainty=None)
    screen.close()
    pictures = stream.getvalue().split("\r")
    assert "2/10" in pictures[1]  # the first second is waited for
    assert re.search(r"epochs +\[#{20}\] +10/10", pictures[-1])
    assert "loss 0.25" in pictures[-1]
    assert "uncertainty" not in pictures[-1]


def test_what_is_soon_over_is_not_shown():
    stream = Terminal()
    screen, clock = screen_on(stream)
    for done in range(1, 11):
        clock.now += 0.05
        screen("epochs", done, 10)
    screen.close()
    assert stream.getvalue() == ""


def test_a_bar_for_each_thing_that_is_done():
    stream = Terminal()
    screen, clock = screen_on(stream, patience=0.0)
    for what, done in [("a", 1), ("a", 2), ("b", 3), ("b", 1)]:
        clock.now += 1.0
        screen(what, done, 9)
    screen.close()
    assert stream.getvalue().count("\n") == 3


def test_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    screen, clock = screen_on(stream, every=30.0)
    for done in range(1, 101):
        clock.now += 1.0
        screen("labels", done, 100, status="ok")
    screen.close()
    assert stream.getvalue().splitlines() == [
        "labels: 30 of 100, status ok, about 70 s left",
        "labels: 60 of 100, status ok, about 40 s left",
        "labels: 90 of 100, status ok, about 10 s left",
    ]


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_an_end_that_nobody_knows(stream):
    screen, clock = screen_on(stream)
    for step in range(61):
        clock.now += 0.5
        screen("steps", step, None, fmax=0.125)
    screen.close()
    assert stream.getvalue().splitlines()[-1].startswith("steps: ")
    assert stream.getvalue().endswith(", fmax 0.125\n")


def test_jobs_write_no_lines():
    stream = io.StringIO()
    screen, clock = screen_on(stream, every=None)
    clock.now = 1e6
    screen("labels", 1, 2)
    assert stream.getvalue() == ""


def test_a_closed_terminal_ends_nothing():
    stream = Terminal()
    screen, clock = screen_on(stream, patience=0.0)
    stream.close()
    for done in (1, 2):
        clock.now += 10
        screen("labels", done, 3)
    screen.close()


SLOW = """
import time

from ase.calculators.emt import EMT


class Slow(EMT):
    def calculate(self, *arguments):
        time.sleep(0.4)
        super().calculate(*arguments)


def make():
    return Slow()
"""


def test_results_are_json_beside_a_bar(tmp_path):
    """On a real terminal, while standard output goes elsewhere."""
    (tmp_path / "slow.py").write_text(SLOW)
    write(tmp_path / "start.extxyz", [bulk("Cu", a=a) for a in np.linspace(3.5, 3.7, 6)])
    calculator = '{"name": "slow", "factory": "slow:make"}'
    ours, theirs = pty.openpty()
    said = subprocess.run(
        [Path(sys.executable).with_name("mlal"), "label", "start.extxyz", "-c", calculator],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert json.loads(said.stdout)["statuses"] == {"ok": 6}
    assert re.search(r"labels +\[#+-+\] +[345]/6", shown)
    assert re.search(r"labels +\[#{20}\] +6/6 .*status ok.*\r\n$", shown)
