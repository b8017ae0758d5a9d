import math

import numpy as np
import pytest
from ase import Atoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.models.factory import ModelOptions, single


def zbl(*elements, **options):
    return single({"architecture": "zbl", **options}, elements, 0)


def energy(potential, symbols, r):
    atoms = Atoms(symbols, [[0, 0, 0], [0, 0, r]])
    return float(potential.predict(Configurations.from_ase(atoms)).energies[0])


def literal(z1, z2, r):
    """Return the universal potential in eV as the book has it; e² is 14.399645 eV Å."""
    x = r * (z1**0.23 + z2**0.23) / (0.8854 * 0.529177)
    screening = 0.1818 * math.exp(-3.2 * x) + 0.5099 * math.exp(-0.9423 * x)
    screening += 0.2802 * math.exp(-0.4028 * x) + 0.02817 * math.exp(-0.2016 * x)
    return 14.399645 * z1 * z2 / r * screening


@pytest.mark.parametrize("r", [0.05, 0.3, 0.75])
def test_agrees_with_the_universal_potential(r):
    """To the digits that differ between printed versions of the screening function."""
    assert energy(zbl("Cu"), "Cu2", r) == pytest.approx(literal(29, 29, r), rel=2e-3)
    assert energy(zbl("H", "Au"), "HAu", r) == pytest.approx(literal(1, 79, r), rel=2e-3)


def test_near_nuclei_are_bare_charges():
    r = 1e-6
    assert energy(zbl("C", "O"), "CO", r) * r == pytest.approx(14.399645 * 48, rel=1e-4)


def test_the_repulsion_ends_smoothly():
    potential = zbl("Cu", cutoff=2.0, switch=0.5)
    r = np.linspace(1.4, 2.1, 701)
    dimers = [Atoms("Cu2", [[0, 0, 0], [0, 0, x]]) for x in r]
    values = potential.predict(Configurations.from_ase(dimers)).energies
    assert (values[r > 2.0] == 0).all()
    assert (np.diff(values) <= 0).all()
    bends = np.diff(values, 2) / (r[1] - r[0]) ** 2
    assert abs(np.diff(bends)).max() < 0.05 * abs(bends).max()


def test_it_is_a_prior_of_networks_with_a_kernel():
    values = {
        "architecture": "gmnn",
        "hidden": [3],
        "descriptor": {"n_radial": 2, "n_basis": 3},
        "prior": {"architecture": "zbl", "cutoff": 2.0},
    }
    potential = ModelOptions.parse(values).build(["H", "O"], 0)
    atoms = Atoms("OHHO", [[0, 0, 0], [0.9, 0, 0], [0, 0.8, 0.3], [0.2, 0.3, 1.3]])
    expected = potential.predict(Configurations.from_ase(atoms))
    evaluator = kernels_of(potential, 0.5)
    found = evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    assert found.energies.sum() == pytest.approx(expected.energies[0], rel=1e-10)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{"switch": 0.0}, {"switch": 2.0, "cutoff": 1.9}])
def test_a_switch_that_is_none_is_refused(options):
    with pytest.raises(ValueError, match="expected a switch above 0 Å"):
        zbl("Cu", **options)
