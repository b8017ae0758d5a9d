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
