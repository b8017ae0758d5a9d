import lzma

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.content import as_text, read_bytes
from aiida_mlal.ml.formats.mlip import cfg
from aiida_mlal.ml.formats.types import Types

TEXT = """BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.0 0.0
    0.0 4.0 0.0
    1.0 0.0 5.0
 AtomData:  id type cartes_x cartes_y cartes_z fx fy fz nbh_grades
    1 0  0.0 0.1 0.2  0.5 0.0 -0.5 1.5
    2 1  2.0 2.0 2.5 -0.5 0.0  0.5 2.5
 Energy
    -3.5
 PlusStress:  xx yy zz yz xz xy
     8.0 16.0 24.0 0.8 1.6 2.4
 Feature   EFS_by\tVASP 5.4
 Feature   MV_grade\t2.5
END_CFG
"""


def structures_of(*arguments):
    return cfg.parse(*arguments)[0]


def types_of(path):
    return cfg.parse(as_text(read_bytes(path)))[1]


def labelled():
    frames = [bulk("Cu", cubic=True), bulk("Au") * (2, 1, 1), fcc100("Cu", (1, 1, 2), vacuum=5)]
    frames += [Atoms("CuAu", [[0, 0, 0], [0, 0, 2.5]])]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        if atoms.pbc.all():
            atoms.get_stress()
    return Configurations.from_ase(frames)


def test_reads_what_it_says():
    found = structures_of(TEXT, ["Ag", "Cu"])
    assert found.numbers.tolist() == [47, 29]
    assert found.positions[1].tolist() == [2.0, 2.0, 2.5]
    assert found.cells[0, 2].tolist() == [1.0, 0.0, 5.0]
    assert found.pbc.all()
    assert found.energies.tolist() == [-3.5]
    assert found.forces[0].tolist() == [0.5, 0.0, -0.5]
    assert found.arrays["nbh_grades"].tolist() == [1.5, 2.5]
    assert found.info["MV_grade"].tolist() == [2.5]
    assert found.info["EFS_by"].tolist() == ["VASP 5.4"]


def test_stress_is_positive_in_tension_and_per_volume():
    stress = structures_of(TEXT, ["Ag", "Cu"]).stresses[0]
    expected = -np.array([[8.0, 2.4, 1.6], [2.4, 16.0, 0.8], [1.6, 0.8, 24.0]]) / 80
    assert stress == pytest.approx(expected)


def test_the_older_names_of_the_stress_have_their_signs():
    plus = structures_of(TEXT).stresses
    assert structures_of(TEXT.replace("PlusStress:", "Virial:")).stresses == pytest.approx(plus)
    assert structures_of(TEXT.replace("PlusStress:", "Stress:")).stresses == pytest.approx(-plus)


def test_types_may_be_atomic_numbers():
    absolute = TEXT.replace(" 1 0 ", " 1 47 ").replace(" 2 1 ", " 2 29 ")
    assert structures_of(absolute, ["Cu", "Ag"]).numbers.tolist() == [47, 29]


def test_types_mean_the_same_in_all_of_a_file():
    """Type 1 alone might be an index or hydrogen, but not beside a type 6."""
    one = "BEGIN_CFG\nSize\n1\nAtomData: id type cartes_x cartes_y cartes_z\n1 {} 0 0 1\nEND_CFG\n"
    found = structures_of(one.format(1) + one.format(6), ["H", "C"])
    assert found.numbers.tolist() == [1, 6]
    assert structures_of(one.format(1) + one.format(0), ["H", "C"]).numbers.tolist() == [6, 1]


def test_without_elements_types_count_from_hydrogen():
    assert structures_of(TEXT).numbers.tolist() == [1, 2]


def test_no_type_is_type_0_and_no_cell_a_molecule():
    text = "BEGIN_CFG\nSize\n1\nAtomData: id cartes_x cartes_y cartes_z\n1 0 0 1\nEND_CFG\n"
    found = structures_of(text, ["Mo"])
    assert found.numbers.tolist() == [42]
    assert not found.pbc.any()
    assert np.isnan(found.energies).all()


def test_fractional_coordinates():
    text = TEXT.replace("cartes", "direct")
    assert structures_of(text).positions[1].tolist() == [2 * 4 + 2.5, 2 * 4, 2.5 * 5]


