import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.checks import Limits, check_geometry, check_label


def labelled(atoms, energy=-3.0, force=0.1):
    one = Configurations.from_ase(atoms)
    forces = np.zeros((len(atoms), 3))
    forces[-1, 0] = force
    return one.with_labels([energy], forces)


def slab():
    atoms = fcc100("Cu", (1, 1, 3), vacuum=5)
    atoms.symbols[-1] = "C"
    return atoms


def status(wanted, found, **limits):
    return check_label(Configurations.from_ase(wanted), found, Limits(**limits))


def test_a_good_label_is_ok():
    assert status(slab(), labelled(slab())) == ("ok", "")


def test_other_periodic_images_are_the_same_atoms():
    atoms = slab()
    atoms.positions[0] += atoms.cell[0] - 2 * atoms.cell[1]
    assert status(slab(), labelled(atoms)) == ("ok", "")


def test_a_vector_that_is_not_periodic_is_no_image():
    atoms = slab()
    atoms.positions[0] += atoms.cell[2]
    assert status(slab(), labelled(atoms))[0] == "failed"


def test_rounding_in_a_file_is_tolerated_and_no_more():
    for shift, expected in ((5e-4, "ok"), (2e-3, "failed")):
        atoms = slab()
        atoms.positions[1, 2] += shift
        assert status(slab(), labelled(atoms))[0] == expected
    assert status(slab(), labelled(atoms), tolerance=0.01)[0] == "ok"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop(), "asked for 3 atoms, got 2"),
        (lambda a: a.symbols.__setitem__(2, "O"), "asked for C 2, got O 2"),
        (lambda a: a.positions.__setitem__((1, 2), 0.0), "Cu 1 is .* Å from where"),
        (lambda a: a.positions.__setitem__((1, 2), np.nan), "nan Å from where"),
        (lambda a: a.set_cell(a.cell * 1.01), "a lattice vector differs by"),
        (lambda a: a.set_pbc(True), r"periodicity \[True, True, False\], got \[True, True, True\]"),
    ],
)
def test_a_label_of_something_else_failed(change, reason):
    atoms = slab()
    change(atoms)
    found = status(slab(), labelled(atoms))
    assert found[0] == "failed"
    assert re.search(reason, found[1])


def test_missing_energy_or_forces_failed():
    assert status(slab(), labelled(slab(), energy=np.nan))[0] == "failed"
    assert status(slab(), labelled(slab(), force=np.inf))[0] == "failed"
    assert status(slab(), Configurations.from_ase(slab()))[0] == "failed"


def test_large_forces_are_unphysical():
    found = status(slab(), labelled(slab(), force=-101.0))
    assert found == ("unphysical", "the force on C 2 is 101.0 eV/Å, more than 100")
    assert status(slab(), labelled(slab(), force=-101.0), max_force=None)[0] == "ok"


def test_large_energies_are_unphysical_if_there_is_a_limit():
    assert status(slab(), labelled(slab(), energy=-3000.0))[0] == "ok"
    found = status(slab(), labelled(slab(), energy=-3000.0), max_energy=500.0)
    assert found == ("unphysical", "the energy is 1000.0 eV per atom, more than 500")


def test_atoms_too_close_are_unphysical_also_across_the_border():
    inside = Atoms("Cu2", [[0, 0, 0], [0, 0, 0.9]], cell=[9, 9, 9], pbc=True)
    across = Atoms("Cu2", [[0, 0, 0.4], [0, 0, 8.5]], cell=[9, 9, 9], pbc=True)
    for atoms in (inside, across):
        found = check_geometry(Configurations.from_ase(atoms), Limits())
        assert found[0] == "unphysical"
        assert "0.34 times the sum of their covalent radii" in found[1]
    across.pbc = False
    assert check_geometry(Configurations.from_ase(across), Limits()) == ("ok", "")
    assert check_geometry(Configurations.from_ase(inside), Limits(min_distance=None))[0] == "ok"


def test_a_geometry_that_is_not_finite_is_unphysical():
    one = Configurations.from_ase(bulk("Cu"))
    one = replace(one, positions=np.full((1, 3), np.nan))
    assert check_geometry(one, Limits())[0] == "unphysical"


@pytest.mark.parametrize(
    ("cell", "pbc", "reason"),
    [
        ([[3, 0, 0], [0, 3, 0], [0, 6, 0]], True, "depend on each other, so that they span no"),
        ([[3, 0, 0], [0, 3, 0], [3, 3, 0]], False, "depend on each other"),
        ([3, 3, 0], True, "periodic along lattice vector 2, which is zero"),
    ],
)
def test_a_cell_that_is_none_is_unphysical(cell, pbc, reason):
    structure = Configurations.from_ase(Atoms("Cu", cell=cell, pbc=pbc))
    status, found = check_geometry(structure, Limits(min_distance=None))
    assert status == "unphysical"
    assert reason in found


def test_nothing_is_unphysical():
    nothing = Configurations.from_ase(Atoms(cell=[3, 3, 3], pbc=True))
    assert check_geometry(nothing, Limits()) == ("unphysical", "there are no atoms")


def test_molecules_compare_without_a_cell():
    assert status(
        Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]),
        labelled(Atoms("CO", [[0, 0, 0], [0, 0, 1.1]], cell=[9, 9, 9])),
    ) == ("ok", "")


def test_limits_above_zero():
    with pytest.raises(ValueError, match="max_force above 0, got -1"):
        Limits(max_force=-1.0)
