"""Fixtures of the AiiDA layer; loaded only where AiiDA is installed."""

import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms


@pytest.fixture
def slab():
    """A small slab of Cu with C in a hollow, its lowest layer fixed."""
    atoms = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    add_adsorbate(atoms, "C", 1.0, "hollow")
    atoms.pbc = True
    atoms.set_constraint(FixAtoms([0]))
    return atoms


@pytest.fixture
def frames(slab):
    """Six rattled copies of the slab, labelled by EMT."""
    rng = np.random.default_rng(7)
    copies = []
    for _ in range(6):
        atoms = slab.copy()
        atoms.positions += 0.08 * rng.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        copies.append(atoms)
    return copies


@pytest.fixture
def configurations(frames):
    from aiida_mlal.ml.configurations import Configurations

    return Configurations.from_ase(frames)


@pytest.fixture
def dataset(configurations):
    from aiida_mlal.data.dataset import DatasetData

    return DatasetData(configurations)


MODEL = {
    "architecture": "bpnn",
    "cutoff": 4.0,
    "hidden": [4],
    "prior": {"architecture": "morse", "cutoff": 4.0},
}
"""A model as small as possible."""


@pytest.fixture
def potential():
    """An untrained potential."""
    from aiida_mlal.ml.models.factory import ModelOptions

    return ModelOptions.parse(MODEL).build(["C", "Cu"], seed=1)


@pytest.fixture
def mlal_code(aiida_code_installed):
    """The ``mlal`` of this environment on this computer."""
    return aiida_code_installed(
        label="mlal",
        filepath_executable=str(Path(sys.executable).with_name("mlal")),
        prepend_text="export OMP_NUM_THREADS=1",
    )
