import re

import numpy as np
import pytest
from ase.units import kcal, mol

from aiida_mlal.ml.formats.files import load

DUMP_IN = """{units}ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
1
ITEM: BOX BOUNDS pp pp pp
0 5
0 5
0 5
ITEM: ATOMS id element x y z vx vy vz fx fy fz
1 Cu 1 2 3 1 0 0 0 1 0
"""


@pytest.mark.parametrize(
    ("units", "speed", "force"),
    [("", 1e-3, 1.0), ("metal", 1e-3, 1.0), ("real", 1.0, kcal / mol)],
)
def test_dumps_are_read_in_the_units_that_they_say(tmp_path, units, speed, force):
    """In eV/Å and Å/fs."""
    path = tmp_path / "md.lammpstrj"
    path.write_text(DUMP_IN.format(units=f"ITEM: UNITS\n{units}\n" if units else ""))
    contents = load(path)
    one = contents.configurations
    assert one.positions[0] == pytest.approx([1, 2, 3])
    assert one.forces[0] == pytest.approx([0, force, 0], rel=1e-4)
    assert one.arrays["velocities"][0] == pytest.approx([speed, 0, 0], rel=1e-4)
    told = [text for text in contents.warnings if "does not say its units" in text]
    assert len(told) == (not units)


DATA_IN = """LAMMPS data file via write_data, version 2 Aug 2023, timestep = 0, units = metal

1 atoms
1 atom types

0 5 xlo xhi
0 5 ylo yhi
0 5 zlo zhi

Atoms # atomic

1 1 1.0 2.0 3.0

Velocities

1 1.0 0 0
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("md.lammpstrj", DUMP_IN.replace(" element ", " type ").replace("1 Cu", "1 1")),
        ("start.data", DATA_IN),
    ],
)
def test_velocities_are_those_of_the_file_whatever_elements_types_are(tmp_path, name, text):
    """ASE takes the first type for hydrogen, and keeps momenta."""
    path = tmp_path / name
    path.write_text(text.format(units=""))
    for element in ("H", "Cu", "Au"):
        one = load(path, [element]).configurations
        assert one.elements == (element,)
        assert one.arrays["velocities"][0] == pytest.approx([1e-3, 0, 0], rel=1e-4)


def test_lengths_in_other_units_are_refused(tmp_path):
    path = tmp_path / "md.lammpstrj"
    path.write_text(DUMP_IN.format(units="ITEM: UNITS\nelectron\n"))
    with pytest.raises(ValueError, match="its units are 'electron' of LAMMPS: expected one of"):
        load(path)


def test_a_data_file_says_its_units_in_its_first_line(tmp_path):
    path = tmp_path / "start.data"
    path.write_text(
        "LAMMPS data file via write_data, version 2 Aug 2023, timestep = 0, units = real\n\n"
        "1 atoms\n1 atom types\n\n0 5 xlo xhi\n0 5 ylo yhi\n0 5 zlo zhi\n\n"
        "Masses\n\n1 63.546\n\nAtoms # atomic\n\n1 1 1.0 2.0 3.0\n\nVelocities\n\n1 1.0 0 0\n"
    )
    contents = load(path)
    assert contents.configurations.arrays["velocities"][0] == pytest.approx([1, 0, 0], rel=1e-4)
    assert not any("units" in text for text in contents.warnings)


LABELLED = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = metal

3 atoms
2 atom types

0 5 xlo xhi
0 5 ylo yhi
0 5 zlo zhi

Atom Type Labels

1 Cu
2 O
{masses}
Atoms # atomic

3 Cu 1 2 3 0 0 0
1 O 0 0 0 0 0 0
2 Cu 2 2 2 0 0 0

Velocities

3 3 0 0
1 1 0 0
2 2 0 0
"""
"""As LAMMPS writes it by ``write_data FILE types labels``: atoms come in any order."""

MASSES = "\nMasses\n\n1 63.546 # copper\n2 16.0\n"
NUMBERED = "\n".join(
    line.replace(" Cu ", " 1 ").replace(" O ", " 2 ") for line in LABELLED.split("\n")
).replace("Atom Type Labels\n\n1 Cu\n2 O\n", "")


