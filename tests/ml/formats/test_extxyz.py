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


def test_heavy_hydrogen_is_hydrogen_with_a_mass(tmp_path):
    (tmp_path / "a.xyz").write_text(
        "3\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-6.5\n"
        "D 0 0 0 0 0 0.1\nT 0 0 0.74 0 0 -0.1\nO 0 1 0 0 0 0\n"
    )
    found = files.read(tmp_path / "a.xyz")
    assert found.numbers.tolist() == [1, 1, 8]
    np.testing.assert_allclose(found.arrays["masses"], [2.0141, 3.0160, 15.999], atol=1e-4)
    np.testing.assert_allclose(found.to_ase()[0].get_masses(), found.arrays["masses"])
    files.write(found, tmp_path / "b.extxyz")
    np.testing.assert_allclose(
        files.read(tmp_path / "b.extxyz").arrays["masses"], found.arrays["masses"]
    )


GOOD = "1\nProperties=species:S:1:pos:R:3 energy=-1.0\nH 0 0 0\n"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 nan\n", "the position of atom 0 is not finite"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 1_0.5\n", "expected a number, got '1_0.5'"),
        ("1\nProperties=species:S:1:pos:R:3\nX 0 0 0\n", "atomic number 0, which is that of no"),
        ("1\nProperties=Z:I:1:pos:R:3\n999 0 0 0\n", "structure 1"),
        ("1\nProperties=species:S:1:pos:R:3\nXy 0 0 0\n", "'Xy' is not known, or missing"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0\n", "atom 0: expected 4 columns, got 3"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 0 0 7\n", "atom 0: expected 4 columns, got 5"),
        ("1\nProperties=species:S:1:pos:R:x\nH 0 0 0\n", "columns of 'pos': expected a whole"),
        ("1\nProperties=species:S:1:pos:R:999999\nH 0 0 0\n", "up to 1000 columns for 'pos'"),
        ("-1\nProperties=species:S:1:pos:R:3\n", "number of atoms: expected a whole number from 0"),
        ("999999999\nProperties=species:S:1:pos:R:3\nH 0 0 0\n", "expected 999999999 atoms"),
        ('1\nLattice="1 0 0"\nH 0 0 0\n', "Lattice"),
        ("1\nenergy=low\nH 0 0 0\n", "energy: expected a real number, got 'low'"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_structure(tmp_path, bad, message):
    (tmp_path / "a.xyz").write_text(GOOD + bad)
    with pytest.raises(ValueError, match=r"a\.xyz: structure 1") as caught:
        files.read(tmp_path / "a.xyz")
    assert message in str(caught.value)


def test_columns_without_a_name_are_said(tmp_path):
    (tmp_path / "a.xyz").write_text("1\n\nH 0 0 0 0.1 0.2 0.3\n" + GOOD)
    found = files.load(tmp_path / "a.xyz")
    assert len(found.configurations) == 2
    assert "columns after x, y and z were not read: 1 structures" in found.warnings[0]


def test_a_text_of_several_lines_comes_back(tmp_path):
    one = Configurations.from_ase(Atoms("H")).with_info(
        note=['a\\b\n"c"'], path=["a\\b c"], next=[3]
    )
    files.write(one, tmp_path / "a.extxyz")
    again = files.read(tmp_path / "a.extxyz")
    assert again.info["note"].tolist() == ['a\\b\n"c"']
    assert again.info["path"].tolist() == ["a\\b c"]
    assert again.info["next"].tolist() == [3]
