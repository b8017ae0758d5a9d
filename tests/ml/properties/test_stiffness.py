import numpy as np
import pytest
from ase.build import bulk, graphene
from ase.spacegroup import crystal as of_group
from pymatgen.analysis.elasticity import ElasticTensor
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.properties.stiffness import (
    Averages,
    independent,
    rotated,
    smallest_eigenvalue,
    strain_of,
    symmetrised,
    voigt_of_strain,
    voigt_of_stress,
)
from aiida_mlal.ml.properties.symmetry import Symmetry

QUARTZ = np.array(
    [
        [86.8, 7.0, 19.1, -18.0, 0, 0],
        [7.0, 86.8, 19.1, 18.0, 0, 0],
        [19.1, 19.1, 105.8, 0, 0, 0],
        [-18.0, 18.0, 0, 58.2, 0, 0],
        [0, 0, 0, 0, 58.2, -18.0],
        [0, 0, 0, 0, -18.0, 39.9],
    ]
)
"""GPa, of α quartz."""


def test_a_rotated_stiffness_answers_a_rotated_strain_with_a_rotated_stress():
    rotation = Rotation.from_rotvec([0.4, -0.9, 0.2]).as_matrix()
    strain = strain_of(np.array([0.01, 0.02, -0.03, 0.04, 0.05, 0.06]))
    stress = strain_of(np.array([1, 1, 1, 2, 2, 2]) * (QUARTZ @ voigt_of_strain(strain)))
    turned = rotated(QUARTZ, rotation) @ voigt_of_strain(rotation @ strain @ rotation.T)
    np.testing.assert_allclose(turned, voigt_of_stress(rotation @ stress @ rotation.T), atol=1e-12)


def test_averages_are_those_of_another_code():
    theirs, ours = ElasticTensor.from_voigt(QUARTZ), Averages.of(QUARTZ)
    assert ours.bulk_voigt == pytest.approx(theirs.k_voigt)
    assert ours.bulk_reuss == pytest.approx(theirs.k_reuss)
    assert ours.bulk == pytest.approx(theirs.k_vrh)
    assert ours.shear_voigt == pytest.approx(theirs.g_voigt)
    assert ours.shear_reuss == pytest.approx(theirs.g_reuss)
    assert ours.shear == pytest.approx(theirs.g_vrh)
    assert ours.young == pytest.approx(theirs.y_mod / 1e9)
    assert ours.poisson == pytest.approx(theirs.homogeneous_poisson)
    assert ours.anisotropy == pytest.approx(theirs.universal_anisotropy)


def test_averages_do_not_depend_on_the_axes():
    rotation = Rotation.from_rotvec([1.0, 0.3, -0.5]).as_matrix()
    turned = rotated(QUARTZ, rotation)
    assert Averages.of(turned).young == pytest.approx(Averages.of(QUARTZ).young)
    assert smallest_eigenvalue(turned) == pytest.approx(smallest_eigenvalue(QUARTZ))


def test_the_smallest_eigenvalue_of_a_cubic_crystal_is_one_of_borns_three():
    c = np.diag([100.0] * 3 + [20.0] * 3)
    c[:3, :3] += 60 * (1 - np.eye(3))
    assert smallest_eigenvalue(c) == pytest.approx(40)  # 2 C44 and C11 - C12 alike
    c[3:, 3:] *= 2
    c[:3, :3] += 50 * (1 - np.eye(3))
    assert smallest_eigenvalue(c) == pytest.approx(-10)
    assert np.isnan(Averages.of(c).shear_reuss)
    assert Averages.of(c).bulk_voigt == pytest.approx((100 + 2 * 110) / 3)


def rutile():
    return of_group(
        ["Ti", "O"],
        [(0, 0, 0), (0.3, 0.3, 0)],
        spacegroup=136,
        cellpar=[4.6, 4.6, 2.95, 90, 90, 90],
    )


def scheelite():
    basis = [(0, 0.25, 0.125), (0, 0.25, 0.625), (0.15, 0.009, 0.211)]
    return of_group(
        ["W", "Ca", "O"], basis, spacegroup=88, setting=2, cellpar=[5.24, 5.24, 11.4, 90, 90, 90]
    )


def quartz():
    basis = [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)]
    return of_group(["Si", "O"], basis, spacegroup=154, cellpar=[4.9, 4.9, 5.4, 90, 90, 120])


def skew():
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell([[3.6, 0, 0], [0.2, 3.9, 0], [0.4, 0.5, 4.2]], scale_atoms=True)
    return atoms


def layered():
    atoms = graphene()
    atoms.cell[2, 2] = 4.0
    atoms.pbc = True
    return atoms


@pytest.mark.parametrize(
    ("atoms", "names"),
    [
        (bulk("Cu"), "11 12 44"),
        (bulk("NaCl", "rocksalt", a=5.6), "11 12 44"),
        (bulk("Mg"), "11 12 13 33 44"),
        (layered(), "11 12 13 33 44"),
        (rutile(), "11 12 13 33 44 66"),
        (scheelite(), "11 12 13 33 44 66 16"),
        (quartz(), "11 12 13 33 44 14"),
    ],
    ids=["fcc", "rocksalt", "hcp", "graphene", "rutile", "scheelite", "quartz"],
)
def test_independent_constants_are_those_of_the_laue_class(atoms, names):
    """Nye, Physical Properties of Crystals, table 9."""
    found = independent(Symmetry.of(atoms).rotations)
    assert [f"{i + 1}{j + 1}" for i, j in found] == names.split()


def test_a_triclinic_crystal_has_all_21():
    assert len(independent(Symmetry.of(skew()).rotations)) == 21


def test_the_constants_of_quartz_have_its_symmetry():
    group = Symmetry.of(quartz()).rotations
    c = QUARTZ.copy()
    c[5, 5] = (c[0, 0] - c[0, 1]) / 2
    np.testing.assert_allclose(symmetrised(c, group), c, atol=1e-10)
