"""Whether relaxed structures are of one minimum."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cluster import Icosahedron
from ase.optimize import BFGS

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.minima import is_same_minimum
from aiida_mlal.ml.simulation.cell import MovingCell


def labelled(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        found["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **found)
    return Configurations.from_ase(atoms)


def relaxed(seed, size=0.1, fmax=0.03):
    atoms = Icosahedron("Au", 2)
    atoms.rattle(size, seed=seed)
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=fmax, steps=300)
    return atoms


def test_relaxations_from_near_by_are_of_one_minimum():
    one, other = relaxed(0), relaxed(1)
    assert np.abs(one.positions - other.positions).max() > 1e-3
    assert is_same_minimum(labelled(one), labelled(other))


def test_turned_and_shifted_clusters_are_the_same():
    one, other = relaxed(0), relaxed(1)
    other.rotate(63, (1, 2, 3))
    other.translate((3, -1, 2))
    assert is_same_minimum(labelled(one), labelled(other))


def test_an_atom_elsewhere_on_a_cluster_is_another_minimum():
    one = relaxed(0)
    other = one.copy()
    del other[-1]  # a vertex, put on a face
    far = other.positions[np.argsort(-np.linalg.norm(other.positions, axis=1))[:1]]
    near = other.positions[np.argsort(np.linalg.norm(other.positions - far, axis=1))[:3]]
    centre = near.mean(axis=0)
    other.append("Au")
    other.positions[-1] = centre * (1 + 2.4 / np.linalg.norm(centre))
    other.calc = EMT()
    BFGS(other, logfile=None).run(fmax=0.03, steps=300)
    assert other.get_potential_energy() - labelled(one).energies[0] > 0.05
    assert not is_same_minimum(labelled(one), labelled(other))
    assert not is_same_minimum(labelled(other), labelled(one))


def test_atoms_that_flew_apart_are_another_minimum():
    near, far = (Atoms("Cu2", [[0, 0, 0], [0, 0, d]]) for d in (2.2, 12.0))
    near.calc = EMT()
    BFGS(near, logfile=None).run(fmax=0.01)
    assert not is_same_minimum(labelled(near), labelled(far))


@pytest.mark.parametrize("shift", [0.0, 1.3])
def test_lattice_vectors_and_shifts_are_taken_off(shift):
    one = bulk("Cu", cubic=True)
    one.rattle(0.003, seed=0)
    other = bulk("Cu", cubic=True)
    other.rattle(0.003, seed=1)
    other.translate((shift, 0, -shift))
    other.positions[2] += other.cell[0] - other.cell[2]
    assert is_same_minimum(labelled(one), labelled(other))


def test_cells_that_move_are_compared_by_their_enthalpy():
    one, other = bulk("Cu", a=3.50), bulk("Cu", a=3.60)
    assert is_same_minimum(labelled(one), labelled(other), MovingCell("volume"))
    assert is_same_minimum(labelled(one), labelled(other), MovingCell("volume", 10.0))
    wrong = labelled(other)
    wrong = wrong.with_labels(wrong.energies + 0.1, wrong.forces, wrong.stresses)
    assert not is_same_minimum(labelled(one), wrong, MovingCell("volume"))