@pytest.mark.parametrize("masses", ["", MASSES])
def test_atoms_keep_the_labels_of_their_types(tmp_path, masses):
    """ASE sorts atoms by number, and gave the first one the label of the first line."""
    path = tmp_path / "start.data"
    path.write_text(LABELLED.format(masses=masses))
    contents = load(path)
    one = contents.configurations
    assert one.numbers.tolist() == [8, 29, 29]
    assert one.positions[:, 0].tolist() == [0, 2, 1]
    assert one.arrays["type"].tolist() == [2, 1, 1]
    np.testing.assert_allclose(one.arrays["velocities"][:, 0], [1e-3, 2e-3, 3e-3])
    assert contents.types.elements == ("Cu", "O")
    with pytest.raises(ValueError, match=r"it has \['O'\] by its own words, got the elements"):
        load(path, ["Cu", "Ag"])


@pytest.mark.parametrize("names", [("Cu", "O"), ("Cu1", "O1")])
def test_masses_may_be_by_label(tmp_path, names):
    """As LAMMPS reads them; where labels are no elements, masses are."""
    path = tmp_path / "start.data"
    text = LABELLED.format(masses="\nMasses\n\nCu 63.546 # copper\nO 16.0\n")
    for old, new in zip(("Cu", "O"), names, strict=True):
        text = re.sub(rf"\b{old}\b", new, text)
    path.write_text(text)
    assert load(path).configurations.numbers.tolist() == [8, 29, 29]


LABELS_OF_TYPES = """ITEM: UNITS
metal
ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
3
ITEM: BOX BOUNDS pp pp pp
0.0 7.2
0.0 3.6
0.0 3.6
ITEM: ATOMS id{type} typelabel x y z vx vy vz
1{one} Cu 0 0 0 -3.25 -1.5 2
3{two} O 1.8 0 1.8 -5.75 3 2.75
2{one} Cu 1.8 1.8 0 -0.25 1 -1.25
"""
"""As LAMMPS (22 Jul 2025) writes it by ``dump custom ... typelabel``."""

BARE, BESIDE = {"type": "", "one": "", "two": ""}, {"type": " type", "one": " 1", "two": " 2"}


@pytest.mark.parametrize("types", [BARE, BESIDE])
def test_labels_of_types_in_a_dump_are_elements(tmp_path, types):
    path = tmp_path / "run.dump"
    path.write_text(2 * LABELS_OF_TYPES.format(**types))
    both = load(path).configurations
    assert both.numbers.tolist() == 2 * [29, 29, 8]
    assert both.arrays["velocities"][2] == pytest.approx([-5.75e-3, 3e-3, 2.75e-3])


def test_labels_of_a_dump_that_are_no_elements_want_numbers(tmp_path):
    path = tmp_path / "run.dump"
    text = LABELS_OF_TYPES.replace(" Cu ", " metal ").replace(" O ", " ion ")
    path.write_text(text.format(**BESIDE))
    assert load(path, ["Cu", "O"]).configurations.numbers.tolist() == [29, 29, 8]
    path.write_text(text.format(**BARE))
    with pytest.raises(ValueError, match=r"no elements, \['ion', 'metal'\], and no numbers"):
        load(path)


def test_labels_that_are_no_elements_count_as_numbers(tmp_path):
    path = tmp_path / "start.data"
    path.write_text(LABELLED.format(masses="").replace("Cu", "metal").replace(" O", " ion"))
    assert any("does not say which elements" in said for said in load(path).warnings)
    assert load(path, ["Ag", "F"]).configurations.numbers.tolist() == [9, 47, 47]


def test_elements_are_those_of_masses_unless_they_are_said(tmp_path):
    path = tmp_path / "start.data"
    path.write_text(NUMBERED.format(masses=MASSES))
    contents = load(path, default=["H", "C"])
    assert contents.configurations.numbers.tolist() == [8, 29, 29]
    assert any("count as Cu, O, by their masses" in said for said in contents.warnings)
    contents = load(path, ["Ag", "S"])
    assert contents.configurations.numbers.tolist() == [16, 47, 47]
    assert any("Ag weighs 63.546 u in it, as Cu does" in said for said in contents.warnings)


