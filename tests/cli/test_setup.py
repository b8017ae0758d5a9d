"""``aiida-mlal setup``, in an AiiDA configuration of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("aiida")


@pytest.fixture(scope="module")
def run(folder):
    """Run a command where the only AiiDA configuration is a new one."""

    def run(*command, home=None):
        own = {"AIIDA_PATH": str(folder), "HOME": str(home or folder / "home")}
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="module")
def first(run):
    return run("aiida-mlal", "setup", "--name", "one", "--broker", "none")


def test_makes_profile_computer_and_code(first, run, folder):
    assert first.returncode == 0, first.stderr
    for what in ("profile one", "computer localhost", f"code mlal@localhost, {BIN / 'mlal'}"):
        assert f"created {what}" in first.stdout
    assert str(folder) in first.stdout.partition("jobs run in ")[2]
    codes = run("verdi", "-p", "one", "code", "list").stdout
    assert "mlal@localhost" in codes
    assert ("pw@localhost" in codes) == (shutil.which("pw.x") is not None)


def test_may_be_repeated(first, run):
    again = run("aiida-mlal", "setup", "--name", "one")
    assert again.returncode == 0
    assert "created" not in again.stdout
    assert "kept code mlal@localhost" in again.stdout


def test_jobs_wait_for_nothing(first, run):
    shown = run("verdi", "-p", "one", "computer", "configure", "show", "localhost").stdout
    assert "safe_interval 0" in " ".join(shown.split())
    assert "1" in run("verdi", "-p", "one", "config", "get", "runner.poll.interval").stdout


def make_program(path):
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_another_pw_takes_the_label_and_the_old_one_is_kept(first, run, tmp_path):
    executable = make_program(tmp_path / "pw.x")
    pytest.importorskip("aiida_quantumespresso")
    changed = run("aiida-mlal", "setup", "--name", "one", "--pw", str(executable))
    assert f"created code pw@localhost, {executable}" in changed.stdout
    assert run("aiida-mlal", "setup", "--name", "one", "--pw", str(executable)).returncode == 0


def test_vasp_becomes_a_code(first, run, tmp_path):
    executable = make_program(tmp_path / "vasp_std")
    pytest.importorskip("aiida_vasp")
    answer = run("aiida-mlal", "setup", "--name", "one", "--vasp", str(executable))
    assert f"created code vasp@localhost, {executable}" in answer.stdout


def test_leaves_the_home_alone(first, run, folder, tmp_path):
    assert run("aiida-mlal", "setup", "--name", "one", home=tmp_path).returncode == 0
    assert not (tmp_path / ".aiida").exists()


def test_unknown_command_is_answered_with_the_nearest(run):
    answer = run("aiida-mlal", "statsu")
    assert answer.returncode != 0
    assert "status" in answer.stderr


UPF = '<UPF version="2.0.1">\n<PP_HEADER element="{}" z_valence="1.0"/>\n</UPF>\n'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"H.upf": UPF.format("H"), "notes.txt": "to do"},
            "notes.txt is no pseudopotential in UPF",
        ),
        (
            {"a.upf": UPF.format("H"), "b.upf": UPF.format("H") + " "},
            "a.upf and b.upf are both of H",
        ),
    ],
)
def test_a_file_that_makes_no_family_is_named(first, run, tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    result = run("aiida-mlal", "setup", "--name", "one", "--pseudos", str(tmp_path))
    assert result.returncode != 0
    assert f"{tmp_path}: {message}" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
