"""Codes that say only in their output that they did not converge."""

import shutil

import pytest
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.label import label
from aiida_mlal.ml.labelling.written import Written

SAID = " *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n"


@pytest.fixture
def structures():
    return Configurations.from_ase([bulk("Cu", a=a) for a in (3.6, 3.9, 3.61, 3.9, 3.62)])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def of_chatty(importable):
    def build(**options):
        return CalculatorOptions("chatty", options, factory="broken_calculators:Chatty")

    return build


@pytest.mark.parametrize("mode", ["a", "w"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_label_counts_only_if_its_own_output_converged(structures, of_chatty, mode, fails):
    found = label(structures, of_chatty(mode=mode, fails=fails))
    assert found.status.tolist() == ["ok", "unconverged", "ok", "unconverged", "ok"]
    assert "code.out: 'SCF run NOT converged'" in found.info["reason"][1]
    assert ("exit code 1" in found.info["reason"][1]) == fails


def test_the_folder_of_the_calculator_is_watched(structures, of_chatty, tmp_path):
    (tmp_path / "scratch").mkdir()
    found = label(structures, of_chatty(directory="scratch"))
    assert found.status.tolist() == ["ok", "unconverged", "ok", "unconverged", "ok"]


def test_what_was_written_before_is_of_no_account(tmp_path):
    old = tmp_path / "old.out"
    old.write_text(SAID)
    watched = Written([tmp_path])
    assert watched.unconverged() is None
    with old.open("a") as file:
        file.write("converged\n")
    assert watched.unconverged() is None
    with old.open("a") as file:
        file.write(SAID)
    assert watched.unconverged() == "old.out: 'SCF run NOT converged'"


def test_a_file_written_anew_is_read_from_its_beginning(tmp_path):
    old = tmp_path / "old.out"
    old.write_text("a" * 50)
    watched = Written([tmp_path])
    old.write_text(SAID + "b" * 500)
    assert watched.unconverged()


@pytest.mark.skipif(shutil.which("cp2k_shell") is None, reason="needs cp2k_shell of CP2K")
def test_cp2k_out_of_scf_steps_is_no_label(monkeypatch):
    """The calculator of ASE returns energies all the same: by 0.08 eV off for water."""
    monkeypatch.setenv("CP2K_DATA_DIR", "/usr/share/cp2k")
    water = molecule("H2O")
    water.center(vacuum=3.0)
    water.pbc = True
    options = {
        "xc": "PBE",
        "basis_set": "SZV-GTH",
        "basis_set_file": "GTH_BASIS_SETS",
        "pseudo_potential": "GTH-PBE",
        "cutoff": 2000,
        "label": "water",
    }
    status = [
        label(
            Configurations.from_ase([water]),
            CalculatorOptions("cp2k", {**options, "max_scf": steps}),
        ).status[0]
        for steps in (50, 2)
    ]
    assert status == ["ok", "unconverged"]
