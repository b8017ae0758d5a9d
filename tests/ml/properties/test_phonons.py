import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_masses
from ase.units import GPa, fs, kB

from aiida_mlal.ml.properties.phonons import Phonons
from aiida_mlal.ml.properties.thermal_expansion import ThermalExpansion

pytest.importorskip("phonopy")


def test_bonds_vibrate_as_springs_do(bonds, fcc):
    """At X of fcc with springs K between neighbours: M ω² = 8 K along, and 4 K across."""
    found = Phonons(length=2 * bonds.d * np.sqrt(2), displacement=0.002).of(fcc)
    frequency = np.sqrt(bonds.curvature / atomic_masses[29]) * fs * 1000 / (2 * np.pi)
    expected = frequency * np.sqrt([4, 4, 8])
    np.testing.assert_allclose(found.numbers["X_THz"], expected, rtol=2e-3)
    assert found.numbers["highest_frequency_THz"] == pytest.approx(expected[-1], rel=5e-3)
    assert found.numbers["lowest_frequency_THz"] > -0.05
    assert found.warnings == []
    density, grid = found.curves["density_per_THz"], found.curves["frequency_THz"]
    assert np.trapezoid(density, grid) == pytest.approx(3, rel=0.02)


def test_heat_goes_to_dulong_and_petit(fcc):
    found = Phonons(length=5.0, temperature=2000.0).of(fcc).numbers
    assert found["heat_capacity_2000K_J_per_K_mol"] == pytest.approx(3 * 8.314, rel=5e-3)
    assert found["zero_point_energy_meV_per_atom"] > 1


def test_an_unstable_crystal_is_named(bonds, equilibrate):
    calculator = bonds.calculator
    calculator.parameters.rc = 1.6 * bonds.d
    simple = equilibrate(bulk("Cu", "sc", a=bonds.d), calculator)
    (said,) = Phonons(length=5.0).of(simple).warnings
    assert "dynamically unstable: imaginary frequencies up to" in said


def test_bonds_expand_by_their_anharmonicity(equilibrate):
    """Grüneisen: 3 α = γ 3 k / (B v) per atom, with γ by entropies at two volumes."""
    copper = equilibrate(bulk("Cu"))
    options = {"length": 7.0, "mesh": 20.0}
    found = ThermalExpansion(temperature=300.0, **options).of(copper)
    assert found.warnings == []
    volume = found.numbers["volume_300K_A3_per_atom"]
    modulus = found.numbers["bulk_modulus_300K_GPa"] * GPa
    logs = []
    for change in (-0.01, 0.01):
        atoms = copper.conventional
        scale = (volume / (atoms.get_volume() / 4) * (1 + change)) ** (1 / 3)
        atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
        there = equilibrate(atoms, cell="fixed")
        one = Phonons(temperature=3000.0, **options).of(there).numbers
        # ln of the geometric mean of frequencies, from the classical limit of the entropy
        logs.append(-one["entropy_3000K_J_per_K_mol"] / (3 * 8.314462))
    gamma = -(logs[1] - logs[0]) / 0.02
    expected = gamma * 3 * kB / (modulus * volume) / 3 * 1e6
    assert found.numbers["linear_expansion_300K_1e-6_per_K"] == pytest.approx(expected, rel=0.15)
