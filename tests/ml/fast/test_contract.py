"""What holds for every kernel, in sums and committees too; of threads see ``test_sum``."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.engines.choose import choose
from tests.ml.fast.test_sum import MODELS, make


def tiny():
    """A cell that is smaller than any cutoff, so that most neighbours are ghosts."""
    cell = [[2.9, 0.1, 0], [0.3, 2.8, 0.2], [0, -0.3, 3.0]]
    return Atoms("CuAu", [[0, 0, 0], [1.4, 1.5, 1.3]], cell=cell, pbc=True)


def slab():
    atoms = bulk("Cu", "fcc", 3.8, cubic=True) * (1, 2, 1)
    atoms.numbers[::3] = 79
    atoms.pbc = (True, True, False)
    atoms.rattle(0.1, seed=0)
    return atoms


def cluster_and_a_lone_atom():
    return Atoms("CuAuCuCu", [[0, 0, 0], [2.4, 0.2, 0], [0.4, 2.3, 0.5], [40, 0, 0]])


STRUCTURES = {"tiny": tiny, "slab": slab, "cluster": cluster_and_a_lone_atom}


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def potential(request):
    return make(request.param)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_torch_says_the_same(potential, structure):
    atoms = structure()
    found, expected = (choose(potential, name)(atoms) for name in ("numba", "torch"))
    scale = np.abs(expected.members.forces).max()
    assert scale > 1e-3
    assert found.energy == pytest.approx(expected.energy, rel=1e-10, abs=1e-10 * scale)
    assert found.forces == pytest.approx(expected.forces, abs=1e-9 * scale)
    assert found.members.energies == pytest.approx(expected.members.energies, rel=1e-10, abs=1e-9)
    assert found.members.forces == pytest.approx(expected.members.forces, abs=1e-9 * scale)
    if atoms.pbc.all():
        assert found.virial == pytest.approx(expected.virial, abs=1e-8 * scale)


def test_forces_and_virial_are_derivatives_of_the_energy(potential):
    h, atoms = 1e-5, tiny()
    found = choose(potential, "numba")(atoms)
    scale = np.abs(found.members.forces).max()

    def energy(shift, strain):
        moved = atoms.copy()
        moved.positions += shift
        moved.set_cell(moved.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        return choose(potential, "numba")(moved).energy

    shift, strain = np.zeros((2, 3)), np.zeros((3, 3))
    for axis in range(3):
        shift[1, axis] = h
        slope = (energy(shift, strain) - energy(-shift, strain)) / (2 * h)
        shift[1, axis] = 0.0
        assert found.forces[1, axis] == pytest.approx(-slope, abs=1e-6 * scale)
    for one, other in ((0, 0), (0, 1), (2, 1)):
        strain[one, other] = h
        slope = (energy(shift, strain) - energy(shift, -strain)) / (2 * h)
        strain[one, other] = 0.0
        assert found.virial[one, other] == pytest.approx(slope, abs=1e-5 * scale)
