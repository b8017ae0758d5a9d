import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.checks import Limits
from aiida_mlal.ml.labelling.label import label

EMT_OPTIONS = CalculatorOptions("emt")
FRAGILE = CalculatorOptions("fragile", factory="broken_calculators:Fragile")


def structures():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=1)
    slab = fcc100("Cu", (1, 1, 3), vacuum=5)
    slab.rattle(0.1, seed=2)
    slab.set_constraint(FixAtoms([0]))
    return [crystal, slab, Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])]


def chain(n):
    return Atoms(f"Cu{n}", [[2.5 * i, 0, 0] for i in range(n)])


def test_labels_are_those_of_the_calculator_whatever_is_fixed():
    atoms = structures()
    found = label(Configurations.from_ase(atoms), EMT_OPTIONS)
    assert set(found.status) == {"ok"}
    for one, reference in zip(found, atoms):
        reference.calc = EMT()
        assert one.energies[0] == reference.get_potential_energy()
        np.testing.assert_array_equal(one.forces, reference.get_forces(apply_constraint=False))
    assert found[0].stresses[0] == pytest.approx(atoms[0].get_stress(voigt=False))
    assert np.isnan(found.stresses[1:]).all()
    assert found[1].fixed[0].all()
    assert set(found.info["fingerprint"]) == {EMT_OPTIONS.fingerprint}


def test_geometry_and_other_values_are_left_alone():
    start = Configurations.from_ase(structures()).with_info(
        run=[0, 0, 1], reason=["final", "uncertain", "final"], predicted_energy=[1.0, 2.0, 3.0]
    )
    found = label(start, EMT_OPTIONS)
    assert found.keys == start.keys
    assert found.info["reason"].tolist() == ["final", "uncertain", "final"]
    assert found.info["predicted_energy"].tolist() == [1.0, 2.0, 3.0]


def test_one_failure_does_not_end_the_batch(importable):
    start = Configurations.from_ase([chain(n) for n in range(1, 7)]).with_info(reason=["final"] * 6)
    found = label(start, FRAGILE)
    assert found.status.tolist() == [
        "ok", "unconverged", "unconverged", "failed", "failed", "failed",
    ]  # fmt: skip
    assert found.info["reason"][0] == "final"
    assert "no convergence in 60 cycles" in found.info["reason"][1]
    assert found.info["reason"][3] == "TypeError: a bug in the code"
    assert np.isfinite(found.energies).tolist() == [True] + [False] * 5
    assert np.isnan(found[1:].forces).all()
    assert (found.info["fingerprint"] != "").tolist() == [True] + [False] * 5
    assert len(found.learnable) == 1


def test_old_labels_do_not_survive_a_failure(importable):
    start = Configurations.from_ase(chain(2)).with_labels([-1.0], np.zeros((2, 3)))
    found = label(start, FRAGILE)
    assert np.isnan(found.energies[0])
    assert np.isnan(found.forces).all()


def test_atoms_too_close_are_not_calculated(importable):
    start = Configurations.from_ase(Atoms("Cu2", [[0, 0, 0], [0, 0, 0.5]]))
    found = label(start, FRAGILE)
    assert found.status.tolist() == ["unphysical"]
    assert "covalent radii" in found.info["reason"][0]
    assert found.info["fingerprint"].tolist() == [""]


def test_a_label_beyond_the_limits_is_kept_but_not_learned_from():
    start = Configurations.from_ase(Atoms("Cu2", [[0, 0, 0], [0, 0, 1.5]]))
    found = label(start, EMT_OPTIONS, Limits(max_force=0.1))
    assert found.status.tolist() == ["unphysical"]
    assert np.isfinite(found.energies).all()
    assert found.info["fingerprint"][0] != ""
    assert len(found.learnable) == 0


def test_a_calculator_sees_no_constraints_and_nothing_that_is_missing(importable):
    """Constraints zeroed forces of a calculator that copies, and a missing charge was NaN."""
    wrapper = CalculatorOptions("wrapper", factory="broken_calculators:Wrapper")
    frames = [chain(3), chain(4)]
    frames[0].info["charge"] = 2
    frames[0].set_constraint(FixAtoms([0]))
    start = Configurations.from_ase(frames)
    found, plain = label(start, wrapper), label(start, EMT_OPTIONS)
    np.testing.assert_array_equal(found.forces, plain.forces)
    assert np.any(found.forces[0])
    np.testing.assert_allclose(found.energies - plain.energies, [2, 0])
    assert found.keys == start.keys


def test_energy_is_the_one_that_forces_belong_to(importable):
    smeared = CalculatorOptions("smeared", factory="broken_calculators:Smeared")
    assert label(Configurations.from_ase(chain(2)), smeared).energies[0] == -2.0


def test_an_energy_that_is_no_number_fails_though_the_free_energy_is(importable):
    smeared = CalculatorOptions("half", factory="broken_calculators:HalfANumber")
    found = label(Configurations.from_ase(chain(2)), smeared)
    assert found.status[0] == "failed"
    assert "the energy is not finite" in found.info["reason"][0]


def test_an_interrupt_carries_what_was_labelled(importable):
    start = Configurations.from_ase([chain(1), chain(7), chain(1)])
    with pytest.raises(KeyboardInterrupt) as caught:
        label(start, FRAGILE)
    assert caught.value.computed.keys == start.keys
    assert caught.value.computed.status.tolist() == ["ok", "unlabelled", "unlabelled"]


def test_labels_do_not_depend_on_the_company():
    start = Configurations.from_ase(structures())
    together = label(start, EMT_OPTIONS)
    alone = Configurations.concatenate([label(one, EMT_OPTIONS) for one in start])
    assert together.to_bytes() == alone.to_bytes()


