import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions, single
from aiida_mlal.ml.models.morse import morse_table
from aiida_mlal.ml.training.fit import fit


def prior(*elements, **options):
    return single({"architecture": "second_moment", **options}, elements, 0)


def pair(symbols, r):
    return Configurations.from_ase(Atoms(symbols, [[0, 0, 0], [0, 0, r]]))


def energy(potential, symbols, r):
    return float(potential.predict(pair(symbols, r)).energies[0])


def with_labels(atoms, calculator):
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    return Configurations.from_ase(atoms)


def test_two_atoms_have_the_minimum_depth_and_curvature_of_the_table():
    dimer, potential = morse_table()["Cu"], prior("Cu")
    h = 1e-3
    below, at, above = (energy(potential, "Cu2", dimer.re + x) for x in (-h, 0.0, h))
    assert at == pytest.approx(-dimer.De, rel=1e-5)
    assert above == pytest.approx(below, abs=1e-6)
    assert (above + below - 2 * at) / h**2 == pytest.approx(2 * dimer.De * dimer.a**2, rel=1e-3)


def test_bonds_of_a_crystal_are_weaker_and_longer_than_that_of_two_atoms():
    """By the formula: n neighbours, none farther, let bonds grow by log(n) / 2(p - q)."""
    potential, dimer = prior("Cu", cutoff=3.4, switch=0.3), morse_table()["Cu"]
    spacings = np.linspace(2.3, 3.0, 701)
    crystals = [bulk("Cu", a=r * 2**0.5) for r in spacings]
    energies = potential.predict(Configurations.from_ase(crystals)).energies
    best = int(energies.argmin())
    assert spacings[best] == pytest.approx(dimer.re + np.log(12) / 8, abs=2e-3)
    assert energies[best] / 6 > -0.6 * dimer.De


def test_an_element_that_the_table_lacks_has_a_bond_too():
    assert "La" not in morse_table()
    energies = [energy(prior("La"), "La2", r) for r in (2.5, 3.5, 5.0)]
    assert energies[1] < min(energies[0], energies[2])


def test_the_kernel_says_the_same():
    potential = prior("C", "H", "O")
    potential.shifts += 0.1
    potential.scales *= 1.3
    atoms = molecule("CH3OH")
    atoms.rattle(0.1, seed=1)
    atoms += Atoms("O", [[20.0, 0.0, 0.0]])  # alone
    expected = potential.predict(Configurations.from_ase(atoms))
    found = kernels_of(potential, 0.5)(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    assert found.energies.sum() == pytest.approx(expected.energies[0], rel=1e-10)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-10, atol=1e-10)


def test_labels_change_it_towards_what_they_came_of():
    """Where it can be so exactly, and as far as its own prior lets it."""
    truth, potential = prior("Cu"), prior("Cu")
    truth.shifts += 0.1
    truth.scales *= 0.8
    crystals = [bulk("Cu", a=a, cubic=True) for a in (3.4, 3.6, 3.9)]
    for crystal in crystals:
        crystal.rattle(0.1, seed=0)
    asked = Configurations.from_ase(crystals)
    labelled = asked.with_labels(*truth_of(truth, asked))
    potential.adapt(labelled)
    assert float(potential.shifts[0, 0]) == pytest.approx(0.1, abs=0.01)
    assert float(potential.scales[0, 0]) == pytest.approx(0.8, abs=0.02)
    before = potential.shifts.clone(), potential.scales.clone()
    potential.adapt(labelled)
    assert [*before] == [potential.shifts, potential.scales]


def truth_of(potential, asked):
    said = potential.predict(asked)
    return said.energies, said.forces, said.stresses


def test_labels_without_forces_change_nothing():
    potential = prior("Cu")
    potential.adapt(Configurations.from_ase(bulk("Cu", cubic=True)))
    assert float(potential.shifts.abs().max()) == 0


def test_what_labels_may_not_change_stays():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=0)
    labelled = with_labels(crystal, EMT())
    potential = prior("Cu", shift=0.0, scale=0.0)
    potential.adapt(labelled)
    assert float(potential.shifts.abs().max()) == 0
    assert float(potential.scales.log().abs().max()) == 0


def test_training_adapts_it_and_files_keep_that(tmp_path):
    crystal = bulk("Cu", a=3.4, cubic=True)
    crystal.rattle(0.1, seed=1)
    labelled = with_labels(crystal, EMT())
    options = ModelOptions.parse({"architecture": "gp", "prior": {"architecture": "second_moment"}})
    potential = options.build(["Cu"], 0)
    fit(potential, labelled, options.training({"loss": {"stress": 0.0}}), 0)
    adapted = potential.terms[0]
    assert float(adapted.shifts.abs().max()) > 0.01
    assert abs(potential.predict(labelled).forces - labelled.forces).max() < 0.02
    content = Checkpoint(potential).to_bytes()
    again = Checkpoint.from_bytes(content).potential
    np.testing.assert_array_equal(
        again.predict(labelled).forces, potential.predict(labelled).forces
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"switch": 7.0}, "expected a switch not wider than the cutoff"),
        ({"shift": -0.1}, "expected shift of 0 or more"),
        ({"difference": 0.0}, "difference"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        prior("Cu", **options)
