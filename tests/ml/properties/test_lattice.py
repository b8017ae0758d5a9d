import numpy as np
import pytest
from ase.build import bulk, fcc111, make_supercell, molecule

from aiida_mlal.ml.properties.equation_of_state import EquationOfState
from aiida_mlal.ml.properties.lattice import Lattice


def test_bonds_are_as_long_as_they_want_to_be(bonds, fcc):
    found = Lattice().of(fcc).numbers
    assert found["a_A"] == pytest.approx(np.sqrt(2) * bonds.d, abs=1e-3)
    assert found["alpha_deg"] == pytest.approx(90)
    assert found["energy_eV_per_atom"] == pytest.approx(-6 * bonds.energy, abs=1e-6)
    assert found["volume_A3_per_atom"] == pytest.approx(bonds.d**3 / np.sqrt(2), rel=1e-3)
    assert found["density_g_per_cm3"] == pytest.approx(
        63.546 / 0.602214 / found["volume_A3_per_atom"], rel=1e-5
    )
    assert found["residual_stress_GPa"] < 0.005


def turned():
    atoms = bulk("Cu", cubic=True)
    atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    return atoms


def test_any_cell_has_the_same_constants(equilibrate):
    cells = [bulk("Cu"), turned(), make_supercell(bulk("Cu"), np.diag([2, 1, 1]))]
    found = [Lattice().of(equilibrate(atoms)).numbers for atoms in cells]
    for name in ("a_A", "c_A", "gamma_deg", "volume_A3_per_atom", "energy_eV_per_atom"):
        values = [numbers[name] for numbers in found]
        np.testing.assert_allclose(values, values[0], rtol=2e-4)
    by_energies = EquationOfState().of(equilibrate(bulk("Cu"))).numbers
    assert found[0]["volume_A3_per_atom"] == pytest.approx(
        by_energies["volume_A3_per_atom"], rel=1e-4
    )


def test_the_vacuum_beside_a_sheet_is_said(equilibrate):
    """Elastic constants and densities of a sheet depend on how much of it there is."""
    sheet = fcc111("Cu", (1, 1, 2), vacuum=5.0, periodic=True)
    (said,) = equilibrate(sheet, cell="fixed").warnings[-1:]
    assert "10 Å of vacuum along cell vector 2" in said
    assert not any("vacuum" in words for words in equilibrate(bulk("Cu")).warnings)


def test_a_cell_that_is_no_minimum_is_said_with_its_stress(equilibrate):
    crystal = equilibrate(bulk("Cu", a=3.5), cell="fixed")
    (said,) = crystal.warnings
    assert "the cell is no minimum, as it is fixed: a stress of" in said
    assert crystal.relaxed.smax_GPa > 5
    assert f"{crystal.relaxed.smax_GPa:.3g} GPa is left" in said


def test_a_relaxation_that_was_given_up_is_said(equilibrate):
    (said,) = equilibrate(bulk("Cu", a=3.4), max_steps=2).warnings
    assert "not at equilibrium: after 2 steps" in said


def test_symmetry_that_a_relaxation_does_not_keep_is_said(bonds, equilibrate):
    """A cube of bonds is no minimum: pushed a little, it shears to something denser."""
    d = bonds.d
    atoms = bulk("Cu", "sc", a=d)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 5e-4 * np.eye(3, k=1)), scale_atoms=True)
    calculator = bonds.calculator
    calculator.parameters.rc = 1.6 * d
    crystal = equilibrate(atoms, calculator)
    assert any("symmetry is not kept: Pm-3m (221) as given" in one for one in crystal.warnings)


def test_a_molecule_is_no_crystal(equilibrate):
    crystal = equilibrate(molecule("N2"))
    (found,) = Lattice().compute([crystal])
    assert found.numbers == {}
    assert found.warnings == ["not computed: expected a crystal, N2 is not periodic everywhere"]
