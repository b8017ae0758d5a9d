"""Names of arrays and information that mean something else to a format."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files


@pytest.fixture
def structures():
    """Two structures, of which the second has no labels."""
    frames = [bulk("Cu", cubic=True), bulk("Cu", cubic=True)]
    frames[0].rattle(0.1, seed=0)
    frames[0].calc = EMT()
    frames[0].get_forces(), frames[0].get_stress()
    return Configurations.from_ase(frames)


FORMATS = ("extxyz", "cfg")


def same(found, expected):
    for name in ("numbers", "positions", "cells", "pbc", "energies", "forces"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)
    assert found.status.tolist() == expected.status.tolist()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("energy", -7.0), ("free_energy", -7.0), ("stress", 1.0), ("Lattice", "fcc"),
        ("Properties", "none"), ("pbc", "F F F"), ("elements", "Au"),
    ],
)  # fmt: skip
def test_information_is_no_label_when_it_is_read_again(tmp_path, structures, name, key, value):
    """A free energy became the energy, and elements those of the atoms."""
    path = tmp_path / f"a.{name}"
    said = files.write(structures.with_info(**{key: [value] * 2}), path)
    found = files.load(path).configurations
    same(found, structures)
    assert (key in found.info) != any(key in sentence for sentence in said)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "key",
    ["id", "type", "fx", "cartes_x", "species", "pos", "positions", "numbers", "Z", "symbols"],
)
def test_arrays_are_no_part_of_the_structure_when_they_are_read_again(
    tmp_path, structures, name, key
):
    """A dump of LAMMPS has types, which a .cfg had twice: it could not be read."""
    path = tmp_path / f"a.{name}"
    said = files.write(structures.with_arrays(**{key: np.arange(8.0) + 30}), path)
    found = files.load(path).configurations
    same(found, structures)
    assert (key in found.arrays) != any(key in sentence for sentence in said)


def test_columns_that_only_some_structures_have_are_written_for_these(tmp_path, structures):
    charges = np.where(np.arange(8) < 4, 0.5, np.nan)
    files.write(structures.with_arrays(charge=charges, site_en=np.ones((8, 3))), tmp_path / "a.cfg")
    found = files.load(tmp_path / "a.cfg").configurations
    np.testing.assert_array_equal(found.arrays["charge"], charges)
    assert "site_en" not in found.arrays