def test_reports_progress():
    seen = []
    label(Configurations.from_ase(structures()), EMT_OPTIONS, None, lambda **v: seen.append(v))
    assert seen[-1] == {"done": 3, "n_structures": 3, "status": "ok"}


def test_nothing_in_gives_nothing_out():
    assert len(label(Configurations.empty(), EMT_OPTIONS)) == 0


def test_labelling_loads_no_torch():
    code = "import sys; import aiida_mlal.ml.labelling.label; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def wrong(mode):
    return CalculatorOptions("wrong", {"mode": mode}, factory="broken_calculators:Wrong")


def crystals():
    """One, two and three atoms of copper in cells that are not quite those of the crystal."""
    frames = [bulk("Cu") * (n, 1, 1) for n in (1, 2, 3)]
    for atoms in frames[1:]:
        atoms.rattle(0.02, seed=1)
    return frames


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("relaxes", "failed", "changed the structure: Cu 0 is 0.1 Å from where it was asked for"),
        ("relaxes_a_copy", "failed", "changed the structure: Cu 0 is 0.1 Å from"),
        ("relaxes_the_cell", "failed", "changed the structure: a lattice vector differs by"),
        ("doubles_the_cell", "failed", "changed the structure: a lattice vector differs by"),
        ("opens_the_cell", "failed", "changed the structure: asked for periodicity"),
        ("changes_species", "failed", "changed the structure: asked for Cu 0, got Al 0"),
        ("moves_all", "failed", "changed the structure: Cu 0 is 1.7 Å from"),
        ("stress_inf", "failed", "the stress is not finite"),
        ("stress_nan", "failed", "the stress is not finite"),
        ("stress_nine", "failed", "expected numbers of shape .6,. as stress"),
        ("stress_one", "failed", "expected numbers of shape .6,. as stress, got 0.0"),
        ("stress_huge", "unphysical", "the stress is 1e[+]300 eV/Å³, more than 100"),
        ("forces_huge", "unphysical", "more than 100"),
        ("forces_complex", "failed", "expected numbers of shape .2, 3. as forces"),
        ("forces_one", "failed", "expected numbers of shape .2, 3. as forces"),
        ("energy_huge", "unphysical", "the energy is 1e[+]300 eV, and these atoms have"),
        ("energy_in_hartree", "unphysical", "the energy is -2e[+]05 eV, and these atoms have"),
        ("energy_complex", "failed", "expected a number as energy, got .1[+]2j."),
        ("energy_text", "failed", "expected a number as energy, got -3.0"),
        ("energy_array", "failed", "expected a number as energy"),
        ("energy_none", "failed", "ValueError|None"),
        ("energy_inf", "failed", "the energy is not finite"),
        ("energy_true", "failed", "expected a number as energy, got True"),
        ("bad_text", "failed", r"RuntimeError: bad \\x00 \\ud800 chars of a calculator"),
        ("long_text", "failed", r"RuntimeError: x{480,482} \.\.\.$"),
        ("no_text", "failed", "Silent: its message cannot be shown"),
        ("is_not_converged", "unconverged", "the calculator says that it did not converge"),
    ],
)
def test_what_is_no_label_says_so_and_spoils_no_other(importable, mode, status, reason):
    start = Configurations.from_ase(crystals())
    found = label(start, wrong(mode))
    assert found.keys == start.keys
    assert found.status.tolist() == ["ok", status, "ok"]
    assert re.search(reason, found.info["reason"][1])
    assert not found.info["reason"][1].startswith(("ValueError: the ", "ValueError: expected"))
    good = label(start[[0, 2]], EMT_OPTIONS)
    assert found[[0, 2]].energies.tolist() == good.energies.tolist()
    found.check_labels()
    if status != "unphysical":
        assert not np.isfinite(found.energies[1])
    assert found.info["reason"][1].isprintable()


def test_a_calculator_may_go_elsewhere(importable, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = label(Configurations.from_ase(crystals()), wrong("goes_elsewhere"))
    assert found.status.tolist() == ["ok"] * 3
    assert Path.cwd() == tmp_path


def test_labels_survive_a_calculator_that_cannot_be_built_again(importable, monkeypatch):
    monkeypatch.setattr("broken_calculators.builds", [])
    start = Configurations.from_ase([chain(n) for n in (1, 4, 1)])
    found = label(start, CalculatorOptions("once", factory="broken_calculators:Once"))
    assert found.status.tolist() == ["ok", "failed", "failed"]
    assert "the licence server is gone" in found.info["reason"][2]


def test_moments_charges_masses_and_tags_reach_the_calculator(importable):
    iron = bulk("Fe", cubic=True)
    iron.set_initial_magnetic_moments([2.3, -2.3])
    iron.set_initial_charges([1.0, 0.0])
    iron.set_masses([57.0, 58.0])
    iron.set_tags([1, 2])
    sites = CalculatorOptions("sites", factory="broken_calculators:Sites")
    start = Configurations.from_ase([Atoms("Fe"), iron])
    found = label(start, sites)
    np.testing.assert_allclose(found.arrays["moments"], [np.nan, 2.07, -2.07])
    again = label(found, EMT_OPTIONS)  # which knows no iron
    assert "moments" not in again.arrays
    assert found.keys == start.keys
    assert found.energies[1] == pytest.approx(-11.725)
    assert found.energies[0] == pytest.approx(-0.055845)


def test_a_stress_that_these_options_lack_is_left_out(importable):
    sometimes = CalculatorOptions("sometimes", factory="broken_calculators:Sometimes")
    found = label(Configurations.from_ase(crystals()), sometimes)
    assert found.status.tolist() == ["ok"] * 3
    assert np.isnan(found.stresses).all()
