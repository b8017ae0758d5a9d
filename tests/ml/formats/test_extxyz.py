import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import extxyz, files


@pytest.fixture
def structures():
    rng = np.random.default_rng(0)
    frames = [bulk("Cu", cubic=True), Atoms("CO", rng.normal(size=(2, 3))), Atoms("H")]
    frames[0].set_cell(rng.normal(size=(3, 3)) + 4 * np.eye(3))
    frames[0].set_constraint(FixCartesian([1], [True, False, True]))
    frames[1].pbc, frames[1].cell = [True, False, True], np.diag([4.1, 0.0, 1 / 3])
    frames[1].set_constraint(FixAtoms([0]))
    for atoms in frames[:2]:
        atoms.rattle(0.1, rng=rng)
        forces = 1e-9 * rng.normal(size=(len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=forces)
    frames[0].calc.results["stress"] = rng.normal(size=6)
    per_atom = {
        "grade": rng.normal(size=7),
        "site": np.arange(7),
        "predicted_forces": rng.normal(size=(7, 3)),
    }
    return (
        Configurations.from_ase(frames)
        .with_info(
            index=[3, 1, 2],
            outside=[True, False, True],
            reason=["a b", 'say "x"', "x"],
            grade=[1.1, 2, 3],
        )
        .with_arrays(**per_atom, known=per_atom["grade"] > 0)
    )


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz.xz"])
def test_every_digit_comes_back(tmp_path, structures, name):
    files.write(structures, tmp_path / name)
    again = files.read(tmp_path / name)
    assert again.keys == structures.keys
    for key in ("energies", "forces", "stresses", "fixed"):
        np.testing.assert_array_equal(getattr(again, key), getattr(structures, key))
    for group in ("info", "arrays"):
        written, read = getattr(structures, group), getattr(again, group)
        assert sorted(read) == sorted(written)
        for key in written:
            np.testing.assert_array_equal(read[key], written[key])


def test_but_for_digits_the_same_as_ase_writes(tmp_path, structures):
    extxyz.write(structures, tmp_path / "a.extxyz")
    ase.io.write(tmp_path / "b.extxyz", structures.to_ase())
    ours, theirs = (ase.io.read(tmp_path / f"{name}.extxyz", ":") for name in "ab")
    for one, other in zip(ours, theirs, strict=True):
        assert one.info == other.info
        assert sorted(one.arrays) == sorted(other.arrays)
        assert one.pbc.tolist() == other.pbc.tolist()
        np.testing.assert_array_equal(one.cell, other.cell)
        for key, values in one.arrays.items():
            np.testing.assert_allclose(values, other.arrays[key], atol=1e-8)
            assert values.dtype == other.arrays[key].dtype


def test_a_structure_without_atoms(tmp_path):
    nothing = Configurations.from_ase(Atoms()).with_arrays(site=np.zeros((0, 3)))
    extxyz.write(nothing, tmp_path / "a.extxyz")
    assert (tmp_path / "a.extxyz").read_text().splitlines()[0] == "0"
