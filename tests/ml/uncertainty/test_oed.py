"""Last-layer variances, by the definitions written slowly."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.uncertainty import sensitivities as module
from aiida_mlal.ml.uncertainty.design import Design, sensitivities
from aiida_mlal.ml.uncertainty.information import Information, gain, with_rows
from aiida_mlal.ml.uncertainty.oed import OED
from aiida_mlal.ml.uncertainty.sensitivities import force_sensitivities

BPNN = {"architecture": "bpnn", "hidden": [5, 4], "cutoff": 3.5}
MODELS = {
    "bpnn": BPNN,
    "bpnn on a prior": {**BPNN, "prior": {"architecture": "morse", "cutoff": 3.0}},
    "bpnn, three of them": {**BPNN, "ensemble": 3},
    "gmnn": {"architecture": "gmnn", "hidden": [7, 20], "cutoff": 3.5},
    "gmnn of standard layers": {"architecture": "gmnn", "hidden": [20], "layers": "standard"},
}


def build(name="bpnn"):
    potential = ModelOptions.parse(MODELS[name]).build(["C", "H", "O"], seed=2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in potential.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return potential


def water(n, seed=0, name="H2O", stdev=0.1):
    frames = []
    for i in range(n):
        atoms = molecule(name)
        atoms.rattle(stdev, seed=100 * seed + i)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def mixed(n=4, seed=0):
    return Configurations.concatenate([water(n, seed, name) for name in ("H2O", "CH3CH2OH", "CH4")])


@pytest.fixture(params=MODELS)
def potential(request):
    return build(request.param)


def test_force_sensitivities_are_derivatives_of_energy_sensitivities(potential):
    structures, step = mixed(1), 1e-5
    found = sensitivities(potential, potential.graph(structures), "forces")
    for atom in range(0, len(structures.numbers), 3):
        for axis in range(3):
            sums = []
            for sign in (1, -1):
                positions = structures.positions.copy()
                positions[atom, axis] += sign * step
                graph = potential.graph(replace(structures, positions=positions))
                sums.append(sensitivities(potential, graph, "energy").sum(0))
            slope = (sums[0] - sums[1]) / (2 * step)
            np.testing.assert_allclose(found[atom, axis], -slope, atol=1e-8)


def test_both_ways_to_force_sensitivities_agree(potential):
    cells = Configurations.from_ase(
        [Atoms("CO", [[0, 0, 0], [0.1, 1.3, 1.1]], cell=[2.5, 2.7, 2.6], pbc=True)]
    )
    graph = potential.graph(Configurations.concatenate([mixed(1), cells, water(1)]))
    one, other = module._forward(potential, graph), module._backward(potential, graph)
    assert float(abs(one).max()) > 1e-3
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_force_sensitivities_of_a_lone_atom_are_0(potential):
    found = force_sensitivities(potential, potential.graph(Configurations.from_ase(Atoms("O"))))
    np.testing.assert_array_equal(found, 0)


class TestInformation:
    rows = np.random.default_rng(0).normal(size=(30, 7)) * [1, 1, 1, 1, 1e-2, 1e-3, 1e-4]

    def test_variance_is_that_of_the_definition(self):
        information = Information.of(self.rows, 1e-6)
        ridge = 1e-6 * np.trace(self.rows.T @ self.rows) / 7
        inverse = np.linalg.inv(self.rows.T @ self.rows + ridge * np.eye(7))
        expected = [row @ inverse @ row for row in self.rows]
        np.testing.assert_allclose(information.variances(self.rows), expected, rtol=1e-8)

    @pytest.mark.parametrize("n", [1, 4])
    def test_more_rows_by_the_formula_of_woodbury_are_an_inversion(self, n):
        covariance = np.linalg.inv(self.rows.T @ self.rows)
        rows = np.random.default_rng(1).normal(size=(n, 7))
        expected = np.linalg.inv(self.rows.T @ self.rows + rows.T @ rows)
        np.testing.assert_allclose(with_rows(covariance, rows), expected, rtol=1e-6, atol=1e-8)

    def test_the_covariance_is_the_inverse(self):
        information = Information.of(self.rows, 0.0)
        expected = np.linalg.inv(self.rows.T @ self.rows)
        np.testing.assert_allclose(information.covariance, expected, rtol=1e-6, atol=1e-8)

    def test_parts_make_the_same_as_the_whole(self):
        parts_ = Information.of(self.rows[:10]).extended(self.rows[10:])
        np.testing.assert_allclose(parts_.matrix, Information.of(self.rows).matrix)
        assert parts_.n_rows == 30

    def test_too_few_rows_need_a_ridge(self):
        with pytest.raises(ValueError, match=r"of 3 rows for 7 weights is singular.*ridge above 0"):
            Information.of(self.rows[:3], 0.0).variances(self.rows)
        assert np.isfinite(Information.of(self.rows[:3], 1e-8).variances(self.rows)).all()

    def test_a_larger_ridge_leaves_less_variance(self):
        small, large = (Information.of(self.rows, r).variances(self.rows) for r in (1e-8, 1e-2))
        assert (large < small).all()

    def test_nothing_tells_nothing(self):
        with pytest.raises(ValueError, match="it is of nothing"):
            Information.of(self.rows[:0]).variances(self.rows)

    def test_numbers_that_are_none(self):
        with pytest.raises(ValueError, match="finite"):
            Information.of(np.array([[1.0, np.nan]]))

    @pytest.mark.parametrize("ridge", [-1e-8, np.nan, np.inf])
    def test_what_is_no_ridge(self, ridge):
        with pytest.raises(ValueError, match="expected a ridge of 0 or more"):
            Information.of(self.rows, ridge)


def fitted(potential, train, **options):
    measure = OED(**options)
    found = measure.fitted(potential, train)
    potential.extras = dict(found.extras)
    return measure, found.about


def slow_gains(potential, train, structures, quantity, ridge):
    """Equations 14, 17 and 20 without any shortcut: one structure, one row after the other."""

    def rows(one):
        found = sensitivities(potential, potential.graph(one), quantity)
        return found.reshape(-1, found.shape[-1])

    m = rows(train[0]).shape[1]
    matrix = np.zeros((m, m))
    for one in train:
        for row in rows(one):
            matrix += np.outer(row, row)
    inverse = np.linalg.inv(matrix + ridge * np.trace(matrix) / m * np.eye(m))
    return [np.array([u / (1 + u) for u in (r @ inverse @ r for r in rows(s))]) for s in structures]


@cache
def slow_gains_of(name, quantity):
    """Gains of the structures learned and of others: what is done with them takes no time."""
    potential, train = build(name), mixed(3)
    return {
        "train": slow_gains(potential, train, train, quantity, 1e-5),
        "pool": slow_gains(potential, train, mixed(2, seed=1), quantity, 1e-5),
    }


@pytest.mark.parametrize("reduce", ["mean", "max"])
@pytest.mark.parametrize("quantity", ["energy", "forces", "both"])
@pytest.mark.parametrize("name", MODELS)
def test_gains_are_those_of_the_paper(name, quantity, reduce):
    potential, train, pool = build(name), mixed(3), mixed(2, seed=1)
    measure, about = fitted(
        potential, train, quantity=quantity, reduce=reduce, beta=1.5, ridge=1e-5, threshold=None
    )
    parts_ = {"energy": ["energy"], "forces": ["forces"], "both": ["energy", "forces"]}[quantity]
    expected = {"train": np.zeros(len(train)), "pool": np.zeros(len(pool))}
    for part in parts_:
        weight = 1.5 if quantity == "both" and part == "forces" else 1.0
        for which, gains in slow_gains_of(name, part).items():
            expected[which] += [weight * getattr(g, reduce)() for g in gains]
    found = measure.measure(potential, pool)
    np.testing.assert_allclose(found.values, expected["pool"], rtol=1e-6)
    assert about["mean"] == pytest.approx(expected["train"].mean())
    assert about["median"] == pytest.approx(np.median(expected["train"]))


@pytest.mark.parametrize("threshold", ["mean", "median"])
def test_informativeness_is_in_units_of_the_training_set(potential, threshold):
    train = mixed(5)
    measure, _ = fitted(potential, train, threshold=threshold)
    values = measure.measure(potential, train).values
    assert getattr(np, threshold)(values) == pytest.approx(1)
    assert measure.measure(potential, water(3, stdev=0.4)).values.min() > 1


@pytest.mark.parametrize("quantity", ["energy", "forces", "both"])
def test_the_informativeness_of_few_labels_has_no_upper_limit(quantity):
    potential, train = build("gmnn of standard layers"), water(3, stdev=0.02)
    bare, _ = fitted(potential, train, quantity=quantity, threshold=None)
    measure = OED(quantity=quantity)
    pool = Configurations.concatenate([water(2, 5, stdev=s) for s in (0.02, 0.1, 0.3)])
    gains, found = (m.measure(potential, pool) for m in (bare, measure))
    np.testing.assert_array_equal(np.argsort(found.values), np.argsort(gains.values))
    assert found.values.max() > 100
    limit = np.median(bare.measure(potential, train).values)
    np.testing.assert_array_equal(found.values > 1, gains.values > limit)


def test_the_informativeness_of_energies_is_the_ratio_of_variances():
    potential, train, pool = build(), mixed(3), mixed(2, seed=1)
    measure, _ = fitted(potential, train, ridge=1e-5)
    design = Design.stored(potential, "energy")
    limit = np.median(design.variances(potential, train))
    expected = design.variances(potential, pool) / limit
    np.testing.assert_allclose(measure.measure(potential, pool).values, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["select", "break_"])
def test_a_guard_refuses_what_a_bare_gain_never_exceeds(name):
    bare = {"name": "oed", "threshold": None}
    Guard(bare, **{name: 0.99})
    Guard({**bare, "quantity": "both", "beta": 1.5}, **{name: 2.4})
    Guard({"name": "oed"}, **{name: 50.0})
    with pytest.raises(ValueError, match="below 1, which this uncertainty never exceeds, got 3"):
        Guard(bare, **{name: 3.0})


@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_the_strange_atom_is_named(quantity):
    potential = build()
    measure, _ = fitted(potential, water(40, 0, "CH3CH2OH", 0.02), quantity=quantity)
    strange = water(1, 7, "CH3CH2OH", 0.02)
    positions = strange.positions.copy()
    away = positions[2] - positions[1]  # O from C
    positions[[2, 3]] += 0.4 * away / np.linalg.norm(away)
    found = measure.measure(potential, replace(strange, positions=positions))
    before = measure.measure(potential, strange)
    assert found.values[0] > 3 * before.values[0]
    assert set(np.argsort(found.per_atom)[-3:]) & {1, 2, 3}


def test_the_information_travels_with_the_weights():
    potential = build()
    measure, _ = fitted(potential, mixed(), quantity="both")
    again = Checkpoint.from_bytes(Checkpoint(potential).to_bytes()).potential
    pool = mixed(2, seed=3)
    one, other = (measure.measure(p, pool) for p in (potential, again))
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.per_atom, other.per_atom)


def test_other_weights_are_noticed():
    potential = build()
    measure, _ = fitted(potential, mixed())
    with torch.no_grad():
        next(potential.parameters()).mul_(1.1)
    with pytest.raises(ValueError, match="of other weights"):
        measure.measure(potential, mixed())


def test_a_potential_without_information_is_told_so():
    with pytest.raises(ValueError, match="carries no information matrix of the quantity 'energy'"):
        OED().measure(build(), water(1))


def test_a_model_without_a_last_layer_is_told_so():
    morse = ModelOptions.parse({"architecture": "morse"}).build(["H", "O"], 0)
    with pytest.raises(ValueError, match=r"'morse' has no last layer.*'bpnn'"):
        Design.of(morse, water(2))


def test_no_training_set_no_information():
    with pytest.raises(ValueError, match="that of a training set, and this is empty"):
        Design.of(build(), Configurations.empty())


@pytest.mark.parametrize("name", ["last_layer_energy", "last_layer_force"])
def test_deviations_are_the_errors_of_the_training_set_on_average(name):
    potential, train = build(), mixed(6)
    rng = np.random.default_rng(0)
    said = potential.predict(train)
    errors = 0.3 * rng.normal(size=len(train)), 0.2 * rng.normal(size=said.forces.shape)
    train = train.with_labels(said.energies + errors[0], said.forces + errors[1])
    measure = plugins.make("uncertainties", {"name": name})
    found = measure.fitted(potential, train)
    potential.extras = dict(found.extras)
    assert type(measure).is_carried_by(potential)
    assert not OED.is_carried_by(potential)
    values = measure.measure(potential, train)
    if name == "last_layer_energy":
        ratios = errors[0] / train.counts / values.values
    else:
        design = Design.stored(potential, "forces")
        u = design.variances(potential, train)
        ratios = errors[1] / np.sqrt(design.loss * u)
        np.testing.assert_allclose(values.per_atom, np.sqrt(design.loss * u.sum(1)))
    assert np.mean(ratios**2) == pytest.approx(1)


def test_a_deviation_needs_labels():
    potential = build()
    measure = plugins.make("uncertainties", {"name": "last_layer_energy"})
    potential.extras = dict(measure.fitted(potential, mixed()).extras)
    with pytest.raises(ValueError, match="had no labels"):
        measure.measure(potential, mixed())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_derivatives_whose_squares_are_not_finite_are_told(value):
    rows = np.ones((3, 2))
    rows[1, 0] = value
    with pytest.raises(ValueError, match="derivatives by the last layer, and their squares"):
        Information.of(rows)


def test_gain_is_between_0_and_1():
    np.testing.assert_array_equal(gain(np.array([0.0, 1.0, np.inf])[:2]), [0, 0.5])


def test_a_guard_goes_by_the_information_that_a_potential_carries():
    potential = build("bpnn on a prior")
    measure, _ = fitted(potential, water(8, stdev=0.03))
    start = water(1, seed=4, stdev=0.15)
    free = Relax(max_steps=3, guard=Guard(select=1e-9, max_force=None)).run(potential, start)
    found = free.trajectory.info["uncertainty"]
    np.testing.assert_allclose(found, measure.measure(potential, free.trajectory).values)
    assert "uncertainties" in free.trajectory.arrays
    guarded = Relax(max_steps=3, guard=Guard(break_=float(found[0]) / 2, max_force=None))
    assert guarded.run(potential, start).runs[0].reason == "uncertain"
