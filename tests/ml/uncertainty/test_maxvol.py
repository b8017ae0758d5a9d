import numpy as np
import pytest

from aiida_mlal.ml.uncertainty import maxvol as module
from aiida_mlal.ml.uncertainty.maxvol import Volume, maxvol


def rows_of(n, m, rank=None, seed=0):
    rng = np.random.default_rng(seed)
    rank = rank or m
    mixing = rng.normal(size=(rank, m)) * np.logspace(0, -2, rank)[:, None]
    return rng.normal(size=(n, rank)) @ mixing


def slow_maxvol(rows, threshold, start):
    """Follow the definition: invert the matrix at every step, swap at the largest number."""
    a, b = start * np.eye(rows.shape[1]), rows.copy()
    owners, names = np.full(len(a), -1), np.arange(len(b))
    while True:
        c = b @ np.linalg.inv(a)
        i, j = np.unravel_index(abs(c).argmax(), c.shape)
        if abs(c[i, j]) <= threshold:
            return owners
        a[j], b[i] = b[i].copy(), a[j].copy()
        owners[j], names[i] = names[i], owners[j]


@pytest.mark.parametrize(("n", "m"), [(60, 12), (12, 12), (5, 12)])
def test_agrees_with_the_definition(n, m):
    rows = rows_of(n, m)
    found = maxvol(Volume.start(m), rows, np.arange(n), 1.001)
    assert found.owners.tolist() == slow_maxvol(rows, 1.001, 1e-5).tolist()
    assert found.rank == min(n, m)


@pytest.mark.parametrize("exact", [True, False])
def test_no_candidate_has_a_grade_above_the_threshold(exact):
    rows = rows_of(3000, 40)
    found = maxvol(Volume.start(40), rows, np.arange(3000), 1.05, exact=exact)
    assert found.rank == 40
    assert abs(rows @ found.inverse).max() <= 1.05 + 1e-9
    assert abs(found.matrix @ found.inverse - np.eye(40)).max() < 1e-9
    np.testing.assert_array_equal(found.matrix, rows[found.owners])


def test_both_ways_find_about_the_same_volume():
    rows = rows_of(3000, 40)
    volumes = [
        maxvol(Volume.start(40), rows, np.arange(3000), exact=exact).log_volume()
        for exact in (True, False)
    ]
    assert volumes[0] == pytest.approx(volumes[1], abs=2)
    drawn = np.random.default_rng(0).choice(3000, 40, replace=False)
    assert min(volumes) > np.linalg.slogdet(rows[drawn])[1] + 10


@pytest.mark.parametrize("exact", [True, False])
def test_the_volume_never_shrinks(exact):
    rows = rows_of(400, 15)
    volume, sizes = Volume.start(15), [-np.inf]
    for swaps in range(1, 40):
        volume = maxvol(Volume.start(15), rows, np.arange(400), limit=swaps, exact=exact)
        sizes.append(volume.log_volume())
        assert volume.swaps <= swaps or not exact
    assert (np.diff(sizes) >= -1e-9).all()


@pytest.mark.parametrize("exact", [True, False])
def test_directions_that_no_row_has_keep_the_start(exact):
    rows = rows_of(500, 20, rank=13)
    found = maxvol(Volume.start(20), rows, np.arange(500), exact=exact)
    assert found.rank == 13
    assert (np.count_nonzero(found.matrix[found.owners < 0], axis=1) == 1).all()
    inside = found.coordinates(rows_of(500, 20, rank=13))
    assert (inside[:, found.owners < 0] == 0).all()
    assert abs(found.coordinates(np.eye(20)[:1]))[:, found.owners < 0].max() > 1


def test_goes_on_where_it_stopped():
    rows = rows_of(300, 10)
    names = np.arange(300)
    half = maxvol(Volume.start(10), rows[:150], names[:150])
    whole = maxvol(half, rows[150:], names[150:])
    assert whole.log_volume() >= half.log_volume()
    assert maxvol(whole, whole.matrix, whole.owners).swaps == whole.swaps
    assert set(whole.owners) <= set(names)


def test_order_matters_no_more_than_the_threshold():
    rows = rows_of(800, 12)
    order = np.random.default_rng(1).permutation(800)
    one = maxvol(Volume.start(12), rows, np.arange(800))
    other = maxvol(Volume.start(12), rows[order], order)
    assert set(one.owners) == set(other.owners)


def test_rows_are_left_alone():
    rows = rows_of(50, 6)
    before = rows.copy()
    for exact in (True, False):
        maxvol(Volume.start(6), rows, np.arange(50), exact=exact)
        np.testing.assert_array_equal(rows, before)


def test_duplicates_and_zeros_are_no_obstacle():
    rows = np.zeros((30, 4))
    rows[:20, 1] = 3.0
    for exact in (True, False):
        found = maxvol(Volume.start(4), rows, np.arange(30), exact=exact)
        assert found.rank == 1
        assert abs(found.coordinates(rows)).max() == pytest.approx(1.0)


def test_large_batches_go_by_blocks(monkeypatch):
    rows = rows_of(100, 5)
    monkeypatch.setattr(module, "LARGE", 100)
    by_default = maxvol(Volume.start(5), rows, np.arange(100))
    by_blocks = maxvol(Volume.start(5), rows, np.arange(100), exact=False)
    np.testing.assert_array_equal(by_default.owners, by_blocks.owners)


def test_what_cannot_be():
    start, names = Volume.start(3), np.arange(2)
    with pytest.raises(ValueError, match="above 1, got 1"):
        maxvol(start, np.zeros((2, 3)), names, 1.0)
    with pytest.raises(ValueError, match="rows of 3 numbers"):
        maxvol(start, np.zeros((2, 4)), names)
    with pytest.raises(ValueError, match="finite"):
        maxvol(start, np.full((2, 3), np.nan), names)
    assert maxvol(start, np.zeros((0, 3)), names[:0]) is start


def test_what_a_part_replaced_is_a_candidate_again():
    """Rows of before, of no candidate, still count when there are many candidates."""
    rows = rows_of(3000, 8)
    before = maxvol(Volume.start(8), rows_of(50, 8, seed=7), np.arange(50) + 10_000)
    found = maxvol(before, rows, np.arange(3000), 1.001, exact=False)
    assert abs(before.matrix @ found.inverse).max() <= 1.001 + 1e-9
    assert abs(rows @ found.inverse).max() <= 1.001 + 1e-9
