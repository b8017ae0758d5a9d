"""Labels that were learned from and are missed."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.missed import missed
from aiida_mlal.ml.training.options import TrainingOptions


@pytest.fixture(scope="module")
def labels():
    """Small displacements and strains of an alloy: labels vary little among themselves."""
    frames, rng = [], np.random.default_rng(0)
    for _ in range(12):
        atoms = bulk("Cu", cubic=True, a=3.7)
        atoms.symbols[0] = "Au"
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.008 * rng.normal(size=(3, 3))), True)
        atoms.positions += 0.03 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    return Configurations.from_ase(frames)


def trained(labels):
    model = ModelOptions.parse({"architecture": "gp", "cutoff": 5.0})
    options = {"epochs": 5, "optimizer": {"name": "marginal_likelihood"}}
    loss = {"energy": 1.0, "force": 1.0, "stress": 1.0}
    potential = model.build(list(labels.elements), 0)
    return fit(potential, labels, build(TrainingOptions, options | {"loss": loss}), 0)


def test_forces_of_other_atoms_are_seen_beside_right_stresses(labels):
    """The stresses hide them: most of the variance is explained, in weights of the loss."""
    forces = labels.forces.reshape(-1, 4, 3)[:, [1, 0, 2, 3]].reshape(-1, 3)
    wrong = labels.with_labels(labels.energies, forces, labels.stresses)
    right, other = trained(labels), trained(wrong)
    assert right.learned
    assert not any("are missed: " in said for said in right.warnings)
    assert not other.learned or any("are missed: force by" in said for said in other.warnings)


def test_they_are_compared_with_how_they_vary(labels):
    size = np.sqrt(np.mean(labels.forces**2))
    assert missed(labels, {"force_rmse": 0.45 * size}) == []
    (said,) = missed(labels, {"force_rmse": 0.55 * size})
    assert f"force by {0.55 * size:.2g} eV/Å where it is {size:.2g}" in said
    spread = np.std(labels.energies) / 4
    said = missed(labels, {"energy_rmse": max(0.011, 2 * spread)})
    assert "energy by" in said[0]
    assert missed(labels, {"energy_rmse": 0.009}) == []
    assert missed(Configurations.empty(), {}) == []
