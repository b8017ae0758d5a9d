import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import eval_chebyt

from aiida_mlal.ml.descriptors.radial_polynomials import RadialBasis

KINDS = ("RBChebyshev", "RBChebyshev_repuls", "RBShapeev", "RBTaylor", "BChebyshev")


def basis(kind, size=6, **options):
    return RadialBasis(kind, size, min_dist=1.6, cutoff=5.0, **options)


def at(radial, *distances):
    return radial(torch.tensor(distances, dtype=torch.float64)).numpy()


def test_chebyshev_polynomials_with_an_envelope():
    r = np.array([1.2, 1.6, 3.0, 4.9])
    xi = (2 * r - 6.6) / 3.4
    expected = [0.03 * (r - 5) ** 2 * eval_chebyt(b, xi) for b in range(6)]
    assert at(basis("RBChebyshev", scaling=0.03), *r) == pytest.approx(np.transpose(expected))


def test_powers():
    assert at(basis("RBTaylor", 4), 3.0)[0] == pytest.approx([1, 3, 9, 27])


def test_the_first_function_of_shapeev():
    r, low, high = 3.0, 1.6, 5.0
    first = 21**0.5 / 2 * low**2 * (high - r) ** 2 / (r**2 * (high - low) ** 2)
    assert at(basis("RBShapeev"), r)[0, 0] == pytest.approx(first)


def test_functions_of_shapeev_are_orthogonal():
    """For the weight r^4 (r - low) (high - r)."""

    def product(r):
        values = at(basis("RBShapeev"), r)[0]
        return np.outer(values, values) * (r / 1.6) ** 4 * (r - 1.6) * (5 - r)

    entries = np.array(
        [[quad(lambda r, i=i, j=j: product(r)[i, j], 1.6, 5)[0] for j in range(i)] for i in (1, 2)],
        dtype=object,
    )
    assert np.concatenate(entries).astype(float) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("kind", ["RBChebyshev", "RBChebyshev_repuls", "RBShapeev"])
def test_nothing_at_the_cutoff(kind):
    assert at(basis(kind), 5.0) == pytest.approx(0, abs=1e-13)


def test_only_repulsive_functions_are_constant_below_the_smallest_distance():
    for kind in KINDS:
        near, least = at(basis(kind), 1.2, 1.6)
        assert np.allclose(near[1:], least[1:]) == (kind == "RBChebyshev_repuls")


def test_the_repulsion_begins_at_the_smallest_distance():
    repulsion = basis("RBChebyshev_repuls").repulsion(torch.tensor([1.5, 1.6, 2.0]))
    expected = 10000 * (np.exp(-5) - np.exp(-6))
    assert repulsion.numpy() == pytest.approx([expected, 0, 0], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind):
    r = torch.tensor([1.7, 2.5, 4.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(basis(kind, scaling=0.1), r)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"min_dist": 5.0}, {"min_dist": 0.0}, {"scaling": 0.0}]
)
def test_refuses(wrong):
    with pytest.raises(ValueError, match="expected"):
        RadialBasis(**({"min_dist": 2.0, "cutoff": 5.0} | wrong))


@pytest.mark.parametrize("kind", ["RBChebyshev", "RBShapeev", "RBTaylor", "BChebyshev"])
def test_slopes_are_the_derivatives_of_the_polynomials(kind):
    basis = RadialBasis(kind, 9, 1.9, 5.2)

    def polynomials(xi):
        found, before = [np.ones_like(xi)], np.zeros_like(xi)
        for a, b, c in basis.recurrence:
            found.append((a * xi + b) * found[-1] - c * before)
            before = found[-2]
        return np.array(found)

    xi, step = np.linspace(-1, 1, 11), 1e-5
    derivatives = (polynomials(xi + step) - polynomials(xi - step)) / (2 * step)
    scale = np.abs(derivatives).max(axis=1, keepdims=True) + 1
    found = basis.slopes @ polynomials(xi)
    np.testing.assert_allclose(found / scale, derivatives / scale, atol=1e-8)
