"""The commands that users of MLIP find in the documentation."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from rattled import alloys

from aiida_mlal.ml.cli import mlal
from aiida_mlal.ml.formats import files

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "come_from_mlip.md"
COMMANDS = re.findall(r"^\|.*\| `mlal (.*)` \|$", PAGE.read_text(), re.M)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command says, run one after the other in one folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mlip"))
        for name, n in (("train", 12), ("in", 4), ("candidates", 6)):
            files.write(alloys(n, n, labelled=True), f"{name}.cfg", ("Ag", "Pd"))
        results = {}
        for command in COMMANDS:
            result = CliRunner().invoke(mlal, shlex.split(command))
            results[command] = result.exit_code, result.stdout, result.output
        yield results


def test_every_row_of_the_table_is_a_command():
    rows = re.findall(r"^\| .*`.*\|$", PAGE.read_text().split("What differs")[0], re.M)
    assert len(COMMANDS) == len(rows) > 18


@pytest.mark.parametrize("command", COMMANDS)
def test_runs(said, command):
    status, _, output = said[command]
    assert status == 0, output


def test_says_what_it_should(said):
    def result(beginning):
        (command,) = [command for command in COMMANDS if command.startswith(beginning)]
        return json.loads(said[command][1])

    assert result("errors")["errors"]["energy_mae"] < 0.1
    assert result("grade pot.almtp in.cfg -o")["n_structures"] == 4
    assert result("select pot.almtp")["n_pool"] == 6
    assert len(result("select in.cfg")["selected"]) == 3
    ends = result("select relaxed.safetensors")["selected"]
    assert [end["reason"] for end in ends] == [f"last frame of run {run}" for run in range(4)]
    assert 2.0 < result("mindist in.cfg")["mindist"] < 2.8
    assert result("show train.cfg")["statuses"] == {"ok": 12}