@pytest.mark.parametrize(("mass", "number"), [("1.0", 1), ("2.014", None), ("72.0", None)])
def test_masses_are_believed_that_are_those_of_elements(tmp_path, mass, number):
    """A mass of 1.0 was that of no element, and one of a bead that of germanium."""
    path = tmp_path / "start.data"
    path.write_text(NUMBERED.format(masses=MASSES.replace("16.0", mass)))
    contents = load(path)
    counted = any("does not say which elements" in said for said in contents.warnings)
    assert counted == (number is None)
    if number is not None:
        assert contents.configurations.numbers[0] == number
    assert load(path, ["Cu", "H"]).configurations.arrays["masses"][0] == pytest.approx(float(mass))


def test_more_atoms_than_lines_are_refused_at_once(tmp_path):
    path = tmp_path / "start.data"
    path.write_text(NUMBERED.format(masses="").replace("3 atoms", "300000000 atoms"))
    with pytest.raises(ValueError, match="it is to have 300000000 atoms, but has"):
        load(path)


@pytest.mark.parametrize(
    ("name", "text"), [("md.lammpstrj", DUMP_IN), ("a.xyz", "1\n\nCu 0 0 0\n")]
)
def test_elements_of_a_file_that_names_them_are_no_others(tmp_path, name, text):
    """Dumps and extended XYZ left out without a word what was said."""
    path = tmp_path / name
    path.write_text(text.format(units=""))
    assert load(path, ["Ag", "Cu"]).configurations.elements == ("Cu",)
    with pytest.raises(ValueError, match=r"it has \['Cu'\] by its own words"):
        load(path, ["Ag", "Pd"])


BY_TYPE = DUMP_IN.replace("\n1\nITEM: BOX", "\n2\nITEM: BOX")


@pytest.fixture
def weighed(tmp_path):
    """A dump with the masses of atoms, two frames of which the second is in another order."""
    head = BY_TYPE.format(units="").partition("ITEM: ATOMS")[0] + "ITEM: ATOMS id type mass x y z\n"
    rows = ["2 1 63.55 1 2 3\n", "1 2 16.0 0 0 0\n"]
    path = tmp_path / "md.lammpstrj"
    path.write_text(head + "".join(rows) + head + "".join(rows[::-1]))
    return path


def test_a_dump_may_weigh_atoms(weighed):
    """Elements by mass were taken for types, and refused."""
    contents = load(weighed, named=True)
    assert contents.configurations.numbers.tolist() == [8, 29] * 2
    assert any("its types count as Cu, O, by their masses" in said for said in contents.warnings)
    assert load(weighed, ["Ag", "S"]).configurations.numbers.tolist() == [16, 47] * 2


def test_frames_whose_atoms_have_no_number_are_named(weighed):
    """Atoms of LAMMPS change their order, and displacements would be those between others."""
    assert not any("'id'" in said for said in load(weighed).warnings)
    weighed.write_text(weighed.read_text().replace("ATOMS id type", "ATOMS v_a type"))
    assert any("it has no column 'id': atoms may be" in said for said in load(weighed).warnings)


@pytest.mark.parametrize("least", [0, -1])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("md.lammpstrj", DUMP_IN.format(units="").replace("element", "type").replace("Cu", "{}")),
        (
            "md.data",
            DATA_IN.replace("Atoms #", "Atom Type Labels\n\n{} Cu\n\nAtoms #").replace(
                "1 1 1.0", "1 Cu 1.0"
            ),
        ),
    ],
)
def test_types_count_from_one(tmp_path, name, text, least):
    """Numbers below counted from the end of the elements."""
    (tmp_path / name).write_text(text.format(least))
    with pytest.raises(ValueError, match=f"{name}: its types are numbers from 1 on, not {least}"):
        load(tmp_path / name, ["Cu", "O"])
