from pathlib import Path

import numpy as np
import pytest

from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.cut_off import DELIMITER

OUTPUTS = Path(__file__).parent / "outputs"


def said(path):
    """Return the statuses of a file, and the warnings about its end."""
    found = files.load(path)
    words = [w for w in found.warnings if "goes on or was stopped" in w or "damaged" in w]
    return found.configurations.status.tolist(), words


@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR", "pw_unconverged.out", "pw_stopped.out"])
def test_nothing_is_said_of_a_whole_output(name):
    assert said(OUTPUTS / name)[1] == []


@pytest.mark.parametrize(
    ("end", "statuses", "words"),
    [
        ("<structure><crystal>", ["unlabelled"], "none of 1 calculations has energy and forces"),
        ("</calculation>", ["ok"], "1 of 1 calculations have energy"),  # and the rest goes on
        ("-16.500000", ["ok"], "1 of 2 calculations have energy"),  # in the second energy
        ("16.490000</i></energy>", ["ok", "unconverged"], "2 of 2 calculations have energy"),
    ],
)
def test_whole_calculations_of_a_vasprun_that_is_cut_off_are_read(tmp_path, end, statuses, words):
    whole = (OUTPUTS / "vasprun.xml").read_text()
    (tmp_path / "vasprun.xml").write_text(whole[: whole.index(end) + len(end)])
    found, warnings = said(tmp_path / "vasprun.xml")
    assert found == statuses
    (warning,) = warnings
    assert words in warning
    assert str(tmp_path / "vasprun.xml") in warning


def test_what_is_cut_behind_the_last_energy_is_no_loss(tmp_path):
    """Such as eigenvalues: the reader of ASE gives the whole file up."""
    whole = (OUTPUTS / "vasprun.xml").read_text()
    bands = '<eigenvalues><array><set><set><set comment="kpoint 1"><r>-1.0 1.0</r><r>'
    cut = whole[: whole.rindex("</calculation>")] + bands
    (tmp_path / "vasprun.xml").write_text(cut)
    read = files.read(tmp_path / "vasprun.xml")
    expected = files.read(OUTPUTS / "vasprun.xml")
    np.testing.assert_array_equal(read.energies, expected.energies)
    np.testing.assert_array_equal(read.forces, expected.forces)


def test_a_vasprun_that_several_images_write_is_damaged(tmp_path):
    whole = (OUTPUTS / "vasprun.xml").read_text()
    place = whole.index("-16.200000")
    other = whole[whole.index("</energy>") :].replace("0.5 0.5", "0.5 0.4")
    (tmp_path / "vasprun.xml").write_text(whole[:place] + other)
    statuses, (warning,) = said(tmp_path / "vasprun.xml")
    assert statuses == ["unlabelled"]
    assert "its XML is damaged in line" in warning
    assert "none of 2 calculations" in warning
    assert "the OUTCAR of its own folder" in warning


@pytest.mark.parametrize(("n", "end"), [(0, "Iteration    1(   3)"), (2, "Iteration    3(   1)")])
def test_an_outcar_that_is_cut_off_says_which_step_lacks_results(tmp_path, n, end):
    whole = (OUTPUTS / "OUTCAR").read_text()
    (tmp_path / "OUTCAR").write_text(whole[: whole.index(end) + 100])
    statuses, (warning,) = said(tmp_path / "OUTCAR")
    assert len(statuses) == n
    assert f"energy and forces of ionic step {n + 1} are wanted, {n} have them" in warning


def test_an_outcar_that_is_cut_off_in_its_last_energy(tmp_path):
    whole = (OUTPUTS / "OUTCAR").read_text()
    (tmp_path / "OUTCAR").write_text(whole[: whole.rindex(DELIMITER) + 60])
    statuses, (warning,) = said(tmp_path / "OUTCAR")
    assert len(statuses) == 3
    assert "ionic step 4 are wanted, 3 have them" in warning


@pytest.mark.parametrize(
    ("end", "n", "words"),
    [
        ("iteration #  1", 0, "0 structures have results"),
        ("!    total energy              =      -2.22434617 Ry\n", 1, "1 structures have results"),
    ],
)
def test_an_output_of_pw_that_is_cut_off(tmp_path, end, n, words):
    whole = (OUTPUTS / "pw_unconverged.out").read_text()
    (tmp_path / "pw.out").write_text(whole[: whole.index(end) + len(end)])
    statuses, (warning,) = said(tmp_path / "pw.out")
    assert len(statuses) == n
    assert "before pw.x says JOB DONE" in warning
    assert words in warning


def test_an_output_that_cannot_be_read_says_that_it_is_cut_off(tmp_path):
    whole = (OUTPUTS / "pw_unconverged.out").read_text()
    (tmp_path / "pw.out").write_text(whole[: whole.index("force =") + 20])
    with pytest.raises(ValueError, match=r"structure 0: .*before pw.x says JOB DONE"):
        files.load(tmp_path / "pw.out")


def test_a_file_without_structures_says_so(tmp_path):
    (tmp_path / "a.extxyz").write_text("\n\n")
    found = files.load(tmp_path / "a.extxyz")
    assert any("there are no structures in it, read as 'extxyz'" in one for one in found.warnings)


def test_what_has_no_structures_is_refused_in_the_words_of_its_reading(tmp_path):
    whole = (OUTPUTS / "OUTCAR").read_text()
    (tmp_path / "OUTCAR").write_text(whole[: whole.index("Iteration    1(   3)") + 100])
    found = files.load(tmp_path / "OUTCAR")
    with pytest.raises(ValueError, match=r"OUTCAR has no structures to learn from; .*ionic step 1"):
        found.check_any("OUTCAR", "to learn from")
    files.load(OUTPUTS / "OUTCAR").check_any("OUTCAR", "to learn from")
