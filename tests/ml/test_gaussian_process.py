import itertools

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from aiida_mlal.ml.gaussian_process import Hyperparameters, Observations, Posterior, covariance

N_FEATURES, N_ELEMENTS = 4, 2


def observations(seed, n_atoms, n_slopes, sums=1):
    rng = np.random.default_rng(seed)
    return Observations(
        torch.from_numpy(rng.normal(size=(n_atoms, N_FEATURES))),
        torch.from_numpy(rng.integers(N_ELEMENTS, size=n_atoms)),
        sums,
        torch.from_numpy(rng.normal(size=(n_slopes, n_atoms, N_FEATURES))),
    )


STRUCTURES = {
    "energy and slopes": lambda: observations(0, 3, 5),
    "slopes alone": lambda: observations(1, 4, 2, sums=0),
    "energy alone": lambda: observations(2, 2, 0),
    "one atom": lambda: observations(3, 1, 3),
}


def by_definition(one, other):
    """Differentiate the sum of covariances of environments along the directions of both."""

    def total(s, t, r, q):
        x = one.features if r is None else one.features + s * one.slopes[r]
        y = other.features if q is None else other.features + t * other.slopes[q]
        k = torch.exp(-(x[:, None] - y).square().sum(-1) / 2)
        return (k * (one.species[:, None] == other.species)).sum()

    rows = [None] * one.sums + list(range(len(one.slopes)))
    columns = [None] * other.sums + list(range(len(other.slopes)))
    found, zero = torch.zeros(len(rows), len(columns)), torch.zeros((), dtype=torch.float64)
    found = found.double()
    for (a, r), (b, q) in itertools.product(enumerate(rows), enumerate(columns)):

        def function(s, t, r=r, q=q):
            return total(s, t, r, q)

        if q is not None:
            function = torch.func.jacrev(function, 1)
        if r is not None:
            function = torch.func.jacrev(function, 0)
        found[a, b] = function(zero, zero)
    return found


def posterior(lengths=None, variance=1.7):
    observed = [make() for make in STRUCTURES.values()]
    generator = torch.Generator().manual_seed(0)
    n = sum(map(len, observed))
    values = torch.randn(n, generator=generator, dtype=torch.float64)
    if lengths is None:
        lengths = 1 + torch.rand(N_ELEMENTS, N_FEATURES, generator=generator, dtype=torch.float64)
    prior = Hyperparameters(lengths, torch.as_tensor(variance, dtype=torch.float64), 3.0)
    return Posterior(observed, values, torch.full_like(values, 0.1), prior)


@pytest.mark.parametrize("one", STRUCTURES)
@pytest.mark.parametrize("other", STRUCTURES)
def test_covariances_are_derivatives_of_the_covariance_of_energies(one, other):
    one, other = STRUCTURES[one](), STRUCTURES[other]()
    torch.testing.assert_close(covariance(one, other), by_definition(one, other))
    torch.testing.assert_close(covariance(one, other), covariance(other, one).T)


def test_the_slope_of_the_likelihood_is_that_of_finite_differences():
    lengths, step = posterior().prior.lengths, 1e-5
    by_lengths, by_variance = posterior().gradient()
    for place in itertools.product(range(N_ELEMENTS), range(N_FEATURES)):
        change = torch.zeros_like(lengths)
        change[place] = step
        rise = posterior(lengths + change).loss - posterior(lengths - change).loss
        assert rise / (2 * step) == pytest.approx(float(by_lengths[place]), rel=1e-5, abs=1e-6)
    rise = posterior(variance=1.7 + step).loss - posterior(variance=1.7 - step).loss
    assert rise / (2 * step) == pytest.approx(float(by_variance), rel=1e-5)


def test_agrees_with_another_code_on_atoms_whose_energies_are_known():
    """Atoms of one element and no derivatives: what scikit-learn knows as well."""
    rng = np.random.default_rng(0)
    known, asked, energies = rng.normal(size=(9, 3)), rng.normal(size=(5, 3)), rng.normal(size=9)
    lengths, variance, noise = [0.8, 1.5, 2.5], 2.3, 0.2
    kernel = ConstantKernel(variance, "fixed") * RBF(lengths, "fixed")
    theirs = GaussianProcessRegressor(kernel, alpha=noise**2, optimizer=None).fit(known, energies)

    def atoms(features):
        species = torch.zeros(1, dtype=torch.long)
        none = torch.zeros(0, 1, 3, dtype=torch.float64)
        return [Observations(torch.from_numpy(x[None]), species, 1, none) for x in features]

    scales = torch.tensor([lengths], dtype=torch.float64)
    prior = Hyperparameters(scales, torch.tensor(variance, dtype=torch.float64), 0.0)
    values = torch.from_numpy(energies)
    ours = Posterior(atoms(known), values, torch.full_like(values, noise), prior)
    likelihood = theirs.log_marginal_likelihood() + len(known) / 2 * np.log(2 * np.pi)
    assert ours.loss == pytest.approx(-likelihood, rel=1e-8)
    mean, std = theirs.predict(asked, return_std=True)
    for atom, expected, sigma in zip(atoms(asked), mean, std, strict=True):
        k = torch.cat([covariance(atom.scaled(scales), one) for one in ours.observed], dim=1)
        assert float(variance * k @ ours.weights) == pytest.approx(expected, rel=1e-6)
        assert float(ours.covariance(atom)) == pytest.approx(sigma**2, rel=1e-6)


def test_nothing_is_uncertain_where_it_was_observed_without_noise():
    now = posterior()
    exact = Posterior(
        [make() for make in STRUCTURES.values()], now.values, 0 * now.values, now.prior
    )
    for make in STRUCTURES.values():
        assert float(exact.covariance(make()).diagonal().abs().max()) < 1e-6


def test_far_away_it_knows_as_little_as_before():
    far = observations(5, 2, 3)
    far = Observations(far.features + 100, far.species, 1, far.slopes)
    now = posterior()
    n = torch.bincount(far.species, minlength=N_ELEMENTS)
    mine = far.scaled(now.prior.lengths)
    expected = now.prior.variance * covariance(mine, mine)
    said = now.covariance(far)
    torch.testing.assert_close(said[1:, 1:], expected[1:, 1:])
    assert float(said[0, 0]) >= float(expected[0, 0])
    assert n.sum() == 2
