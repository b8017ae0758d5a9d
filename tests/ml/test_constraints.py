import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from ase.io import write

from aiida_mlal.ml import constraints
from aiida_mlal.ml.formats.files import read

SLAB = fcc111("Cu", (2, 1, 2), vacuum=5)
SLAB.pbc = True


@pytest.mark.parametrize("mask", [(1, 0, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("atoms", [bulk("Cu", cubic=True), bulk("Cu"), SLAB])
def test_scaled_constraints_fix_the_same_or_are_left_out(atoms, mask):
    """The free components of x, y and z are those that free lattice vectors span."""
    fixed = np.zeros((len(atoms), 3), bool)
    fixed[0] = mask
    atoms = atoms.copy()
    atoms.set_constraint(constraints.scaled(atoms, fixed))
    for constraint in atoms.constraints:
        kept = atoms.cell.array[~np.array(constraint.mask)]
        assert np.linalg.matrix_rank(np.concatenate([kept, np.eye(3)[~fixed[0]]])) == len(kept)
    found, others = constraints.of_ase(atoms)
    assert not others
    assert (found == fixed).all() == bool(atoms.constraints)


def test_a_primitive_cell_has_no_lattice_vector_along_z():
    assert not constraints.scaled(bulk("Cu"), np.array([[False, False, True]]))
    (along_c,) = constraints.scaled(SLAB, np.array([[False, False, True]] + [[False] * 3] * 3))
    assert isinstance(along_c, FixScaled)
    assert along_c.mask.tolist() == [False, False, True]


def test_components_come_back():
    fixed = np.array([[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 1]], bool)
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(constraints.to_ase(fixed))
    assert {type(one) for one in atoms.constraints} == {FixAtoms, FixCartesian}
    assert (constraints.of_ase(atoms)[0] == fixed).all()


@pytest.mark.parametrize("kind", [FixAtoms, lambda indices: FixCartesian(indices, (1, 0, 0))])
def test_atoms_that_there_are_not_are_named(tmp_path, kind):
    """A file with such a constraint ended in an IndexError."""
    frames = [bulk("Cu"), bulk("Cu", cubic=True)]
    frames[1].set_constraint(kind([1, 7]))
    write(tmp_path / "a.traj", frames)
    with pytest.raises(
        ValueError, match=r"a.traj: structure 1: its Fix\w+ is of the atoms \[1 7\]"
    ):
        read(tmp_path / "a.traj")
