import numpy as np
import pytest

from aiida_mlal.ml.properties.spread import interval95


def test_the_interval_of_five_members_is_that_of_the_table():
    """t of 4 degrees of freedom is 2.776 in any table of Student's distribution."""
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert interval95(values) == pytest.approx(2.776 * np.sqrt(2.5) * np.sqrt(1.2), rel=1e-3)


def test_a_further_member_is_within_it_nineteen_times_of_twenty():
    draws = np.random.default_rng(0).normal(size=(20000, 6))
    inside = abs(draws[:, 5] - draws[:, :5].mean(axis=1)) < interval95(list(draws[:, :5].T))
    assert inside.mean() == pytest.approx(0.95, abs=0.006)


def test_a_single_member_has_none():
    assert np.isnan(interval95([np.eye(2)])).all()
