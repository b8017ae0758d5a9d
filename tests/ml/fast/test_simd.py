import numpy as np
import pytest
from numba import njit

from aiida_mlal.ml.fast.simd import W, any_below, load, splat, store, vexp, vlog, vmin, vsum, vsums


@njit(fastmath=True)
def exponentials(x, y):
    for k in range(0, x.size, W):
        store(y, k, vexp(load(x, k)))


@njit(fastmath=True)
def logarithms(x, y):
    for k in range(0, x.size, W):
        store(y, k, vlog(load(x, k)))


@njit
def smaller(x, number, y):
    store(y, 0, vmin(load(x, 0), number))


@njit
def below(x, number):
    return any_below(load(x, 0), number)


@njit
def all_sums(x, y):
    a, b, c, d = load(x, 0), load(x, W), load(x, 2 * W), load(x, 3 * W)
    e, f, g, h = load(x, 4 * W), load(x, 5 * W), load(x, 6 * W), load(x, 7 * W)
    store(y, 0, vsums(a, b, c, d, e, f, g, h))
    return vsum(a * 2.0 + splat(1.0))


def test_exponentials_are_those_of_the_library():
    x = np.concatenate([np.linspace(-708, 709, 40000), np.linspace(-2, 2, 4000), np.zeros(W)])
    y = np.empty_like(x)
    exponentials(x, y)
    np.testing.assert_allclose(y, np.exp(x), rtol=5e-16)


def test_exponentials_stay_finite():
    x, y = np.linspace(-1e6, 1e6, W), np.empty(W)
    exponentials(x, y)
    assert np.isfinite(y).all()
    assert y[0] < 1e-300


def test_logarithms_are_those_of_the_library():
    near = np.concatenate([np.linspace(0.5, 2, 40000), 1 + np.array([0, 1, -1, 2]) * 2.0**-52])
    x = np.concatenate([near, np.logspace(-300, 300, 4004)])
    y = np.empty_like(x)
    logarithms(x, y)
    np.testing.assert_allclose(y, np.log(x), rtol=1e-15, atol=3e-16)


def test_sums_of_eight_vectors():
    x, y = np.random.default_rng(0).normal(size=(W, W)), np.empty(W)
    assert all_sums(x.ravel(), y) == pytest.approx(2 * x[0].sum() + W)
    np.testing.assert_allclose(y, x.sum(axis=1), rtol=1e-12)


def test_comparisons():
    x, y = np.arange(float(W)), np.empty(W)
    smaller(x, 2.5, y)
    assert y.tolist() == np.minimum(x, 2.5).tolist()
    assert below(x, 0.5)
    assert not below(x, 0.0)
