import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def copper():
    """Four cells of copper with EMT's labels."""
    frames = []
    for seed in range(4):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.08, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture
def dataset(folder, copper):
    copper.save("dataset.safetensors")
    return copper


@pytest.fixture
def start(folder, copper):
    blank = copper.with_labels(np.full(4, np.nan), np.full((16, 3), np.nan))[:2]
    blank.save("structures.safetensors")
    return blank


@pytest.fixture
def potential(folder):
    """Two Morse potentials that do not agree."""
    model = {"architecture": "morse"}
    deep = {"architecture": "morse", "parameters": {"Cu": {"De": 3.0, "re": 2.2, "a": 1.4}}}
    from aiida_mlal.ml.models.ensemble import Ensemble

    members = [ModelOptions.parse(m).build(["Cu"], 0) for m in (model, deep)]
    committee = Ensemble(members)
    Checkpoint(committee).save("potential.safetensors")
    return committee
