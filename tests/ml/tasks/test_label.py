import faulthandler
import json
import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.tasks.runner import execute

TASK = {"task": "label", "calculator": {"name": "emt"}, "dataset": "structures.safetensors"}


def test_labels_every_structure(start, copper):
    result = execute(TASK)
    assert result["status"] == "ok", result
    labelled = Configurations.load("labelled.safetensors")
    np.testing.assert_allclose(labelled.energies, copper.energies[:2], atol=1e-10)
    np.testing.assert_allclose(labelled.forces, copper.forces[:8], atol=1e-10)
    assert labelled.keys == start.keys
    assert result["statuses"] == {"ok": 2}
    assert list(labelled.info["fingerprint"]) == [result["fingerprint"]] * 2
    assert result["description"]["calculator"] == "emt"


def test_a_failed_label_is_a_status_and_no_error(start):
    silicon = molecule("SiH4")
    Configurations.from_ase([start.to_ase()[0], silicon]).save("structures.safetensors")
    result = execute(TASK)
    assert result["status"] == "ok"
    assert result["statuses"] == {"failed": 1, "ok": 1}
    labelled = Configurations.load("labelled.safetensors")
    assert "Si" in labelled.info["reason"][1]
    assert result["message"].startswith("1 of 2 structures have no good label; number 1 is failed")
    assert result["message"].endswith(labelled.info["reason"][1])


def test_limits_are_minded(start):
    result = execute({**TASK, "limits": {"max_force": 1e-6}})
    assert result["statuses"] == {"unphysical": 2}


@pytest.fixture
def fatal(folder, monkeypatch):
    """Return a function that labels five structures in a process of its own, the third is fatal."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "labelling")
    monkeypatch.setenv("MLAL_ALLOWED_FACTORIES", "broken_calculators")
    frames = [bulk("Cu", a=3.4 + 0.1 * i) for i in range(5)]
    frames[2].set_tags([1])
    Configurations.from_ase(frames).save("structures.safetensors")

    # what is slow to find out is known to the processes then
    _ = CalculatorOptions("f", factory="broken_calculators:Fatal").fingerprint

    def run(mode, **more):
        (folder / "mode").write_text(mode)
        options = {"folder": str(folder)}
        calculator = {"name": "f", "factory": "broken_calculators:Fatal", "options": options}
        child = os.fork()
        if not child:
            faulthandler.disable()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            result = execute({**TASK, "calculator": calculator, **more})
            Path("result.json").write_text(json.dumps(result))
            os._exit(0)
        os.waitpid(child, 0)
        if not Path("result.json").exists():
            return None
        return json.loads(Path("result.json").read_text())

    return run


def calls():
    return len(Path("calls").read_text().split())


@pytest.mark.parametrize("mode", ["killed", "segfault"])
def test_labels_survive_the_process_and_are_not_computed_again(fatal, mode):
    assert fatal(mode) is None
    assert Path("labelled.safetensors.journal").exists()
    assert fatal(mode) is None
    assert fatal(mode) is None
    assert calls() == 2 + 1 + 2 + 1 + 1
    result = fatal(mode)
    assert calls() == 7
    assert result["status"] == "ok"
    assert result["statuses"] == {"failed": 1, "ok": 4}
    assert "3 processes ended while they computed it" in result["message"]
    assert "5 of 5 labels were there already" in result["message"]
    labelled = Configurations.load("labelled.safetensors")
    assert labelled.status.tolist() == ["ok", "ok", "failed", "ok", "ok"]
    assert not Path("labelled.safetensors.journal").exists()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("exits", "SystemExit: 3"),
        ("short_of_memory", "MemoryError: Unable to allocate"),
        ("hangs", "there was no label after 0.5 s"),
        ("leaves", "SystemExit: the process was to be ended at once, with status "),
    ],
)
def test_what_a_calculator_does_to_the_process_costs_one_label(fatal, mode, reason):
    result = fatal(mode, timeout=0.5 if mode == "hangs" else None)
    assert result["status"] == "ok"
    labelled = Configurations.load("labelled.safetensors")
    assert labelled.status.tolist() == ["ok", "ok", "failed", "ok", "ok"]
    assert labelled.info["reason"][2].startswith(reason)


def test_a_closed_terminal_costs_nothing(fatal):
    assert fatal("closes_standard_error")["statuses"] == {"ok": 5}


@pytest.mark.parametrize(
    ("mode", "n"), [("stops_itself", 2), ("swallows_a_stop", 3), ("makes_an_error_of_a_stop", 2)]
)
def test_a_stop_ends_the_task_whatever_the_calculator_makes_of_it(fatal, mode, n):
    result = fatal(mode)
    assert result["status"] == "interrupted"
    assert result["statuses"] == {"ok": n, "unlabelled": 5 - n}
    assert "stopped by SIGTERM" in result["message"]
    assert calls() == 3
    fatal("closes_standard_error")  # which goes on
    assert calls() == 3 + 5 - n


def test_too_many_open_files_are_no_fault_of_a_structure(fatal):
    """The process ends, since whatever it computes would fail; its labels are in the journal."""
    left = fatal("out_of_files")
    if left is not None:
        assert "what was labelled is in labelled.safetensors.journal" in left["message"]
    assert calls() == 3
    result = fatal("closes_standard_error")
    assert result["statuses"] == {"ok": 5}
    assert calls() == 6
