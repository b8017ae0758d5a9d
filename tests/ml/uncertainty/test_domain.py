"""Uncertainties outside of what a potential has learned from."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml import plugins
from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.domain import (
    CROWDED,
    FARTHER,
    FORCE,
    NEARER,
    NEVER,
    THINNED,
    Domain,
)
from aiida_mlal.ml.uncertainty.doubts import doubts

FORCE_STD = plugins.make("uncertainties", {"name": "force_std"})


def water(length=0.96, names="OHH"):
    atoms = molecule("H2O")
    for i in (1, 2):
        atoms.set_distance(0, i, length, fix=0)
    atoms.symbols[:] = list(names)
    return atoms


def potential(architecture="bpnn", elements=("H", "C", "O"), **options):
    model = {"architecture": architecture, "cutoff": 3.0, "ensemble": 2, **options}
    return ModelOptions.parse(model).build(list(elements), 0)


@pytest.fixture
def domain():
    train = Configurations.from_ase([water(0.9), water(1.0)])
    return Domain.of(potential(), train)


def scores(domain, atoms):
    one = Configurations.from_ase(atoms)
    return domain.scores(one.numbers, domain.surroundings(one))


def test_what_was_learned_is_within(domain):
    for length in (0.9, 0.95, 1.0):
        np.testing.assert_allclose(scores(domain, water(length)), 0, atol=1e-9)


def without_crowding(domain):
    n = len(domain.elements)
    return replace(domain, thinnest=np.zeros(n), densest=np.full(n, np.inf))


def test_the_score_is_that_of_the_nearest_neighbour_outside_of_the_range(domain):
    domain = without_crowding(domain)
    nearer, farther = water(0.85), water(1.2)
    expected = max(0.05, domain.low[0, 0] - nearer.get_distance(1, 2)) / NEARER
    np.testing.assert_allclose(scores(domain, nearer), [0.5, expected, expected])
    np.testing.assert_allclose(scores(domain, farther), 0.2 / FARTHER)


def crowding(distances, cutoff):
    return sum((1 - (d / cutoff) ** 2) ** 2 for d in distances)


def test_more_crowded_neighbours_than_labelled_have_the_score_of_a_strain():
    crystal = bulk("Cu", a=3.6)
    carrier = potential(elements=["Cu"], cutoff=4.0)
    domain = Domain.of(carrier, Configurations.from_ase(crystal))
    # 12 neighbours at a / sqrt(2), 6 at a; denser is scaled so that neither is too near
    cell = crystal.cell * 0.97
    denser = Atoms("Cu", cell=cell, pbc=True)
    domain.low[:] = 0.0
    domain.high[:] = np.inf
    d = np.array([3.6 / np.sqrt(2)] * 12 + [3.6] * 6)
    n, more = crowding(d, 4.0), crowding(0.97 * d, 4.0)
    swell = (crowding((1 - 1e-6) * d, 4.0) - n) / 1e-6
    np.testing.assert_allclose(scores(domain, denser), (more - n) / swell / CROWDED, rtol=1e-4)
    assert 0.4 < scores(domain, denser)[0] < 0.8
    less = n - crowding(1.05 * d, 4.0)
    thinner = Atoms("Cu", cell=crystal.cell * 1.05, pbc=True)
    np.testing.assert_allclose(scores(domain, thinner), less / swell / THINNED, rtol=1e-4)
    assert 0.4 < scores(domain, thinner)[0] < 0.8
    two = Configurations.from_ase(Atoms("Cu", cell=crystal.cell * 0.9, pbc=True))
    domain.store(carrier)
    assert "more crowded by neighbours than any that were labelled: Cu" in doubts(carrier, two)
    two = Configurations.from_ase(Atoms("Cu", cell=crystal.cell * 1.3, pbc=True))
    assert "fewer or farther neighbours than any that were labelled: Cu" in doubts(carrier, two)


def test_an_element_that_takes_the_place_of_another_crowds_nothing():
    ordered = bulk("Cu", a=3.7, cubic=True)
    ordered.symbols[:] = ["Cu", "Cu", "Au", "Au"]
    domain = Domain.of(
        potential(elements=["Cu", "Au"], cutoff=4.0), Configurations.from_ase(ordered)
    )
    for names in (["Cu", "Au", "Au", "Au"], ["Cu", "Cu", "Cu", "Au"], ["Cu"] * 4, ["Au"] * 4):
        other = ordered.copy()
        other.symbols[:] = names
        np.testing.assert_allclose(scores(domain, other), 0, atol=1e-9)


def test_a_bond_that_broke_is_outside_where_others_remain(domain):
    broken = water(0.95)
    broken.set_distance(0, 1, 2.5, fix=0)
    assert scores(domain, broken)[0] > 0.5  # oxygen has the other hydrogen still
    assert scores(domain, broken)[1] > 1


def test_an_atom_that_lost_its_neighbours_is_outside(domain):
    lone = scores(without_crowding(domain), Atoms("O"))
    np.testing.assert_allclose(lone, (3.0 - 1.0) / FARTHER)


def test_elements_and_pairs_without_a_label_have_a_high_score(domain):
    assert scores(domain, water(0.95, "CHH")).min() >= NEVER
    two = water(0.95)
    two.append("O")
    two.positions[-1] = two.positions[0] + [0, 0, 1.6]
    assert scores(domain, two)[[0, 3]].min() >= NEVER


def test_what_is_outside_is_named(domain):
    carrier = potential()
    assert doubts(carrier, Configurations.from_ase(water(2.0, "CHH"))) == ""
    domain.store(carrier)
    assert doubts(carrier, Configurations.from_ase([water(0.9), water(1.0)])) == ""
    said = doubts(carrier, Configurations.from_ase([water(0.7, "OHO"), water(0.95, "CHH")]))
    assert "elements without a label: C" in said
    assert "neighbours never labelled within the cutoff: H-C, O-O" in said
    assert "O-H 0.70 Å (labelled from 0.90)" in said


def test_structures_of_no_atoms_pass(domain):
    assert domain.surroundings(Configurations.empty()).nearest.shape == (0, 3)


@pytest.mark.parametrize("name", ["force_std", "force_var", "energy_std"])
def test_uncertainties_grow_by_the_score(domain, name):
    carrier = potential()
    measure = plugins.make("uncertainties", {"name": name})
    pool = Configurations.from_ase([water(0.95), water(0.7), Atoms("O")])
    bare = measure.measure(carrier, pool)
    domain.store(carrier)
    found = measure.measure(carrier, pool)
    x = domain.scores(pool.numbers, domain.surroundings(pool))
    power = 2 if name == "force_var" else 1
    factors, more = (1 + x) ** power, (FORCE * x) ** power
    largest = np.maximum.reduceat(factors, pool.offsets[:-1])
    assert found.values[0] == bare.values[0]
    if bare.per_atom is None:
        np.testing.assert_allclose(found.values, bare.values * largest)
    else:
        np.testing.assert_allclose(found.per_atom, bare.per_atom * factors + more)
        expected = np.maximum.reduceat(found.per_atom, pool.offsets[:-1])
        np.testing.assert_allclose(found.values, expected)


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_crystals_without_forces_are_uncertain_far_away(engine):
    """All members agree that forces are zero by symmetry, at any volume."""
    carrier = potential(elements=["Cu"])
    near = bulk("Cu", cubic=True)
    near.rattle(0.05, seed=1)
    Domain.of(carrier, Configurations.from_ase([near, bulk("Cu")])).store(carrier)
    values = []
    for scale in (1.0, 0.9, 0.8, 0.7):
        atoms = bulk("Cu")
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        calculator = MLCalculator(carrier, FORCE_STD, engine=engine)
        calculator.calculate(atoms)
        values.append(calculator.results["uncertainty"])
        measured = FORCE_STD.measure(carrier, Configurations.from_ase(atoms)).values
        assert measured[0] == pytest.approx(values[-1])
    assert values == sorted(values)
    assert values[0] < 1e-10
    assert values[1] > FORCE


def labelled(frames):
    structures = Configurations.from_ase(frames)
    n = len(structures)
    energies = np.random.default_rng(0).normal(size=n)
    forces = np.random.default_rng(1).normal(size=structures.positions.shape)
    return structures.with_labels(energies, forces).with_info(status=["ok"] * n)


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "bpnn", "hidden": [3], "ensemble": 2},
        {"architecture": "bpnn", "hidden": [3], "ensemble": 2, "prior": {"architecture": "morse"}},
        {"architecture": "gmnn", "hidden": [4], "ensemble": 2},
        {"architecture": "mtp", "level": 4, "radial_basis_size": 4, "ensemble": 2},
    ],
    ids=["bpnn", "on a prior", "gmnn", "mtp"],
)
def test_the_domain_of_every_model_is_that_of_its_labels_and_travels(options):
    frames = [water(0.9), water(1.0)]
    model = ModelOptions.parse({"cutoff": 3.0, **options}).build(["H", "C", "O"], 0)
    training = build(TrainingOptions, {"epochs": 1})
    fit(model, labelled(frames), training, 0)
    again = Checkpoint.from_bytes(Checkpoint(model).to_bytes()).potential
    pool = Configurations.from_ase([water(0.95), water(0.7), water(0.95, "CHH")])
    values = FORCE_STD.measure(again, pool).values
    again.extras = {}
    bare = FORCE_STD.measure(again, pool).values
    assert values[0] == bare[0]
    assert values[1] > 1.5 * bare[1]
    assert values[2] >= (1 + NEVER) * bare[2] > 0


def test_what_is_held_out_is_not_in_the_domain():
    frames = [water(0.9), water(0.95), water(1.2)]
    model = potential(hidden=[3])
    training = build(TrainingOptions, {"epochs": 1})
    fit(model, labelled(frames[:2]), training, 0, validation=labelled(frames[2:]))
    assert Domain.stored(model).high[2] == pytest.approx(0.95)


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_calculator_says_the_same(domain, engine):
    carrier = potential()
    domain.store(carrier)
    for atoms in (water(0.95), water(0.7), water(0.9, "CHH")):
        calculator = MLCalculator(carrier, FORCE_STD, engine=engine)
        calculator.calculate(atoms)
        expected = FORCE_STD.measure(carrier, Configurations.from_ase(atoms))
        assert calculator.results["uncertainty"] == pytest.approx(expected.values[0])
        np.testing.assert_allclose(calculator.results["uncertainties"], expected.per_atom)


def test_images_of_a_small_cell_are_neighbours():
    crystal = Configurations.from_ase(bulk("Cu"))
    domain = Domain.of(potential(elements=["Cu"]), crystal)
    domain.densest[:] = np.inf
    assert domain.low[0, 0] == pytest.approx(3.61 / np.sqrt(2))
    nearer = replace(crystal, cells=0.9 * crystal.cells)
    expected = 0.1 * 3.61 / np.sqrt(2) / NEARER
    np.testing.assert_allclose(domain.scores(nearer.numbers, domain.surroundings(nearer)), expected)
