import re

import numpy as np
import pytest
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, GPa, Hartree
from rattled import rattled

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.consistency import inconsistencies

SETS = {
    "crystal": rattled(bulk("Cu", cubic=True)),
    "of several volumes": rattled(bulk("Cu", cubic=True, a=3.5), strain=0.01),
    "perfect, of several volumes": rattled(bulk("Al", cubic=True, a=3.8), kick=0.0, strain=0.01),
    "slab": rattled(fcc100("Cu", (2, 2, 3), vacuum=6, periodic=False)),
    "molecule": rattled(molecule("CH3CH2OH"), kick=0.05),
}


@pytest.mark.parametrize("name", SETS)
def test_labels_of_one_code_are_consistent(name):
    assert inconsistencies(SETS[name]) == []


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("factor", [Bohr / Hartree, 1 / Hartree, Hartree / Bohr, -1.0])
def test_forces_and_stresses_of_other_units_or_sign_are_not(name, factor):
    labels = SETS[name]
    wrong = labels.with_labels(labels.energies, labels.forces * factor, labels.stresses * factor)
    (said,) = inconsistencies(wrong)
    told = float(said.split(" times")[0].split()[-1])
    assert told == pytest.approx(1 / factor, rel=0.4)


def test_saddle_points_beside_minima_are_consistent():
    """Forces vanish at both, and there are 6 eV between them, as in the inversion of ammonia."""
    way = np.array([0.0, 0.005, 0.01, 0.015, 0.43, 0.44])
    positions = np.zeros((6, 3))
    positions[:, 0] = way
    energies, forces = 3 * (1 - np.cos(2 * np.pi * way)), np.zeros((6, 3))
    forces[:, 0] = -6 * np.pi * np.sin(2 * np.pi * way)
    labels = Configurations.from_geometry(
        [1] * 6, positions, [1] * 6, np.zeros((6, 3, 3)), np.zeros((6, 3), bool),
        energies=energies, forces=forces,
    )  # fmt: skip
    assert inconsistencies(labels) == []
    wrong = labels.with_labels(energies, forces * Bohr / Hartree)
    assert len(inconsistencies(wrong)) == 1


def test_energies_in_hartree_and_forces_in_hartree_per_bohr_are_not():
    labels = SETS["crystal"]
    wrong = labels.with_labels(labels.energies / Hartree, labels.forces / Hartree * Bohr)
    assert len(inconsistencies(wrong)) == 1


def test_stresses_in_gpa_are_not():
    labels = SETS["perfect, of several volumes"]
    wrong = labels.with_labels(labels.energies, labels.forces, labels.stresses / GPa)
    assert "times what stresses say" in inconsistencies(wrong)[0]


@pytest.fixture(scope="module")
def strained():
    """Rattled crystals, each in a cell of its own, and never near the one before."""
    frames = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True)
        strain = np.random.default_rng(seed).normal(scale=0.02, size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain + strain.T), scale_atoms=True)
        atoms.rattle(0.08, seed=seed)
        if seed % 2:
            atoms.symbols[0] = "Au"
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.mark.parametrize(
    ("forces", "stresses", "said"),
    [
        (1.0, 1.0, ""),
        (-1.0, 1.0, "times what forces say,"),
        (1.0, -1.0, "times what stresses say,"),
        (-1.0, -1.0, "times what forces say and .* times what stresses say,"),
        (1.0, 1 / GPa, "times what stresses say,"),
        (23.06, 23.06, "times what forces say and .* times what stresses say,"),
    ],
)
def test_forces_and_stresses_are_doubted_each(strained, forces, stresses, said):
    """Potentials fit such labels: of few structures nearly as well as right ones."""
    labels = strained.with_labels(
        strained.energies, forces * strained.forces, stresses * strained.stresses
    )
    found = "".join(inconsistencies(labels))
    assert re.search(said, found) if said else not found
    assert found.count("times") == said.count("times")


def test_periodic_images_are_no_displacement():
    frames = SETS["crystal"].to_ase()
    for atoms in frames[::2]:
        labels = {k: atoms.calc.results[k] for k in ("energy", "forces", "stress")}
        atoms.positions[0] += atoms.cell[0] - atoms.cell[2]
        atoms.calc = SinglePointCalculator(atoms, **labels)
    assert inconsistencies(Configurations.from_ase(frames)) == []
    for atoms in frames:
        atoms.calc.results["forces"] = 3 * atoms.calc.results["forces"]
    assert len(inconsistencies(Configurations.from_ase(frames))) == 1


def test_what_cannot_be_told_is_not_said():
    labels = SETS["crystal"]
    wrong = labels.with_labels(labels.energies, 9 * labels.forces, labels.stresses)
    assert len(inconsistencies(wrong)) == 1
    assert inconsistencies(wrong[:3]) == []
    far = rattled(bulk("Cu", cubic=True), kick=0.6)
    assert inconsistencies(far.with_labels(far.energies, 9 * far.forces)) == []
    noise = np.random.default_rng(0).normal(size=labels.forces.shape)
    assert "otherwise than forces" in inconsistencies(labels.with_labels(labels.energies, noise))[0]
    assert inconsistencies(labels.with_labels(labels.energies, noise * np.nan)) == []
    assert inconsistencies(Configurations.empty()) == []


def other_axes(labels):
    return labels.forces[:, [1, 2, 0]]


def other_order(labels):
    forces, counts = labels.forces.reshape(len(labels), -1, 3), labels.counts[0]
    return forces[:, np.roll(np.arange(counts), 1)].reshape(-1, 3)


def other_structures(labels):
    return np.roll(labels.forces.reshape(len(labels), -1, 3), 3, axis=0).reshape(-1, 3)


def none_at_all(labels):
    return 0 * labels.forces


@pytest.mark.parametrize("name", ["crystal", "of several volumes", "slab", "molecule"])
@pytest.mark.parametrize("of", [other_axes, other_order, none_at_all])
def test_forces_of_something_else_are_not(name, of):
    """No factor tells these: they had no word."""
    labels = SETS[name]
    (said,) = inconsistencies(labels.with_labels(labels.energies, of(labels), labels.stresses))
    assert "forces (correlation" in said or "times what forces say" in said


@pytest.mark.parametrize("name", ["crystal", "of several volumes", "slab"])
def test_forces_of_other_structures_are_not(name):
    """In a molecule, whose bonds pull on the same atoms in all, eight structures don't tell."""
    test_forces_of_something_else_are_not(name, other_structures)


def test_energies_of_another_offset_in_half_of_the_structures_are_not():
    labels = SETS["crystal"]
    half = labels.energies + 2.0 * (np.arange(len(labels)) % 2)
    (said,) = inconsistencies(labels.with_labels(half, labels.forces, labels.stresses))
    assert "change otherwise than forces" in said
