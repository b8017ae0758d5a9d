import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import pytest

from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import suggest
from aiida_mlal.ml.stopping import Interrupted
from aiida_mlal.ml.tasks import runner
from aiida_mlal.ml.tasks.base import STATUSES, Progress, Task, plain, write_json
from aiida_mlal.ml.tasks.runner import compose, execute, parse, run_file, versions
from aiida_mlal.ml.watching import watched_by


@dataclass(frozen=True)
class Trouble(Task):
    """Ends in the way it is told to."""

    error: str = ""

    def run(self) -> dict[str, Any]:
        errors = {
            "value": ValueError("the files do not fit"),
            "float": FloatingPointError("the loss is nan"),
            "memory": MemoryError(),
            "torch": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "cuda": RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"),
            "stop": Interrupted("stopped by SIGTERM", {"half": 1}),
            "disk": OSError(28, "No space left on device"),
            "bug": KeyError("oops"),
        }
        if self.error:
            raise errors[self.error]
        return {"answer": 42, "message": "by the way"}


@pytest.fixture(autouse=True)
def trouble(monkeypatch):
    find = plugins.find
    monkeypatch.setattr(
        plugins, "find", lambda group, name: Trouble if name == "trouble" else find(group, name)
    )


def run(folder, values):
    (folder / "task.json").write_text(values if isinstance(values, str) else json.dumps(values))
    status = run_file(folder / "task.json")
    return status, json.loads((folder / "result.json").read_text())


def test_a_task_that_ends_well(tmp_path):
    status, result = run(tmp_path, {"task": "trouble", "version": 1})
    assert status == 0
    assert (result["status"], result["answer"], result["task"]) == ("ok", 42, "trouble")
    assert result["message"] == "by the way"
    assert result["seconds"] >= 0
    assert {"python", "aiida-mlal", "numpy", "torch"} <= set(result["versions"])


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("value", "invalid_input"),
        ("float", "diverged"),
        ("memory", "out_of_memory"),
        ("torch", "out_of_memory"),
        ("cuda", "out_of_memory"),
        ("stop", "interrupted"),
        ("disk", "internal_error"),
        ("bug", "internal_error"),
    ],
)
def test_how_a_task_can_end(tmp_path, capsys, error, word):
    status, result = run(tmp_path, {"task": "trouble", "error": error})
    assert status == 1
    assert result["status"] == word
    assert word in STATUSES
    assert result["message"]
    assert word in capsys.readouterr().err


def test_a_bug_leaves_its_traceback(tmp_path, capsys):
    run(tmp_path, {"task": "trouble", "error": "bug"})
    assert "Traceback" in capsys.readouterr().err
    result = run(tmp_path, {"task": "trouble", "error": "disk"})[1]
    assert "No space left on device" in result["message"]
    assert "Traceback" not in capsys.readouterr().err


def test_what_was_computed_before_an_interrupt_is_kept(tmp_path):
    assert run(tmp_path, {"task": "trouble", "error": "stop"})[1]["half"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "expected a mapping with 'task'"),
        ("{}", "expected a mapping with 'task'"),
        ('{"task": "trian"}', "did you mean 'train'"),
        ('{"task": 3}', "unknown task '3'"),
        ('{"task": "trouble", "version": 2}', "format version 2, this release reads 1"),
        ('{"task": "trouble", "eror": ""}', "unknown option 'eror', did you mean 'error'"),
        ('{"task": "trouble", "error": 1}', "expected str, got 1"),
    ],
)
def test_wrong_tasks_are_explained(tmp_path, content, words):
    status, result = run(tmp_path, content)
    assert status == 1
    assert result["status"] == "invalid_input"
    assert words in result["message"]


@pytest.mark.parametrize("file", ["../victim", "/tmp/mlal-victim", "a/b", ".."])
@pytest.mark.parametrize("option", ["output", "save_potential"])
def test_a_task_of_somebody_else_writes_nothing_elsewhere(tmp_path, option, file):
    status, result = run(tmp_path, {"task": "trouble", option: file})
    assert status == 1
    assert result["status"] == "invalid_input"
    assert f"expected a name without a folder, got '{file}'" in result["message"]


def test_a_missing_file_is_explained(tmp_path):
    assert run_file(tmp_path / "task.json") == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert "No such file" in result["message"]


