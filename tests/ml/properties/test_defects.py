"""Vacancies, surfaces and stacking faults: bonds are counted."""

import numpy as np
import pytest
from ase.build import bulk
from ase.units import J, m

from aiida_mlal.ml.properties.cut import oriented
from aiida_mlal.ml.properties.stacking_fault import StackingFault
from aiida_mlal.ml.properties.surface import Surface
from aiida_mlal.ml.properties.vacancy import Vacancy


def test_a_vacancy_costs_half_of_its_bonds(bonds, fcc):
    """Twelve bonds are broken, and the atom makes six times two halves of them elsewhere."""
    found = Vacancy(length=7.0).of(fcc)
    assert found.numbers["unrelaxed_vacancy_energy_eV"] == pytest.approx(6 * bonds.energy, rel=1e-4)
    assert found.numbers["vacancy_energy_eV"] <= found.numbers["unrelaxed_vacancy_energy_eV"]
    assert found.warnings == []


def test_a_surface_costs_half_of_the_bonds_that_are_cut(bonds, fcc):
    found = Surface(thickness=8.0).of(fcc).numbers
    area = bonds.d**2 * J / m**2  # of an atom of (100)
    for name, cut, size in (("100", 4, 1), ("111", 3, np.sqrt(3) / 2), ("110", 6, np.sqrt(2))):
        expected = cut * bonds.energy / 2 / (size * area)
        assert found[f"unrelaxed_surface_energy_{name}_J_per_m2"] == pytest.approx(
            expected, rel=1e-3
        ), name
        assert found[f"surface_energy_{name}_J_per_m2"] <= expected * (1 + 1e-3)


def test_nearest_neighbours_do_not_see_a_stacking_fault(fcc):
    found = StackingFault(points=5, thickness=8.0).of(fcc)
    assert found.numbers["stacking_fault_energy_111_mJ_per_m2"] == pytest.approx(0, abs=0.1)
    assert found.numbers["unstable_stacking_fault_energy_111_mJ_per_m2"] > 20
    assert found.curves["energy_mJ_per_m2"][0] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("points", [3, 4, 6])
def test_the_unstable_fault_is_the_highest_whatever_the_points(equilibrate, points):
    copper = equilibrate(bulk("Cu"))
    name = "unstable_stacking_fault_energy_111_mJ_per_m2"
    found = StackingFault(points=points, thickness=8.0).of(copper)
    highest = StackingFault(points=41, thickness=8.0).of(copper).curves["energy_mJ_per_m2"].max()
    assert found.numbers[name] == pytest.approx(highest, rel=1e-3)
    assert found.numbers[name] >= found.curves["energy_mJ_per_m2"].max()
    assert found.warnings == []


def test_a_way_that_only_rises_has_no_unstable_fault(equilibrate):
    copper = equilibrate(bulk("Cu"))
    half = StackingFault((1, 1, 1), (1 / 12, 1 / 12, -1 / 6), points=3, thickness=8.0).of(copper)
    assert half.warnings == ["the energy is highest at an end of the slip: no unstable fault"]
    assert list(half.numbers) == ["stacking_fault_energy_111_mJ_per_m2"]


def test_a_slip_by_a_lattice_vector_is_none(equilibrate):
    copper = equilibrate(bulk("Cu"))
    found = StackingFault((1, 1, 1), (0.5, 0.0, -0.5), thickness=8.0).of(copper).numbers
    assert found["stacking_fault_energy_111_mJ_per_m2"] == pytest.approx(0, abs=0.1)


def test_a_schottky_set_of_rocksalt_costs_its_bonds(equilibrate, bonds):
    """Six bonds to other atoms are broken twice, and six are made again by a new formula unit."""
    from ase.calculators.lj import LennardJones

    a, d = 2 * bonds.d, bonds.d
    calculator = LennardJones(sigma=d / 2 ** (1 / 6), epsilon=bonds.epsilon, rc=1.2 * d)
    crystal = equilibrate(bulk("NaCl", "rocksalt", a=a), calculator)
    found = Vacancy(length=8.0).of(crystal).numbers
    bond = -crystal.energy_per_atom / 3
    assert found["unrelaxed_schottky_energy_eV"] == pytest.approx((12 - 6) * bond, rel=1e-3)


@pytest.mark.parametrize("plane", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (3, 1, 1)])
def test_an_oriented_crystal_is_the_same_crystal(equilibrate, plane):
    from ase.calculators.emt import EMT

    cell = bulk("Cu", cubic=True)
    slab = oriented(cell, plane, 9.0)
    across = slab.cell[2] @ np.cross(slab.cell[0], slab.cell[1])
    assert across / np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])) >= 9.0 - 1e-6
    normal = cell.cell.reciprocal().array.T @ plane
    np.testing.assert_allclose(slab.cell.array[:2] @ normal, 0, atol=1e-9)
    energies = []
    for atoms in (cell, slab):
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy() / len(atoms))
    assert energies[1] == pytest.approx(energies[0], abs=1e-10)


def test_layers_stay_whole():
    """Atoms at the boundary of a cell belong to one side of it."""
    slab = oriented(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (1, 0, 0), 11.0)
    heights = slab.get_scaled_positions()[:, 2]
    layers, counts = np.unique(heights.round(6), return_counts=True)
    assert len(layers) == 4
    assert set(counts) == {len(slab) // 4}
    assert layers.min() == pytest.approx(1 / 8)


def test_planes_and_slips_that_are_none_are_refused(fcc):
    with pytest.raises(ValueError, match="without a common divisor, got"):
        oriented(bulk("Cu", cubic=True), (2, 0, 0), 5.0)
    with pytest.raises(ValueError, match="expected a slip in the plane"):
        StackingFault((1, 1, 1), (0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="both plane and slip, or none"):
        StackingFault((1, 1, 1))


def test_a_crystal_that_is_no_fcc_metal_wants_a_fault_of_its_own(equilibrate):
    """The usual slip, in the widest gap of another crystal, is nobody's stacking fault."""
    hexagonal = equilibrate(bulk("Cu", "hcp", a=2.55, c=4.16))
    (found,) = StackingFault().compute([hexagonal])
    assert "is no fcc metal: give plane and slip of the fault" in found.warnings[0]
    assert found.numbers == {}
