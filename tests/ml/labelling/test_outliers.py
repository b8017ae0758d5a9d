import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.checks import Limits
from aiida_mlal.ml.labelling.outliers import outlying, without_outliers

DFT = {"Cu": -1305.0, "C": -152.0, "O": -432.0}
"""Energies of atoms in eV as pseudopotentials give them."""


def labelled(energies, formulas):
    """Structures of which only composition and energy per atom matter."""
    frames = [Atoms(formula, positions=np.eye(len(Atoms(formula)), 3) * 2) for formula in formulas]
    absolute = [
        sum(DFT[symbol] for symbol in atoms.symbols) + energy * len(atoms)
        for energy, atoms in zip(energies, frames)
    ]
    found = Configurations.from_ase(frames)
    return found.with_labels(absolute, np.zeros((len(found.numbers), 3)))


@pytest.mark.parametrize("wrong", [-1e4, 1e4, -300.0, 300.0])
def test_a_wrong_energy_among_few_is_found(wrong):
    found = without_outliers(labelled([-3.5, -3.4, wrong, -3.6], ["Cu2"] * 4))
    assert found.status.tolist() == ["ok", "ok", "unphysical", "ok"]
    assert "eV per atom from what other labels let expect" in found.info["reason"][2]


def test_two_of_a_composition_say_nothing_of_each_other():
    assert set(without_outliers(labelled([-3.5, 1e4], ["Cu2"] * 2)).status) == {"ok"}


def test_mixtures_are_judged_by_what_they_are_mixed_of():
    energies = [-3.5, -3.4, -3.6, -7.0, -7.1, -7.2, -5.0, -900.0]
    formulas = ["Cu2"] * 3 + ["C", "C2", "C3"] + ["CuC", "CuC3"]
    assert without_outliers(labelled(energies, formulas)).status.tolist() == ["ok"] * 7 + [
        "unphysical"
    ]


def test_elements_that_nothing_is_known_of_are_not_judged():
    energies = [-3.5, -3.4, -3.6, -900.0, 800.0]
    assert set(without_outliers(labelled(energies, ["Cu"] * 3 + ["CuO", "O2"])).status) == {"ok"}


def test_new_labels_are_judged_by_those_that_are_known():
    known = labelled([-3.5, -3.4, -3.6, 400.0], ["Cu2"] * 4)
    new = labelled([-3.5, 1e4], ["Cu", "Cu3"])
    found = without_outliers(new, None, known)
    assert found.keys == new.keys
    assert found.status.tolist() == ["ok", "unphysical"]


def test_compressed_cells_and_free_atoms_are_no_outliers():
    frames = [Atoms("Cu"), Atoms("Cu2", [[0, 0, 0], [0, 0, 1.2]])]
    frames += [bulk("Cu", a=a) for a in (1.9, 2.2, 2.6, 3.0, 3.4, 3.6, 3.6, 3.62, 4.0, 5.0)]
    for atoms in frames:
        atoms.calc = EMT()
        atoms.get_potential_energy()
    found = Configurations.from_ase(frames)
    per_atom = found.energies / found.counts
    assert np.ptp(per_atom) > 30
    assert set(without_outliers(found).status) == {"ok"}
    three = found[[2, 3, 7]]  # of which two are far from equilibrium
    assert set(without_outliers(three).status) == {"ok"}


def test_a_wide_spread_is_its_own_measure():
    energies = [0.0, 300.0, 600.0, 900.0, 1200.0]
    assert set(without_outliers(labelled(energies, ["Cu"] * 5)).status) == {"ok"}


def test_without_a_limit_nothing_is_judged():
    batch = labelled([-3.5, -3.4, 1e4, -3.6], ["Cu2"] * 4)
    assert without_outliers(batch, Limits(max_deviation=None)) is batch


def test_who_learns_from_labels_is_told_which_to_doubt():
    energies = [-3.5, -3.4, np.nan, 9.0, -3.6, -3.5, 40.0]
    (said,) = outlying(labelled(energies, ["Cu"] * 7))
    assert "energies of 2 of 7 structures" in said
    assert "number 6 (+43.5), 3 (+12.5)" in said
    assert outlying(labelled(energies[:3], ["Cu"] * 3)) == []
    assert outlying(Configurations.empty()) == []


def test_nothing_is_judged_by_nothing():
    assert len(without_outliers(Configurations.empty())) == 0
