import numpy as np
import pytest

from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.describe import describe

BY_LAMMPS = """Number of particles = 2
A = 2 Angstrom (basic length-scale)
H0(1,1) = 5 A
H0(1,2) = 0 A
H0(1,3) = 0 A
H0(2,1) = 1 A
H0(2,2) = 5 A
H0(2,3) = 0 A
H0(3,1) = 0 A
H0(3,2) = 0 A
H0(3,3) = 5 A
.NO_VELOCITY.
entry_count = 4
auxiliary[0] = c_energy
63.546000
Cu
0.2 0.4 0.6 -1.5
15.999000
C
0 0 0 -2.5
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.cfg").write_text(BY_LAMMPS)
    return tmp_path / "a.cfg"


def test_files_of_atomeye_are_known_though_they_end_as_those_of_mlip(path):
    """They were taken for files of MLIP, and refused."""
    assert describe(path)["format"] == "atomeye"
    contents = files.load(path)
    one = contents.configurations
    assert one.numbers.tolist() == [29, 6]
    np.testing.assert_allclose(one.cells[0], [[10, 0, 0], [2, 10, 0], [0, 0, 10]])
    np.testing.assert_allclose(one.positions, [[2.8, 4, 6], [0, 0, 0]])
    assert one.arrays["c_energy"].tolist() == [-1.5, -2.5]
    assert contents.warnings == (f"{path}: C weighs 15.999 u in it, as O does",)


def test_velocities_are_named(path):
    path.write_text(BY_LAMMPS.replace(".NO_VELOCITY.\nentry_count = 4", "entry_count = 7"))
    path.write_text(
        path.read_text().replace(" -1.5", " 1 1 1 -1.5").replace(" -2.5", " 1 1 1 -2.5")
    )
    contents = files.load(path)
    assert "velocities" not in contents.configurations.arrays
    assert any("velocities are not read" in said for said in contents.warnings)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("= 2\n", "= 1000000000\n", "is to have 1000000000 atoms"), ("A = 2", "A = two", "damaged")],
)
def test_a_damaged_head_is_refused_in_words(path, old, new, said):
    path.write_text(BY_LAMMPS.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        files.load(path)
