import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry.rdf import get_rdf

from aiida_mlal.ml.analysis.rdf import radial_distribution
from aiida_mlal.ml.configurations import Configurations


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(0)
    gas = [Atoms("Ar200", rng.random((200, 3)) * 20, cell=[20] * 3, pbc=True) for _ in range(10)]
    found = radial_distribution(Configurations.from_ase(gas), 8.0, 10)["Ar", "Ar"]
    np.testing.assert_allclose(found.g[3:], 1.0, atol=0.05)


def test_a_crystal_has_its_shells():
    found = radial_distribution(Configurations.from_ase(bulk("Cu", a=3.6)), 4.0, 400)["Cu", "Cu"]
    peaks = found.distances[found.g > 0]
    np.testing.assert_allclose(peaks, [3.6 / np.sqrt(2), 3.6], atol=0.01)
    assert found.coordination[-1] == 18


def test_it_is_what_ase_finds():
    crystal = bulk("Cu", cubic=True) * (4, 4, 4)
    crystal.rattle(0.1, seed=1)
    found = radial_distribution(Configurations.from_ase(crystal), 5.0, 50)["Cu", "Cu"]
    g, distances = get_rdf(crystal, 5.0, 50)
    np.testing.assert_allclose(found.distances, distances)
    np.testing.assert_allclose(found.g, g, atol=1e-9)


def test_elements_are_told_apart():
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    found = radial_distribution(Configurations.from_ase(salt), 3.5, 35)
    assert len(found) == 3
    mixed = next(one for pair, one in found.items() if pair[0] != pair[1])
    assert mixed.coordination[-1] == 6
    assert not found["Na", "Na"].g.any()


def test_what_has_no_density_is_refused():
    with pytest.raises(ValueError, match="periodic in all directions"):
        radial_distribution(Configurations.from_ase(Atoms("Cu2", np.eye(2, 3))))
    with pytest.raises(ValueError, match="no structures"):
        radial_distribution(Configurations.empty())