@pytest.mark.parametrize("name", ["all.cfg", "all.cfg.xz"])
def test_what_is_written_is_read_again(tmp_path, name):
    structures = labelled().with_info(grade=np.array([1.5, 2.0, 3.0, 4.0]))
    cfg.write(structures, tmp_path / name, ["Cu", "Au"])
    again = cfg.read(tmp_path / name)
    assert again.numbers.tolist() == structures.numbers.tolist()
    assert (again.positions == structures.positions).all()
    assert (again.cells[:3] == structures.cells[:3])[structures.pbc[:3]].all()
    assert (again.pbc == structures.pbc).all()
    assert (again.energies == structures.energies).all()
    assert (again.forces == structures.forces).all()
    periodic = structures.pbc.all(axis=1)
    assert again.stresses[periodic] == pytest.approx(structures.stresses[periodic], rel=1e-14)
    assert (again.info["grade"] == structures.info["grade"]).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("END_CFG", "", "has no END_CFG"),
        ("BEGIN_CFG", "BEGIN", "line 1: expected BEGIN_CFG, got 'BEGIN'"),
        (" 2 1  2.0", " 3 1  2.0", "configuration 1: expected ids from 1 in order"),
        (" 2 1  2.0", " 2 1  2.0 7.0", "configuration 1: expected 2 rows of 9 values"),
        (" 2 1  2.0", " 2 1  two", "cartes_x of atom 2: expected a finite number, got 'two'"),
        ("nbh_grades", "colour", r"unknown columns \['colour'\]"),
        ("Energy", "Enthalpy", "unknown field 'Enthalpy'"),
        ("xx yy", "xx xx", "expected the components"),
        ("    2 1", "    2 5", r"the types \[0, 5\] are neither indices nor atomic numbers"),
        (" Size\n    2\n", "", "AtomData comes before Size"),
        (
            TEXT[TEXT.index("    -3.5") : TEXT.index("END_CFG")],
            "",
            r"configuration 1: Energy: expected 1 values, got \[\]",
        ),
    ],
)
def test_refuses(old, new, message):
    with pytest.raises(ValueError, match=message):
        structures_of(TEXT.replace(old, new), ["Ag", "Cu"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    -3.5", "    nan", "Energy: expected a finite number, got 'nan'"),
        ("    -3.5", "    1_0.5", "Energy: expected a finite number, got '1_0.5'"),
        ("    -3.5", "    1e999", "Energy: expected a finite number, got '1e999'"),
        (" 2 1  2.0", " 2 0.9  2.0", "type: expected whole numbers in AtomData, got 0.9"),
        (" 2 1  2.0", " 2 1  nan", "cartes_x of atom 2: expected a finite number, got 'nan'"),
        (" 2 1  2.0", " 2 1  2_0", "cartes_x of atom 2: expected a finite number, got '2_0'"),
        (" 2 1  2.0", " 2 1  1e999", "cartes_x of atom 2: expected a finite number, got '1e999'"),
        (" 2 1  2.0", " 2 1e30  2.0", "type: 1e[+]30 is the type of no element"),
        ("    2\n", "    -2\n", "Size: expected a whole number from 0, got '-2'"),
        ("    2\n", "    2.0\n", "Size: expected a whole number from 0, got '2.0'"),
        ("    2\n", f"    {'9' * 5000}\n", "Size: expected a whole number from 0, got '9999"),
        ("    2\n", f"    {'9' * 17}\n", "expected 99999999999999999 rows"),
        (" PlusStress", " Energy\n 1.0\n PlusStress", "Energy is there twice"),
        (" PlusStress", " Stress: xx yy zz yz xz xy\n0 0 0 0 0 0\n PlusStress", "is there twice"),
        ("fx fy fz", "fx fy fy", r"the columns \['fy'\] are in AtomData twice"),
        ("1.0 0.0 5.0", "1.0 0.0 0.0", "there is no volume"),
        (" Feature   MV_grade\t2.5", " Feature", "a Feature has no name"),
        ("    4.0 0.0 0.0", "    4.0 0.0", "unknown field '4.0'"),
    ],
)
def test_refuses_what_mlip_would_take_for_something_else(old, new, message):
    with pytest.raises(ValueError, match=f"configuration 1: .*{message}"):
        structures_of(TEXT.replace(old, new), ["Ag", "Cu"])


def test_values_may_stand_beside_their_names():
    """As MLIP reads them, whose values are words after a name, wherever lines end."""
    inline = TEXT.replace("Size\n", "Size ").replace("Energy\n", "Energy ")
    inline = inline.replace("Supercell\n", "Supercell ").replace("xz xy\n", "xz xy ")
    found, expected = structures_of(inline, ["Ag", "Cu"]), structures_of(TEXT, ["Ag", "Cu"])
    assert found.keys == expected.keys
    assert found.to_bytes() == expected.to_bytes()


