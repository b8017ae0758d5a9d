import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.units import GPa
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.properties.elastic import Elastic, generating, strained
from aiida_mlal.ml.properties.equation_of_state import EquationOfState
from aiida_mlal.ml.properties.stiffness import strain_of


@pytest.fixture(scope="module")
def copper(equilibrate):
    return equilibrate(bulk("Cu"))


@pytest.fixture(scope="module")
def constants(copper):
    return Elastic().of(copper).numbers


def test_the_constants_of_bonds_are_their_lattice_sums(bonds, fcc):
    """Born and Huang: C11 = 2 C12 = 2 C44 = √2 φ''/d of nearest neighbours in fcc."""
    found = Elastic(strain=1e-3).of(fcc)
    expected = bonds.curvature / (np.sqrt(2) * bonds.d) / GPa
    assert found.numbers["C11_GPa"] == pytest.approx(2 * expected, rel=2e-3)
    assert found.numbers["C12_GPa"] == pytest.approx(expected, rel=2e-3)
    assert found.numbers["C44_GPa"] == pytest.approx(expected, rel=2e-3)
    assert found.warnings == []


@pytest.mark.parametrize(
    ("voigt", "combination"),
    [
        ([1, 0, 0, 0, 0, 0], lambda n: n["C11_GPa"]),
        ([1, 1, 0, 0, 0, 0], lambda n: 2 * (n["C11_GPa"] + n["C12_GPa"])),
        ([1, -1, 0, 0, 0, 0], lambda n: 2 * (n["C11_GPa"] - n["C12_GPa"])),
        ([0, 0, 0, 1, 0, 0], lambda n: n["C44_GPa"]),
    ],
)
def test_the_constants_of_copper_are_second_derivatives_of_its_energy(
    copper, constants, voigt, combination
):
    cubic = copper.conventional
    cubic.calc = EMT()
    step = 2e-3

    def energy(size):
        atoms = strained(cubic, size * strain_of(np.array(voigt, float)))
        atoms.calc = cubic.calc
        return atoms.get_potential_energy()

    second = (energy(step) - 2 * energy(0) + energy(-step)) / step**2
    assert second / cubic.get_volume() / GPa == pytest.approx(combination(constants), rel=3e-3)


def turned():
    atoms = bulk("Cu", cubic=True)
    atoms.rotate(50, (1, 2, 3), rotate_cell=True)
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu", cubic=True),
        turned(),
        make_supercell(bulk("Cu"), [[1, 1, 0], [0, 1, 0], [0, 1, 2]]),
    ],
    ids=["conventional", "rotated", "supercell"],
)
def test_the_constants_do_not_depend_on_the_choice_of_the_cell(equilibrate, constants, atoms):
    found = Elastic().of(equilibrate(atoms)).numbers
    np.testing.assert_allclose(
        found["stiffness_GPa"], constants["stiffness_GPa"], atol=0.05, rtol=1e-3
    )


def test_the_equation_of_state_has_the_same_bulk_modulus(copper, constants):
    found = EquationOfState().of(copper).numbers
    assert found["bulk_modulus_GPa"] == pytest.approx(constants["bulk_modulus_GPa"], rel=0.01)


@pytest.fixture(scope="module")
def hexagonal(equilibrate):
    return equilibrate(bulk("Cu", "hcp", a=2.55, c=4.16))


def test_a_hexagonal_crystal_is_isotropic_around_its_axis(hexagonal):
    """C66 = (C11 - C12)/2, which nothing enforces where all six strains are computed."""
    found = Elastic(use_symmetry=False).of(hexagonal)
    c = found.numbers["stiffness_GPa"]
    assert c[5, 5] == pytest.approx((c[0, 0] - c[0, 1]) / 2, rel=1e-6)
    assert found.numbers["asymmetry_GPa"] < 0.5
    assert found.warnings == []
    reduced = Elastic().of(hexagonal).numbers["stiffness_GPa"]
    np.testing.assert_allclose(reduced, c, atol=0.3)


def test_atoms_that_may_move_soften_a_crystal(hexagonal):
    relaxed, clamped = (
        Elastic(relax_atoms=relax).of(hexagonal).numbers["stiffness_GPa"] for relax in (True, False)
    )
    softer = clamped - relaxed
    assert softer[0, 0] > 1
    assert softer[0, 1] == pytest.approx(-softer[0, 0], abs=0.5)
    assert softer[2, 2] == pytest.approx(0, abs=0.2)  # symmetry holds them along the axis
    assert np.linalg.eigvalsh(softer).min() > -0.5


def test_symmetry_saves_strains(fcc):
    before = len(fcc.evaluator.frames)
    Elastic().of(fcc)
    assert len(fcc.evaluator.frames) - before == 4  # two strains in both directions
    Elastic(use_symmetry=False).of(fcc)
    assert len(fcc.evaluator.frames) - before == 16
    assert len(generating(np.eye(3)[None])) == 6


def test_all_strains_give_the_same_where_there_is_symmetry(fcc):
    some, all_of_them = Elastic().of(fcc), Elastic(use_symmetry=False).of(fcc)
    np.testing.assert_allclose(
        some.numbers["stiffness_GPa"], all_of_them.numbers["stiffness_GPa"], atol=0.05
    )
    assert all_of_them.numbers["asymmetry_GPa"] < 0.05


def test_an_unstable_crystal_is_named(bonds, equilibrate):
    """Lennard-Jones atoms are denser packed than in bcc: it shears without resistance."""
    a = 2 * bonds.d / np.sqrt(3)
    calculator = bonds.calculator
    calculator.parameters.rc = 1.5 * bonds.d
    bcc = equilibrate(bulk("Cu", "bcc", a=a, cubic=True), calculator)
    found = Elastic(relax_atoms=False).of(bcc)
    assert found.numbers["smallest_eigenvalue_GPa"] < 0
    assert any("elastically unstable by Born's criterion" in one for one in found.warnings)
    assert np.isnan(found.numbers["young_modulus_GPa"])


def test_a_calculator_without_the_symmetry_is_found_out(equilibrate):
    class Wind(EMT):
        """Copper that is harder to strain along x."""

        def calculate(self, *arguments):
            super().calculate(*arguments)
            strain = self.atoms.cell.array[0, 0] / 3.59 - 1
            self.results["stress"][0] += 0.2 * strain

    atoms = bulk("Cu", a=3.59, cubic=True)
    found = Elastic(use_symmetry=False).of(equilibrate(atoms, Wind(), cell="fixed"))
    assert any("at odds with the symmetry of the crystal" in one for one in found.warnings)


def test_rotated_axes_are_those_of_the_conventional_cell(equilibrate):
    crystal = equilibrate(turned(), cell="fixed")
    r = crystal.symmetry.frame
    edges = crystal.given.cell.array @ r.T / crystal.given.cell.lengths()[:, None]
    np.testing.assert_allclose(np.abs(edges).round(6), np.abs(edges).round(0), atol=1e-6)
    assert Rotation.from_matrix(r).magnitude() > 0.1


@pytest.mark.parametrize("strain", [0.0, -0.01, 0.2])
def test_strains_that_are_none_are_refused(strain):
    with pytest.raises(ValueError, match="expected"):
        Elastic(strain=strain)
