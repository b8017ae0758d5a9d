import json

import numpy as np
import pytest
from scipy.stats import norm

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.uncertainty.base import Uncertainties
from aiida_mlal.ml.uncertainty.calibration import (
    LEVELS,
    Pairs,
    coverage,
    factor,
    miscalibration_area,
    negative_log_likelihood,
    pairs_of,
    report,
)


def drawn(n, seed=0, scale=2.0, components=1, noise=0.0):
    """Normally distributed errors whose deviations are ``scale`` times the uncertainties."""
    rng = np.random.default_rng(seed)
    u = np.exp(rng.normal(size=n))
    errors = scale * u[:, None] * np.exp(noise * rng.normal(size=(n, 1)))
    errors = errors * rng.normal(size=(n, components))
    return Pairs(np.sqrt((errors**2).mean(axis=1)), u, np.arange(n), "eV", components)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("n", [9, 30, 100])
def test_conformal_coverage_is_as_promised(level, n):
    """For exchangeable data it is between the level and the level + 1 / (n + 1), on average."""
    hits, trials, new = 0, 2000, 10
    for trial in range(trials):
        pairs = drawn(n + new, trial, noise=1.0)
        among = np.arange(n + new) < n
        scale = factor(pairs.take(among), "conformal", level)
        other = pairs.take(~among)
        hits += int((other.errors <= scale * other.uncertainties).sum())
    found, spread = (
        hits / trials / new,
        3 * np.sqrt(level * (1 - level) / trials * (1 / new + 1 / n)),
    )
    assert level - spread <= found <= level + 1 / (n + 1) + spread


def test_the_conformal_factor_is_a_ratio_of_the_data():
    pairs = Pairs(np.arange(1.0, 10.0), np.ones(9), np.arange(9), "eV")
    assert factor(pairs, "conformal", 0.5) == 5
    assert factor(pairs, "conformal", 0.9) == 9
    assert factor(pairs, "conformal", 0.99) == 9  # too few for that


@pytest.mark.parametrize("components", [1, 3])
def test_the_gaussian_factor_is_that_of_the_deviations(components):
    pairs = drawn(40_000, components=components)
    assert factor(pairs, "gaussian") == pytest.approx(2.0, rel=0.02)
    np.testing.assert_allclose(coverage(pairs, 2.0), LEVELS, atol=0.01)
    assert miscalibration_area(pairs, 2.0) < 0.005
    assert miscalibration_area(pairs, 0.5) > 0.2


def test_the_log_factor_forgives_an_outlier():
    pairs = Pairs(np.array([1.0, 2.0, 4.0, 1e4]), np.ones(4), np.arange(4), "eV")
    assert factor(pairs, "log") == pytest.approx((8e4) ** 0.25)
    assert factor(pairs, "gaussian") > 4000


def test_the_likelihood_is_that_of_normal_errors_and_best_at_the_true_scale():
    pairs = drawn(50)
    expected = -norm.logpdf(pairs.errors, scale=1.5 * pairs.uncertainties).mean()
    assert negative_log_likelihood(pairs, 1.5) == pytest.approx(expected)
    many = drawn(20_000)
    scales = [negative_log_likelihood(many, s) for s in (1.8, 2.0, 2.2)]
    assert min(scales) == scales[1]


def test_a_report_is_json_and_about_structures_it_did_not_learn_from():
    record = json.loads(json.dumps(report(drawn(4000, noise=0.2), level=0.9)))
    assert record["n"] == 4000
    assert record["factors"]["gaussian"] == pytest.approx(2.0, rel=0.1)
    assert record["conformal_coverage"] == pytest.approx(0.9, abs=0.02)
    assert record["miscalibration_area"] < record["uncalibrated"]["miscalibration_area"]
    assert record["nll"] < record["uncalibrated"]["nll"]
    assert record["spearman"] > 0.3
    assert record == report(drawn(4000, noise=0.2), level=0.9)


def test_atoms_of_a_structure_stay_together():
    pairs = drawn(30)
    pairs = Pairs(pairs.errors, pairs.uncertainties, np.repeat(np.arange(10), 3), "eV")
    one, other = pairs.halves(0)
    assert not set(one.groups) & set(other.groups)
    assert len(one.errors) == len(other.errors) == 15


def test_errors_go_with_what_is_in_their_unit():
    labelled = Configurations.from_geometry(
        [1, 1, 8], np.arange(9.0).reshape(3, 3), [2, 1], np.zeros((2, 3, 3)), np.zeros((2, 3)),
        energies=[1.0, 2.0], forces=np.zeros((3, 3)),
    )  # fmt: skip
    predicted = labelled.with_labels(np.array([1.5, 2.1]), np.full((3, 3), 0.2))
    values, per_atom = np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])
    found = {
        unit: pairs_of(Uncertainties("kind", unit, values, per_atom), labelled, predicted)
        for unit in ("eV/Å", "1")
    }
    found["eV/atom"] = pairs_of(Uncertainties("kind", "eV/atom", values), labelled, predicted)
    assert {unit: set(pairs) for unit, pairs in found.items()} == {
        "eV/Å": {"forces"}, "1": {"energy", "forces"}, "eV/atom": {"energy"},
    }  # fmt: skip
    np.testing.assert_allclose(found["eV/atom"]["energy"].errors, [0.25, 0.1])
    np.testing.assert_allclose(found["1"]["energy"].errors, [0.5, 0.1])
    forces = found["eV/Å"]["forces"]
    np.testing.assert_allclose(forces.errors, 0.2)
    np.testing.assert_allclose(forces.uncertainties, per_atom / np.sqrt(3))
    squared = Uncertainties("kind", "1", values, per_atom)
    np.testing.assert_allclose(
        pairs_of(squared, labelled, predicted, True)["energy"].uncertainties, np.sqrt(values)
    )


def test_what_is_not_known_is_left_out():
    pairs = Pairs(np.array([1.0, np.nan, 1.0]), np.array([1.0, 1.0, 0.0]), np.arange(3), "eV")
    assert len(pairs.known.errors) == 1
    assert report(pairs)["factors"] is None
    with pytest.raises(ValueError, match="no error is known"):
        factor(pairs.take(np.array([False, True, True])))


def test_bad_input_is_explained():
    pairs = drawn(5)
    with pytest.raises(ValueError, match="unknown method 'magic', choose from"):
        factor(pairs, "magic")
    with pytest.raises(ValueError, match="level between 0 and 1, got 1"):
        factor(pairs, level=1)
    with pytest.raises(ValueError, match="3 errors, 2 uncertainties"):
        Pairs(np.ones(3), np.ones(2), np.ones(3, int), "eV")
