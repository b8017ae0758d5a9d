from pathlib import Path

import numpy as np
import pytest

from aiida_mlal.ml.formats import files
from aiida_mlal.ml.formats.convergence import of_outcar, of_pw, of_vasprun

OUTPUTS = Path(__file__).parent / "outputs"


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("vasprun.xml", ["ok", "unconverged"]),  # 3 and 4 of NELM = 4 electronic steps
        # reached before NELM, said by VASP 6, NELM without a word, reached in the last step
        ("OUTCAR", ["ok", "unconverged", "unconverged", "ok"]),
        ("pw_unconverged.out", ["unconverged"]),  # scf_must_converge = .false., "!" and forces
    ],
)
def test_a_label_that_did_not_converge_is_none(name, statuses):
    found = files.load(OUTPUTS / name)
    assert found.configurations.status.tolist() == statuses
    assert np.isfinite(found.configurations.forces).all()
    assert any("did not converge" in warning for warning in found.warnings)
    n = statuses.count("ok")
    assert len(found.configurations.learnable) == n


def test_a_vasprun_that_is_cut_off(tmp_path):
    whole = (OUTPUTS / "vasprun.xml").read_text()
    last = whole.rindex("</scstep>")
    (tmp_path / "vasprun.xml").write_text(whole[:last])
    assert files.read(tmp_path / "vasprun.xml").status.tolist() == ["ok"]
    assert of_vasprun(whole) == [True, False]
    assert of_vasprun(whole.replace(">4<", ">40<")) == [True, True]


def test_steps_of_a_linear_response_are_none_of_the_ground_state():
    """They are in the same calculation, behind its structure."""
    steps = {n: n * "<scstep></scstep>" for n in (3, 20)}
    text = '<i name="NELM">  10</i><calculation>{}<structure></structure>{}</calculation>'
    assert of_vasprun(text.format(steps[3], steps[20])) == [True]
    assert of_vasprun(text.format(steps[20], "")) == [False]


@pytest.mark.parametrize(("version", "believed"), [("5.4.4.18Apr17", False), ("6.3.0", True)])
def test_that_ediff_was_reached_is_believed_of_vasp_6(version, believed):
    """VASP 5 says so also where the energy still changes, after all NELM steps."""
    text = (OUTPUTS / "OUTCAR").read_text()
    assert text.count(" vasp.6.3.0 ") == 1
    told = of_outcar(text.replace(" vasp.6.3.0 ", f" vasp.{version} "))
    assert told == [True, False, False, believed]


@pytest.mark.parametrize(
    ("changes", "converged"),
    [
        (" 0.5196955E-07  (-0.2656653E-07)", True),
        ("-0.5196955E-07  ( 0.0000000E+00)", True),
        ("-0.9216253E-05  (-0.1129097E-07)", False),  # of the total energy
        ("-0.9216253E-07  (-0.1129097E-05)", False),  # of the band structure
        ("            NaN  (            NaN)", False),
        ("***************  (***************)", False),
    ],
)
def test_the_last_of_all_steps_is_judged_by_its_changes(changes, converged):
    """VASP 5 says after it that EDIFF is reached in any case; one before it is not looked at."""
    first, last = " 0.1000000E-09  (-0.1000000E-09)", changes
    text = " vasp.5.4.4.18Apr17\n   NELM   =      2;   NELMIN=  2\n"
    text += "   EDIFF  = 0.1E-05   stopping-criterion for ELM\n"
    for i, both in enumerate((first, last), 1):
        text += f" ---- Iteration      1({i:4d})  ----\n"
        text += f" total energy-change (2. order) :{both}\n"
    text += " ---- aborting loop because EDIFF is reached ----\n"
    text += "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"
    assert of_outcar(text) == [converged]
    assert of_outcar(text.replace("EDIFF is reached", "EDIFF was not reached")) == [False]


def test_nelm_is_60_where_nothing_is_said():
    steps = "".join(f" Iteration 1({i:4d})\n" for i in range(1, 61))
    end = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
    assert of_outcar(steps + end) == [False]
    assert of_outcar(steps[: steps.rindex(" Iter")] + end) == [True]


def test_pw_is_judged_by_its_accuracy():
    """As "convergence has been achieved" is said in any case, with scf_must_converge = .false."""
    text = (OUTPUTS / "pw_unconverged.out").read_text()
    assert "convergence has been achieved" in text
    assert of_pw(text) == [False]
    last = text[text.rindex("scf accuracy") :].splitlines()[0]
    assert of_pw(text.replace(last, "scf accuracy    <       1.0E-09 Ry")) == [True]
    assert of_pw(text.replace("convergence has been achieved", "convergence NOT achieved")) == [
        False
    ]


def test_an_scf_that_used_all_its_steps_has_a_structure_and_no_label(tmp_path):
    """As pw.x stops without energy, forces and bands then."""
    found = files.load(OUTPUTS / "pw_stopped.out")
    assert found.configurations.status.tolist() == ["unconverged"]
    assert found.configurations.formulas == ["H2"]
    np.testing.assert_allclose(found.configurations.positions[1], [0, 0, 0.8], atol=1e-6)
    assert np.isnan(found.configurations.energies).all()
    assert any("did not converge" in warning for warning in found.warnings)
    text = (OUTPUTS / "pw_stopped.out").read_text()
    (tmp_path / "pw.out").write_text(text.replace("number of atoms/cell", "atoms"))
    with pytest.raises(ValueError, match="; the electrons did not converge"):
        files.load(tmp_path / "pw.out")
