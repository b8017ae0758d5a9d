import numpy as np
import pytest

from aiida_mlal.ml.simulation.blocks import Blocks


def noise(n, memory, seed):
    """Return a series of variance 1 whose values are correlated by powers of ``memory``."""
    rng = np.random.default_rng(seed)
    values = np.zeros(n)
    values[0] = rng.normal()
    for i, kick in enumerate(rng.normal(size=n - 1) * np.sqrt(1 - memory**2), start=1):
        values[i] = memory * values[i - 1] + kick
    return values


def blocks_of(*series):
    blocks = Blocks(len(series))
    for values in zip(*series):
        blocks.add(np.array(values))
    return blocks


@pytest.mark.parametrize("n", [0, 1, 7, 127, 128, 129, 1000, 12345])
def test_means_of_all_samples_are_those_of_numpy(n):
    values = noise(max(n, 1), 0.5, n)[:n]
    blocks = blocks_of(values, values**2)
    expected = [values.mean(), (values**2).mean()] if n else [np.nan] * 2
    np.testing.assert_allclose(blocks.means(), expected, rtol=1e-9)
    assert blocks.n_samples == n


def test_errors_know_of_correlations():
    """Of the mean of n values the variance is (1 + memory) / (1 - memory) / n."""
    memory, n = 0.95, 20000
    known = np.sqrt((1 + memory) / (1 - memory) / n)
    found = [blocks_of(noise(n, memory, seed)).errors()[0] for seed in range(10)]
    assert 1 / np.sqrt(n) < 0.2 * known  # what independent values would have
    assert np.median(found) == pytest.approx(known, rel=0.35)
    assert 0.6 * known < min(found)


def test_few_samples_have_no_error():
    assert np.isnan(blocks_of(noise(7, 0.0, 0)).errors()).all()
    assert np.isfinite(blocks_of(noise(8, 0.0, 0)).errors()).all()


def test_what_relaxes_at_the_beginning_is_found():
    times = np.arange(10000)
    for seed in range(5):
        values = noise(len(times), 0.8, seed) + 20 * np.exp(-times / 500)
        blocks = blocks_of(np.ones(len(times)), values)
        first, sure = blocks.stationary()
        assert sure
        assert 1000 < first < 5000
        assert abs(blocks.means()[1]) > 0.9
        assert abs(blocks.means(first)[1]) < 4 * blocks.errors(first)[1]


def test_the_rule_is_that_of_white():
    values = noise(100, 0.3, 1) + 5 * np.exp(-np.arange(100) / 10)
    statistic = [((v := values[i:]) - v.mean()).var() / len(v) for i in range(51)]
    assert blocks_of(values).stationary() == (int(np.argmin(statistic)), True)


def test_what_drifts_is_not_stationary():
    values = noise(5000, 0.8, 0) + np.linspace(0, 30, 5000)
    first, sure = blocks_of(values).stationary()
    assert not sure
    assert first >= 2400


def test_values_that_are_unknown_are_not_looked_at():
    values = noise(1000, 0.5, 0)
    blocks = blocks_of(np.full(1000, np.nan), values)
    assert blocks.stationary() == blocks_of(values).stationary()
    assert np.isnan(blocks.means()[0])
    assert np.isnan(blocks.errors()[0])


def test_it_goes_on_from_what_it_remembers():
    values = noise(1000, 0.5, 0)
    whole, begun, rest = blocks_of(values), blocks_of(values[:333]), Blocks(1)
    rest.recall(begun.remember())
    for value in values[333:]:
        rest.add(np.array([value]))
    assert rest.stationary() == whole.stationary()
    np.testing.assert_array_equal(rest.means(), whole.means())
    np.testing.assert_array_equal(rest.errors(), whole.errors())
