"""One structure of a file is strange: each task says which one, and why."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute

MODEL = {"architecture": "mtp", "level": 2}
TASKS = {
    "train": {"task": "train", "dataset": "strange.safetensors", "model": MODEL, "training": {}},
    "validate": {
        "task": "train", "dataset": "dataset.safetensors", "validation": "strange.safetensors",
        "model": MODEL, "training": {},
    },
    "properties": {
        "task": "properties", "dataset": "strange.safetensors", "properties": [{"name": "lattice"}],
    },
    "maxvol": {
        "task": "select", "pool": "strange.safetensors", "train": None,
        "strategy": {"name": "maxvol"},
    },
    "lcmd": {
        "task": "select", "pool": "strange.safetensors", "train": "dataset.safetensors",
        "strategy": {"name": "lcmd", "n": 1},
    },
    "md": {
        "task": "simulate", "dataset": "strange.safetensors",
        "simulation": {"name": "md", "steps": 1},
    },
    "relax": {
        "task": "simulate", "dataset": "strange.safetensors", "simulation": {"name": "relax"},
    },
}  # fmt: skip


def cell(kind):
    atoms = bulk("Cu", cubic=True)
    if kind == "together":
        atoms.positions[2] = atoms.positions[1]
    elif kind == "empty":
        del atoms[:]
    else:
        atoms.cell[2] *= 1e-6 if kind == "thin" else 0.0
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((len(atoms), 3)))
    return atoms


@pytest.mark.parametrize(
    ("task", "kind", "words"),
    [
        *((one, "together", "atoms 1 and 2 are less") for one in ("train", "validate")),
        ("properties", "together", "atoms 1 and 2 are less"),
        ("maxvol", "together", "atoms 1 and 2 are less"),
        *((one, "empty", "there are no atoms") for one in ("train", "md", "relax")),
        *((one, "flat", "periodic along lattice vector 2") for one in ("train", "maxvol", "lcmd")),
        ("md", "thin", "periodic along lattice vector 2, where the cell is 3.61e-06 Å high"),
    ],
)
def test_it_is_named_with_its_file(dataset, potential, task, kind, words):
    """Some ended in numbers that are none, errors of Python, or not at all."""
    odd = Configurations.from_ase(cell(kind))
    Configurations.concatenate([dataset, odd]).save("strange.safetensors")
    options = TASKS[task] | (
        {} if "model" in TASKS[task] else {"potential": "potential.safetensors"}
    )
    result = execute(options)
    assert result["status"] == "invalid_input"
    assert f"strange.safetensors: structure {len(dataset)} (" in result["message"]
    assert words in result["message"]


@pytest.mark.parametrize("kind", ["together", "empty", "flat", "thin"])
def test_others_are_labelled_all_the_same(dataset, kind):
    """A cell that was too thin to look for neighbours ended the whole."""
    odd = Configurations.from_ase(cell(kind))
    structures = Configurations.concatenate([dataset[:1], odd, dataset[1:]])
    structures.save("strange.safetensors")
    result = execute(
        {"task": "label", "dataset": "strange.safetensors", "calculator": {"name": "emt"}}
    )
    assert result["status"] == "ok"
    assert result["statuses"] == {"ok": len(dataset), "unphysical": 1}
    assert "number 1 is unphysical" in result["message"]
