import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_observations import N_ELEMENTS, N_FEATURES, observations
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from aiida_mlal.ml.gaussian_process import (
    Hyperparameters,
    Observations,
    Posterior,
    cholesky,
    covariance,
)


def alike(one, seed):
    """Return other environments of the same atoms."""
    other = observations(seed, len(one.species), len(one) - 1)
    return replace(one, features=other.features, slopes=other.slopes)


STRUCTURES = {
    "energy and slopes": lambda: observations(0, 3, 5),
    "alike": lambda: alike(observations(0, 3, 5), 4),
    "alike again": lambda: alike(observations(0, 3, 5), 5),
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

    rows, columns = ([None if h else k for k, h in enumerate(o.heights)] for o in (one, other))
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


def posterior(lengths=None, variance=1.7, shared=0.0, noise=0.1):
    observed = [make() for make in STRUCTURES.values()]
    generator = torch.Generator().manual_seed(0)
    n = sum(map(len, observed))
    values = torch.randn(n, generator=generator, dtype=torch.float64)
    if lengths is None:
        lengths = 1 + torch.rand(N_ELEMENTS, N_FEATURES, generator=generator, dtype=torch.float64)
    prior = Hyperparameters(lengths, torch.as_tensor(variance, dtype=torch.float64), 3.0)
    return Posterior(observed, values, torch.full_like(values, noise), shared * values, prior)


@pytest.mark.parametrize("one", STRUCTURES)
@pytest.mark.parametrize("other", STRUCTURES)
def test_covariances_are_derivatives_of_the_covariance_of_energies(one, other):
    one, other = STRUCTURES[one](), STRUCTURES[other]()
    torch.testing.assert_close(covariance(one, other), by_definition(one, other))
    torch.testing.assert_close(covariance(one, other), covariance(other, one).T)


def test_the_slope_of_the_likelihood_is_that_of_finite_differences():
    lengths, step = posterior().prior.lengths, 1e-5
    by_lengths, by_variance, by_noise = posterior().gradient()
    for place in itertools.product(range(N_ELEMENTS), range(N_FEATURES)):
        change = torch.zeros_like(lengths)
        change[place] = step
        rise = posterior(lengths + change).loss - posterior(lengths - change).loss
        assert rise / (2 * step) == pytest.approx(float(by_lengths[place]), rel=1e-5, abs=1e-6)
    rise = posterior(variance=1.7 + step).loss - posterior(variance=1.7 - step).loss
    assert rise / (2 * step) == pytest.approx(float(by_variance), rel=1e-5)
    louder, quieter = (0.1 * np.exp(change / 2) for change in (step, -step))
    rise = posterior(noise=louder).loss - posterior(noise=quieter).loss
    assert rise / (2 * step) == pytest.approx(float(by_noise), rel=1e-5)


def test_agrees_with_another_code_on_atoms_whose_energies_are_known():
    """Atoms of one element and no derivatives: what scikit-learn knows as well."""
    rng = np.random.default_rng(0)
    known, asked, energies = rng.normal(size=(9, 3)), rng.normal(size=(5, 3)), rng.normal(size=9)
    lengths, variance, noise = [0.8, 1.5, 2.5], 2.3, 0.2
    kernel = ConstantKernel(variance, "fixed") * RBF(lengths, "fixed")
    theirs = GaussianProcessRegressor(kernel, alpha=noise**2, optimizer=None).fit(known, energies)

    def atoms(features):
        species = torch.zeros(1, dtype=torch.long)
        energy, flat = torch.ones(1).double(), torch.zeros(1, 1, 3, dtype=torch.float64)
        return [Observations(torch.from_numpy(x[None]), species, energy, flat) for x in features]

    scales = torch.tensor([lengths], dtype=torch.float64)
    prior = Hyperparameters(scales, torch.tensor(variance, dtype=torch.float64), 0.0)
    values = torch.from_numpy(energies)
    ours = Posterior(atoms(known), values, torch.full_like(values, noise), 0 * values, prior)
    likelihood = theirs.log_marginal_likelihood() + len(known) / 2 * np.log(2 * np.pi)
    assert ours.loss == pytest.approx(-likelihood, rel=1e-8)
    mean, std = theirs.predict(asked, return_std=True)
    for atom, expected, sigma in zip(atoms(asked), mean, std, strict=True):
        said = ours.known(atom.scaled(scales)).T @ ours.weights
        assert float(said) == pytest.approx(expected, rel=1e-6)
        assert float(ours.covariance(atom)) == pytest.approx(sigma**2, rel=1e-6)


def test_an_error_that_all_share_is_added_to_their_covariance():
    without, found = posterior(), posterior(shared=0.4)
    values = without.values
    dense = without.factor @ without.factor.T + 0.4**2 * values[:, None] * values
    torch.testing.assert_close(found.weights, torch.linalg.solve(dense, values))
    torch.testing.assert_close(found.factor @ found.factor.T, dense)


def test_a_matrix_singular_but_for_rounding_has_a_factor():
    """Energies of equal structures, whose constant is free, and no variance beside."""
    whole = torch.full((30, 30), 1e4, dtype=torch.float64)
    whole[7, 7] -= 1e-11
    factor = cholesky(whole.clone(), torch.tensor(1e-24, dtype=torch.float64))
    torch.testing.assert_close(factor @ factor.T, whole)


def test_blocks_of_any_size_are_the_same(monkeypatch):
    whole = posterior()
    monkeypatch.setattr("aiida_mlal.ml.gaussian_process.TOGETHER", 1)
    single = posterior()
    torch.testing.assert_close(single.unit, whole.unit)
    torch.testing.assert_close(single.gradient(), whole.gradient())
    expected = torch.cat([covariance(one, other) for one, other in scaled_pairs(whole)], dim=1)
    torch.testing.assert_close(whole.unit[:6], expected)


def scaled_pairs(now):
    observed = [make().scaled(now.prior.lengths) for make in STRUCTURES.values()]
    return [(observed[0], other) for other in observed]


@pytest.mark.parametrize("asked", STRUCTURES)
def test_variances_are_the_diagonal_of_covariances(asked):
    now, query = posterior(), STRUCTURES[asked]()
    query = replace(query, features=query.features + 0.3)
    expected = now.covariance(query).diagonal()
    torch.testing.assert_close(now.variances(query), expected, rtol=1e-10, atol=1e-12)


def test_nothing_is_uncertain_where_it_was_observed_without_noise():
    now = posterior()
    exact = Posterior(
        [make() for make in STRUCTURES.values()],
        now.values,
        0 * now.values,
        0 * now.values,
        now.prior,
    )
    for make in STRUCTURES.values():
        assert float(exact.covariance(make()).diagonal().abs().max()) < 1e-6


def test_far_away_it_knows_as_little_as_before():
    far = observations(5, 2, 3)
    far = replace(far, features=far.features + 100)
    now = posterior()
    n = torch.bincount(far.species, minlength=N_ELEMENTS)
    mine = far.scaled(now.prior.lengths)
    expected = now.prior.variance * covariance(mine, mine)
    said = now.covariance(far)
    torch.testing.assert_close(said[1:, 1:], expected[1:, 1:])
    assert float(said[0, 0]) >= float(expected[0, 0])
    assert n.sum() == 2


@pytest.mark.parametrize("shared", [0.0, 0.4])
def test_a_factor_that_is_extended_is_that_of_all(shared):
    """Without factorising what was known once more."""
    whole = posterior(shared=shared)
    structures = [make() for make in STRUCTURES.values()]
    for first in (1, 4):
        n = sum(len(one) for one in structures[:first])
        parts = whole.values, whole.noise, whole.shared
        known = Posterior(structures[:first], *(part[:n] for part in parts), whole.prior)
        factor = known.extended(structures[first:], *(part[n:] for part in parts[1:]))
        torch.testing.assert_close(factor, whole.factor, rtol=1e-6, atol=1e-8)
        assert torch.equal(factor[:n, :n], known.factor)
