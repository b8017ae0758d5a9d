import numpy as np
import pytest
from ase.build import bulk
from ase.units import GPa

from aiida_mlal.ml.properties.equation_of_state import EquationOfState


def test_the_bulk_modulus_of_bonds_is_their_lattice_sum(bonds, fcc):
    found = EquationOfState(volumes=0.03).of(fcc)
    expected = 4 / 3 * bonds.curvature / (np.sqrt(2) * bonds.d) / GPa  # (C11 + 2 C12) / 3
    assert found.numbers["bulk_modulus_GPa"] == pytest.approx(expected, rel=5e-3)
    assert found.numbers["volume_A3_per_atom"] == pytest.approx(bonds.d**3 / np.sqrt(2), rel=1e-4)
    assert found.numbers["energy_eV_per_atom"] == pytest.approx(-6 * bonds.energy, abs=1e-4)
    # of a V^-4 - b V^-2 it is 4 + 2 + 2
    assert found.numbers["bulk_modulus_derivative"] == pytest.approx(8, abs=0.3)
    assert found.warnings == []


def test_a_minimum_outside_of_the_volumes_is_said(bonds, equilibrate):
    crystal = equilibrate(bulk("Cu", a=0.97 * np.sqrt(2) * bonds.d), bonds.calculator, cell="fixed")
    (said,) = EquationOfState(volumes=0.02).of(crystal).warnings
    assert "is outside of the volumes" in said


@pytest.mark.parametrize("options", [{"n": 4}, {"volumes": 0.0}, {"volumes": 0.6}])
def test_what_cannot_be_fitted_is_refused(options):
    with pytest.raises(ValueError, match="expected"):
        EquationOfState(**options)