def test_all_lines_of_a_feature_are_kept(tmp_path):
    text = TEXT.replace("END_CFG", " Feature   note\tline one\n Feature   note\tline two\nEND_CFG")
    found = structures_of(text, ["Ag", "Cu"])
    assert found.info["note"].tolist() == ["line one\nline two"]
    cfg.write(found, tmp_path / "a.cfg")
    assert cfg.read(tmp_path / "a.cfg").info["note"].tolist() == ["line one\nline two"]


@pytest.mark.parametrize(
    ("vectors", "pbc"),
    [
        ("0 0 0\n0 0 0\n0 0 0\n", [False, False, False]),
        ("4 0 0\n0 4 0\n0 0 0\n", [True, True, False]),
        ("4 0 0\n0 0 0\n0 0 4\n", [True, False, True]),
        ("4 0 0\n", [True, False, False]),
        ("", [False, False, False]),
    ],
)
def test_a_vector_of_zeros_is_of_no_period(vectors, pbc):
    start, end = TEXT.index("    4.0"), TEXT.index(" AtomData")
    found = structures_of(TEXT[:start] + vectors + TEXT[end:], ["Ag", "Cu"])
    assert found.pbc[0].tolist() == pbc
    assert np.isnan(found.stresses).all()
    assert found.energies.tolist() == [-3.5]


def test_says_which_file_is_bad(tmp_path):
    path = tmp_path / "bad.cfg.xz"
    path.write_bytes(lzma.compress(b"nonsense"))
    with pytest.raises(ValueError, match=r"bad\.cfg\.xz: line 1"):
        cfg.read(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"not an intact \.xz file"):
        cfg.read(path)
    with pytest.raises(ValueError, match="no such file"):
        cfg.read(tmp_path / "nowhere.cfg")


def test_a_file_that_names_its_elements_is_believed(tmp_path):
    structures = labelled()
    cfg.write(structures, tmp_path / "a.cfg", ["Cu", "Au"])
    assert types_of(tmp_path / "a.cfg") == Types(("Cu", "Au"), "file")
    again = cfg.read(tmp_path / "a.cfg", ["Au", "Cu", "Ag"])
    assert again.numbers.tolist() == structures.numbers.tolist()
    with pytest.raises(ValueError, match=r"it has \['Cu'\] by its own words, got the elements"):
        cfg.read(tmp_path / "a.cfg", ["Au", "Ag"])
    hydrogen = Configurations.from_ase(Atoms("H"))
    cfg.write(hydrogen, tmp_path / "h.cfg")
    assert cfg.read(tmp_path / "h.cfg", ["Cu", "H"]).elements == ("H",)


def test_elements_that_only_count_types_are_no_names(tmp_path):
    cfg.write(structures_of(TEXT), tmp_path / "a.cfg")
    assert cfg.read(tmp_path / "a.cfg", ["Ag", "Cu"]).numbers.tolist() == [47, 29]


def test_a_file_may_not_name_its_elements(tmp_path):
    (tmp_path / "a.cfg").write_text(TEXT)
    assert types_of(tmp_path / "a.cfg").source == "nobody"
    both = cfg.to_text(labelled(), ["Cu", "Au"]) + cfg.to_text(labelled(), ["Au", "Cu"])
    (tmp_path / "b.cfg.xz").write_bytes(lzma.compress(both.encode()))
    assert types_of(tmp_path / "b.cfg.xz") is None
    assert cfg.read(tmp_path / "b.cfg.xz").formulas == 2 * labelled().formulas


@pytest.mark.parametrize("value", [3, 10**17, -2, 2.5, True, False, "VASP 5.4", "007", "1" * 30])
def test_features_keep_their_kind(tmp_path, value):
    cfg.write(structures_of(TEXT).with_info(feature=[value]), tmp_path / "a.cfg")
    found = cfg.read(tmp_path / "a.cfg").info["feature"].tolist()[0]
    assert found == value
    assert isinstance(found, float if value == -2 else type(value))


def test_grades_of_atoms_stand_in_the_column_of_mlip(tmp_path):
    structures = labelled()
    grades = np.arange(len(structures.numbers)) / 3
    cfg.write(structures.with_arrays(grade=grades), tmp_path / "a.cfg")
    assert "nbh_grades" in (tmp_path / "a.cfg").read_text()
    assert cfg.read(tmp_path / "a.cfg").arrays["nbh_grades"].tolist() == grades.tolist()


def test_refuses_to_write_an_element_without_a_type():
    with pytest.raises(ValueError, match=r"no type for \['Au'\]"):
        cfg.to_text(labelled(), ["Cu"])
