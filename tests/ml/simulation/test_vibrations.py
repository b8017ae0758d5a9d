import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc100, molecule
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
