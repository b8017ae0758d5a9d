"""Velocities in files."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.units import fs

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.frames import VELOCITIES

SPEEDS = np.arange(12.0).reshape(4, 3) / 1e4
"""Å/fs"""


@pytest.fixture
def moving():
    """Copper and a molecule with a heavy hydrogen; the last one has no velocities."""
    heavy = molecule("NH3")
    heavy.set_masses([14.007, 2.014101778, 1.008, 1.008])
    one = Configurations.from_ase([bulk("Cu", cubic=True), heavy])
    one = one.with_columns({VELOCITIES: np.concatenate([SPEEDS, SPEEDS])})
    return Configurations.concatenate([one, Configurations.from_ase(bulk("Au"))])


@pytest.mark.parametrize("name", ["a.extxyz", "a.traj", "a.extxyz.gz"])
def test_ase_reads_the_velocities_that_are_written(moving, tmp_path, name):
    assert files.write(moving, tmp_path / name) == []
    frames = ase.io.read(tmp_path / name, ":", format="extxyz" if "xyz" in name else None)
    for atoms in frames[:2]:
        np.testing.assert_allclose(atoms.get_velocities() * fs, SPEEDS, rtol=1e-12)
        assert "velocities" not in atoms.arrays
    assert "momenta" not in frames[2].arrays
    again = VELOCITIES.of(files.read(tmp_path / name))
    np.testing.assert_allclose(again, VELOCITIES.of(moving), rtol=1e-12)


def test_velocities_in_a_column_are_read(tmp_path):
    """As files have them that were written before."""
    rows = "".join(f"H {i} 0 0 {x:g} {y:g} {z:g}\n" for i, (x, y, z) in enumerate(SPEEDS))
    path = tmp_path / "old.extxyz"
    path.write_text('4\nProperties=species:S:1:pos:R:3:velocities:R:3 pbc="F F F"\n' + rows)
    np.testing.assert_allclose(VELOCITIES.of(files.read(path)), SPEEDS)
