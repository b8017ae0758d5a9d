import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import covalent_radii

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.distances import closest_contacts, shortest_distance, smallest_distances


def test_of_all_and_of_each_two_elements():
    water = Atoms("OHH", [[0, 0, 0], [0.9, 0, 0], [0, 1.1, 0]])
    found = smallest_distances(Configurations.from_ase([bulk("Cu", a=3.6), water]))
    assert found["mindist"] == pytest.approx(0.9)
    assert found["structures"] == pytest.approx([3.6 / 2**0.5, 0.9])
    assert found["pairs"] == pytest.approx(
        {"Cu-Cu": 3.6 / 2**0.5, "H-O": 0.9, "H-H": (0.9**2 + 1.1**2) ** 0.5}
    )


def test_images_count_also_where_they_are_far():
    found = smallest_distances(Configurations.from_ase(Atoms("Ar", cell=[14, 15, 16], pbc=True)))
    assert found["mindist"] == pytest.approx(14)


def test_of_one_atom_there_is_none():
    found = smallest_distances(Configurations.from_ase(Atoms("Ar")))
    assert found == {"mindist": None, "pairs": {}, "structures": [None]}


def test_positions_must_be_finite():
    with pytest.raises(ValueError, match=r"structure 0 .* is not finite"):
        smallest_distances(Configurations.from_ase(Atoms("Ar2", [[0, 0, 0], [0, 0, float("nan")]])))


def test_a_periodic_structure_has_a_cell():
    frames = [bulk("Cu"), Atoms("Ar2", [[0, 0, 0], [0, 0, 3]], cell=[9, 9, 0], pbc=True)]
    with pytest.raises(ValueError, match=r"structure 1 \(Ar2\): periodic along lattice vector 2"):
        smallest_distances(Configurations.from_ase(frames))


def test_the_shortest_distance_is_the_smallest_of_all():
    frames = [bulk("Cu", cubic=True), Atoms("CuPd", [(0, 0, 0), (0, 0, 2.1)]), Atoms("Pd")]
    frames[0].rattle(0.1, seed=1)
    structures = Configurations.from_ase(frames)
    for part in (structures, structures[[0, 2]], structures[[1, 0]]):
        expected = smallest_distances(part)["mindist"]
        assert shortest_distance(part, 5.0) == pytest.approx(expected)
    assert shortest_distance(structures, 2.0) is None
    assert shortest_distance(structures[2], 5.0) is None


def test_contacts_are_shares_of_covalent_radii():
    oxygen, hydrogen = covalent_radii[[8, 1]]
    water = Atoms("OHH", [[0, 0, 0], [0.9, 0, 0], [0, 1.1, 0]])
    far = Atoms("ArAr", [[0, 0, 0], [0, 0, 9.0]])
    found = closest_contacts(Configurations.from_ase([water, bulk("Cu", a=3.6), far]))
    expected = [0.9 / (oxygen + hydrogen), 3.6 / 2**0.5 / (2 * covalent_radii[29]), np.nan]
    np.testing.assert_allclose(found, expected)
