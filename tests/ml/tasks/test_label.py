import numpy as np
from ase.build import molecule

from aiida_mlal.ml.configurations import Configurations
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
