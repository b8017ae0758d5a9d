import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from ase.vibrations import Vibrations

from aiida_mlal.ml.simulation.vibrations import modes


def relaxed(atoms):
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return atoms


def test_wavenumbers_are_those_of_ase(tmp_path):
    atoms = relaxed(molecule("CH4"))
    found = modes(atoms, np.zeros((5, 3), bool))
    theirs = Vibrations(atoms, name=str(tmp_path / "modes"), delta=0.01)
    theirs.run()
    frequencies = theirs.get_frequencies()  # with EMT this is a minimum in no more than four modes
    signed = frequencies.real - frequencies.imag
    wanted = np.sort(signed[np.argsort(np.abs(signed))[6:]])
    np.testing.assert_allclose(found.wavenumbers, wanted, rtol=1e-3)
    assert found.n_imaginary == 5


def test_a_linear_molecule_has_a_mode_more():
    atoms = relaxed(molecule("CO2"))
    assert len(modes(atoms, np.zeros((3, 3), bool)).wavenumbers) == 4


@pytest.mark.parametrize("shift", [0.0, -3.0], ids=["whole", "cut by the boundary"])
def test_a_molecule_in_a_box_turns_as_freely_as_one_without(shift):
    """Rotations were modes there, imaginary ones where forces are not quite zero."""
    free = molecule("CH4")
    free.calc = EMT()
    found = modes(free, np.zeros((5, 3), bool))
    boxed = free.copy()
    boxed.set_cell([[14, 0, 0], [1, 13, 0], [0, 2, 13]])
    boxed.pbc = True
    boxed.positions += shift
    boxed.wrap()
    boxed.calc = EMT()
    np.testing.assert_allclose(
        modes(boxed, np.zeros((5, 3), bool)).wavenumbers, found.wavenumbers, rtol=1e-5
    )


@pytest.mark.parametrize(("n_fixed", "n_modes"), [(1, 9), (2, 8), (3, 6)])
def test_a_molecule_turns_about_what_is_fixed(n_fixed, n_modes):
    """Three rotations about an atom, one about two, none about three."""
    atoms = relaxed(molecule("CH4"))
    fixed = np.zeros((5, 3), bool)
    fixed[:n_fixed] = True
    found = modes(atoms, fixed)
    assert len(found.wavenumbers) == n_modes
    assert not found.softest[fixed].any()


@pytest.mark.parametrize(("n_fixed", "n_modes"), [(1, 4), (2, 3), (3, 0)])
def test_a_linear_molecule_does_not_turn_about_itself(n_fixed, n_modes):
    fixed = np.zeros((3, 3), bool)
    fixed[:n_fixed] = True
    assert len(modes(relaxed(molecule("CO2")), fixed).wavenumbers) == n_modes


def test_a_crystal_does_not_turn():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    found = modes(atoms, np.zeros((4, 3), bool))
    assert len(found.wavenumbers) == 9
    assert found.n_imaginary == 0


def test_an_atom_on_a_bridge_has_one_imaginary_mode_along_the_way():
    slab = fcc100("Cu", (2, 2, 2), vacuum=5)
    slab.pbc = (True, True, False)
    bridge = (slab.positions[4] + slab.positions[5]) / 2
    slab += Atoms("Cu", [bridge + np.array([0, 0, 2.0])])
    fixed = np.zeros((9, 3), bool)
    fixed[:8] = True
    fixed[8, :2] = True
    slab.calc = EMT()
    heights = np.linspace(1.2, 2.5, 400)
    energies = []
    for height in heights:
        slab.positions[8, 2] = bridge[2] + height
        energies.append(slab.get_potential_energy())
    slab.positions[8, 2] = bridge[2] + heights[int(np.argmin(energies))]
    assert modes(slab, fixed).n_imaginary == 0
    fixed[8] = False
    before = slab.positions.copy()
    found = modes(slab, fixed)
    assert found.n_imaginary == 1
    assert found.as_dict()["lowest_eigenvalue"] == found.eigenvalues[0] < 0
    assert abs(found.softest[8, 1]) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_array_equal(slab.positions, before)


def test_atoms_that_are_all_fixed_have_no_modes():
    found = modes(relaxed(molecule("N2")), np.ones((2, 3), bool))
    assert found.as_dict() == {
        "n_imaginary": 0, "imaginary_per_cm": [], "lowest_eigenvalue": None,
    }  # fmt: skip
