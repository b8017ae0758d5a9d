"""What cannot be right about labels."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, fcc100, molecule
from rattled import rattled

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.doubtful_labels import (
    asymmetric,
    constrained,
    contradictory,
    doubtful_labels,
    repeated,
    unbalanced,
)

SETS = {
    "crystal": rattled(bulk("Cu", cubic=True)),
    "slab": rattled(fcc100("Cu", (2, 2, 3), vacuum=6, periodic=False)),
    "molecule": rattled(molecule("CH3CH2OH"), kick=0.05),
}


@pytest.mark.parametrize("name", SETS)
def test_right_labels_are_not_doubted(name):
    assert doubtful_labels(SETS[name]) == []
    assert doubtful_labels(Configurations.empty()) == []
    assert doubtful_labels(SETS[name].bare) == []


@pytest.mark.parametrize("name", SETS)
def test_forces_add_up_to_zero(name):
    assert unbalanced(SETS[name]) == []


def test_forces_that_push_everything_are_named():
    labels = SETS["slab"]
    pushed = labels.with_labels(
        labels.energies, labels.forces + np.array([0.5, 0, 0]), labels.stresses
    )
    (said,) = unbalanced(pushed)
    assert said.startswith("forces on the atoms of 8 of 8 structures do not add up to zero")
    some = labels.forces.copy()
    some[np.arange(len(some)) % 12 < 4] = 0  # as of a layer that is fixed
    assert unbalanced(labels.with_labels(labels.energies, some, labels.stresses))


def test_a_label_that_is_read_again_is_named():
    labels = SETS["slab"]
    forces = np.tile(labels.forces[: labels.counts[0]], (len(labels), 1))
    energies = np.full(len(labels), labels.energies[0])
    (said,) = repeated(labels.with_labels(energies, forces, labels.stresses))
    assert "number 0, 1, 2, 3, 4, ... are the same to the last digit" in said


def test_structures_that_are_there_twice_may_have_the_same_label():
    once = SETS["molecule"]
    moved = Configurations.from_geometry(
        once.numbers, once.positions + 0.5, once.counts, once.cells, once.pbc
    ).with_labels(once.energies, once.forces, once.stresses)
    assert repeated(Configurations.concatenate([once, once, moved])) == []


def test_forces_of_constraints_are_named():
    labels = SETS["slab"]
    fixed = np.zeros(labels.fixed.shape, bool)
    fixed[np.arange(len(fixed)) % 12 < 4] = True
    held = replace(labels, fixed=fixed)
    assert constrained(held) == constrained(labels) == []
    seeming = held.with_labels(held.energies, np.where(fixed, 0, held.forces), held.stresses)
    (said,) = constrained(seeming)
    assert said.startswith("forces on all 32 fixed atoms are exactly zero")
    assert said in doubtful_labels(seeming)


def test_one_structure_of_two_labels_is_named():
    once = SETS["molecule"]
    other = once[[2, 5]].with_labels(once.energies[[2, 5]] + [0.9, 0.2], once[[2, 5]].forces)
    assert contradictory(Configurations.concatenate([once, once])) == []
    (said,) = contradictory(Configurations.concatenate([once, other]))
    assert said.startswith("2 structures are there twice with other labels, as number 2 and 8,")
    assert "differ by 0.1 eV/atom" in said


def test_stresses_that_are_not_symmetric_are_named():
    labels = SETS["crystal"]
    assert asymmetric(labels) == asymmetric(SETS["molecule"]) == []
    stresses = labels.stresses.copy()
    stresses[3, 0, 1] += 0.1
    (said,) = asymmetric(labels.with_labels(labels.energies, labels.forces, stresses))
    assert "of 1 of 8 structures are not symmetric, that of number 3 by 0.1 eV" in said