def test_runs_in_the_folder_of_the_task_and_comes_back(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(here)
    run(there, {"task": "trouble"})
    assert os.getcwd() == str(here)
    assert not list(here.iterdir())


def test_composed_tasks_are_parsed_again():
    for name, options in {
        "train": {"model": {"architecture": "bpnn"}, "training": {"epochs": 3}, "seed": 4},
        "simulate": {"simulation": {"name": "relax", "fmax": 0.1}},
        "select": {"strategy": {"name": "final", "n": 2}},
        "label": {"calculator": {"name": "emt"}},
        "evaluate": {},
        "properties": {
            "properties": [{"name": "elastic", "strain": 0.01}],
            "potential": None,
            "calculator": {"name": "emt"},
        },
    }.items():
        task = parse({"task": name, "version": 1, **options})
        again = json.loads(json.dumps(compose(name, task)))
        assert parse(again) == task


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task": "train", "model": {"architecture": "bpnm"}, "training": {}}, "'bpnn'"),
        ({"task": "train", "model": {"architecture": "bpnn"}, "training": {"epoch": 1}}, "epochs"),
        ({"task": "simulate", "simulation": {"name": "relax", "fmaks": 1}}, "'fmax'"),
        ({"task": "simulate", "simulation": {}}, "expected a simulation"),
        ({"task": "select", "strategy": {"name": "final", "k": 1}}, "'n'"),
        ({"task": "select", "strategy": {"name": "final"}, "filters": {"max_forc": 1}}, "max_f"),
        ({"task": "label", "calculator": {"name": "emmt"}}, "'emt'"),
        ({"task": "label", "calculator": {"name": "emt"}, "limits": {"x": 1}}, "unknown option"),
    ],
)
def test_every_option_is_checked_before_anything_runs(values, words):
    with pytest.raises(ValueError, match=words):
        parse(values)


def test_versions_are_known_without_importing():
    assert versions()["aiida-mlal"] == "0.1.0"
    assert suggest("a", ["b"])  # the sentence that the messages above end with


def test_json_knows_no_nan_and_no_arrays(tmp_path):
    import numpy as np

    values = {"a": np.float32(0.5), "b": [np.nan, np.inf, 1], 3: np.arange(2), "c": (True, None)}
    write_json(tmp_path / "x.json", values)
    found = json.loads((tmp_path / "x.json").read_text())
    assert found == {"a": 0.5, "b": [None, None, 1], "3": [0, 1], "c": [True, None]}
    assert plain(np.int64(3)) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_progress_is_written_now_and_then(tmp_path):
    progress = Progress("steps", "step", "n_steps", every=1000, path=tmp_path / "progress.json")
    progress(step=1)
    progress(step=2)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 1
    progress = Progress("steps", "step", "n_steps", every=0, path=tmp_path / "progress.json")
    progress(step=3)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 3


def test_progress_is_told_to_who_watches(tmp_path):
    progress = Progress("epochs", "epoch", "epochs", path=tmp_path / "progress.json")
    heard = []
    with watched_by(lambda *counts, **values: heard.append((counts, values))):
        progress(epoch=2, epochs=9, loss=0.125)
        progress(epoch=3)
    progress(epoch=4, epochs=9, loss=0.1)
    assert heard == [(("epochs", 2, 9), {"loss": 0.125}), (("epochs", 3, None), {})]


SLEEPER = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from aiida_mlal.ml import plugins
from aiida_mlal.ml.tasks.base import Task
from aiida_mlal.ml.tasks.runner import run_file

@dataclass(frozen=True)
class Sleep(Task):
    workers: int = 0
    def run(self):
        open("started", "w").close()
        if not self.workers:
            time.sleep(60)
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            list(pool.map(time.sleep, [60] * 2 * self.workers))
        return {}

plugins.find = lambda group, name: Sleep
sys.exit(run_file(sys.argv[1]))
"""


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_task_but_not_the_result(tmp_path, number, workers):
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"task": "sleep", "workers": workers}))
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(task)], stderr=subprocess.PIPE, text=True
    )
    try:
        while not (tmp_path / "started").exists():
            time.sleep(0.05)
        time.sleep(0.5)  # until the workers are there
        start = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert time.monotonic() - start < 30
    assert process.returncode == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert number.name in result["message"]


def test_signals_are_as_before_afterwards(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path, {"task": "trouble"})
    assert signal.getsignal(signal.SIGTERM) == before


def test_execute_says_the_same_in_a_thread():
    """Where signals cannot be watched."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(execute, {"task": "trouble"}).result()["answer"] == 42


def test_runner_has_no_task_of_its_own():
    tasks = {"evaluate", "grade", "label", "properties", "select", "simulate", "train"}
    assert set(plugins.names("tasks")) == tasks
    assert runner.VERSION == 1
