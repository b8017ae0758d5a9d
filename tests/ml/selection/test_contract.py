"""What holds for every query strategy; a new one joins by entering ``STRATEGIES``."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from installed import others, ours

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.uncertainty.carried import carry

OFF = Filters(min_distance=None, duplicate=None)
LAST = {"features": {"name": "last_layer"}}
STRATEGIES = {
    "believer": {},
    "combined": {"of": [{"name": "lcmd", "n": 3}, {"name": "random", "n": 9}]},
    "dropout": {},
    "dropout of forces": {"uncertainty": "dropout_force"},
    "feature_distance": {},
    "first": {},
    "final": {},
    "final_uncertainty": {},
    "kmeans_pp": {},
    "latent_distance": {},
    "lcmd": {},
    "lcmd of the last layer": LAST,
    "lcmd of a posterior": {"sigma": 0.1},
    "max_det": {},
    "max_diag": {},
    "max_dist": {"features": {"name": "descriptor"}},
    "maxvol": {},
    "neb": {},
    "oed": {},
    "oed in turn": {"sequential": True},
    "oed of forces": {"quantity": "forces"},
    "oed of both in turn": {"quantity": "both", "sequential": True},
    "qbc": {},
    "random": {},
    "uncertainty": {},
    **{name: {} for name in others("strategies")},
}

SMALL = {"architecture": "bpnn", "hidden": [3], "cutoff": 3.0}
MODELS = (
    SMALL,
    {**SMALL, "ensemble": 2, "prior": {"architecture": "morse"}},
    {"architecture": "mtp", "level": 4},
    {"architecture": "mtp", "level": 4, "ensemble": 2, "prior": {"architecture": "zbl"}},
    {"architecture": "gmnn", "hidden": [3], "cutoff": 3.0},
)


def water(n, seed=0):
    frames = []
    for i in range(n):
        atoms = molecule("CH3OH" if i % 3 == 0 else "H2O")
        atoms.rattle(0.1, seed=1000 * seed + i)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(scope="module")
def train():
    return water(8, seed=1)


@pytest.fixture(scope="module")
def network():
    model = {"architecture": "bpnn", "hidden": [3], "cutoff": 3.0, "ensemble": 2}
    return ModelOptions.parse(model).build(["C", "H", "O"], 1)


@pytest.fixture(scope="module")
def process(train):
    options = ModelOptions.parse({"architecture": "gp", "cutoff": 3.0})
    found = options.build(["C", "H", "O"], 1)
    labels = train.with_labels(np.zeros(len(train)), np.zeros_like(train.positions))
    fit(found, labels, options.training({"epochs": 1}), 0)
    carry(found, {"name": "gp_std"}, labels)
    return found


@pytest.fixture
def potential(options, network, process):
    return process if options["name"] == "believer" else network


@pytest.fixture(params=STRATEGIES)
def options(request):
    return {"name": request.param.split()[0], **STRATEGIES[request.param]}


@pytest.fixture
def kind(options):
    return plugins.make("strategies", options, "query")


def test_every_strategy_of_the_package_is_here():
    assert {name.split()[0] for name in STRATEGIES} - others("strategies") == ours("strategies")


def test_choices_differ_and_are_as_many_as_wanted(options, kind, potential, train):
    pool = water(10)
    for n in (1, 4, 10, 15):
        found = select(pool, train, {**options, "n": n}, OFF, potential=potential)
        assert len(set(found.indices)) == len(found.indices)
        assert len(found.indices) <= min(n, 10)
        if kind.wants_n:
            assert len(found.indices) == min(n, 10)
        if kind.wants_n and n > 10:
            assert "asked for 15 structures, chose 10" in found.message


def test_same_seed_same_choice(options, potential, train):
    pool = water(10)
    one, two = (
        select(pool, train, {**options, "n": 4}, OFF, seed=3, potential=potential) for _ in range(2)
    )
    assert one == two


def test_the_order_of_the_pool_does_not_matter(options, kind, potential, train):
    if kind.wants_final or options["name"] == "first":
        pytest.skip("it goes by the order")
    pool = water(12)
    order = np.random.default_rng(5).permutation(12)
    mixed = train[np.random.default_rng(6).permutation(len(train))]
    first = select(pool, train, {**options, "n": 5}, OFF, seed=1, potential=potential)
    second = select(pool[order], mixed, {**options, "n": 5}, OFF, seed=1, potential=potential)
    assert [s["key"] for s in first.selected] == [s["key"] for s in second.selected]


def test_structures_that_are_the_same_are_no_obstacle(options, kind, potential, train):
    pool = water(3)[[0, 0, 1, 1, 1, 2]]
    found = select(pool, train, {**options, "n": 6}, OFF, potential=potential)
    assert len(set(found.indices)) == len(found.indices)
    if kind.wants_n:
        assert sorted(found.indices) == list(range(6))
    if options["name"] in ("lcmd", "max_dist"):
        assert {pool.keys[i] for i in found.indices[:3]} == set(pool.keys)


def test_nothing_labelled_is_no_obstacle(options, kind, potential):
    if options["name"] == "oed":
        with pytest.raises(ValueError, match="carries no information matrix"):
            select(water(9), Configurations.empty(), {**options, "n": 3}, OFF, potential=potential)
        return
    found = select(water(9), Configurations.empty(), {**options, "n": 3}, OFF, potential=potential)
    assert not kind.wants_n or len(found.indices) == 3


def test_nothing_from_nothing(options, potential, train):
    found = select(Configurations.empty(), train, {**options, "n": 2}, OFF, potential=potential)
    assert found.selected == []


def test_every_choice_has_a_reason_and_inputs_are_left_alone(options, potential, train):
    pool = water(6)
    before = pool.to_bytes(), train.to_bytes()
    found = select(pool, train, {**options, "n": 3}, OFF, potential=potential)
    assert all(chosen["reason"] for chosen in found.selected)
    assert (pool.to_bytes(), train.to_bytes()) == before


def test_filtered_structures_are_not_chosen(options, potential, train):
    pool = water(10)
    found = select(pool, pool[[3, 4, 5]], {**options, "n": 10}, potential=potential)
    assert not {3, 4, 5} & set(found.indices)


def test_at_least_one_is_wanted(options):
    with pytest.raises(ValueError, match="above 0, got 0"):
        plugins.make("strategies", {**options, "n": 0})


def test_elements_that_the_potential_does_not_know_are_named(options, potential, train):
    if options["name"] in ("random", "final"):
        pytest.skip("looks at no potential")
    pool = Configurations.concatenate([water(2), Configurations.from_ase(molecule("NH3"))])
    pool = pool.with_info(uncertainty=np.full(3, np.nan))
    with pytest.raises(ValueError, match=r"knows \['H', 'C', 'O'\], the structures have \['N'\]"):
        select(pool, train, {**options, "n": 2}, OFF, potential=potential)


def test_a_strategy_that_needs_a_potential_says_so(options, train):
    if options["name"] in ("random", "final", "first", "neb"):
        return
    with pytest.raises(ValueError, match="potential"):
        select(water(3), train, {**options, "n": 2}, OFF)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_model_without_what_is_looked_at_is_known_by_its_options(options, kind, model):
    """So that it is refused before anything is trained."""
    if not kind.wants_potential or "uncertainty" in options["name"]:
        return  # the pool of a simulation says how uncertain it is
    told = ModelOptions.parse(model)
    pool = water(3)
    try:
        select(pool, water(2, seed=1), options, OFF, potential=told.build(pool.elements, 0))
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            plugins.make("strategies", options).check_model(told)
    else:
        plugins.make("strategies", options).check_model(told)


def test_positions_that_are_no_numbers_are_filtered_or_refused(options, potential, train):
    pool = water(5)
    positions = pool.positions.copy()
    positions[0] = np.nan
    pool = replace(pool, positions=positions)
    found = select(pool, train, {**options, "n": 2}, OFF, potential=potential)
    assert 0 not in found.indices
