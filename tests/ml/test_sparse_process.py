"""A Gaussian process by the energies of some environments."""

import itertools

import pytest
import torch
from random_observations import N_ELEMENTS, N_FEATURES, observations

from aiida_mlal.ml.gaussian_process import Hyperparameters, Observations, Posterior, covariance
from aiida_mlal.ml.sparse_process import Inducing, SparseConditioned, SparsePosterior

NOISE = 0.1


def prior():
    generator = torch.Generator().manual_seed(0)
    lengths = 1 + torch.rand(N_ELEMENTS, N_FEATURES, generator=generator, dtype=torch.float64)
    return Hyperparameters(lengths, torch.tensor(1.7, dtype=torch.float64), 3.0)


def measured(structures, shared=0.0):
    """Return values of observations, noise, and what they share."""
    generator = torch.Generator().manual_seed(1)
    n = sum(map(len, structures))
    values = torch.randn(n, generator=generator, dtype=torch.float64)
    return values, torch.full_like(values, NOISE), shared * values


def environments(structures):
    features = torch.cat([one.features for one in structures])
    species = torch.cat([one.species for one in structures])
    return Inducing.of(features, species, prior().lengths)


def as_observations(inducing):
    """Return each inducing environment as an atom whose energy is observed."""
    flat = torch.zeros(1, 1, N_FEATURES, dtype=torch.float64)
    energy = torch.ones(1, dtype=torch.float64)
    return [Observations(x[None], element[None], energy, flat) for x, element in zip(*inducing)]


KNOWN = [observations(0), observations(1, 3, 0), observations(2, 5, 4, 0), observations(3, 1, 3)]


def test_covariances_are_those_of_atoms_whose_energies_are_observed():
    inducing = environments(KNOWN)
    for one in KNOWN:
        mine = one.scaled(prior().lengths)
        expected = torch.cat([covariance(atom, mine) for atom in as_observations(inducing)])
        torch.testing.assert_close(inducing.beside(mine), expected)
    by_pairs = [
        covariance(*pair) for pair in itertools.product(as_observations(inducing), repeat=2)
    ]
    n = len(by_pairs) ** 0.5
    torch.testing.assert_close(inducing.covariance, torch.cat(by_pairs).reshape(int(n), -1))


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_is_the_exact_process_where_energies_of_all_environments_were_observed(shared):
    """Nothing is projected then; structures of one atom each, whose energy is a label."""
    structures = [observations(seed, 1, 0) for seed in range(8)]
    labels = measured(structures, shared)
    exact = Posterior(structures, *labels, prior())
    ours = SparsePosterior(environments(structures), [(structures, *labels)], prior())
    query = observations(9)
    torch.testing.assert_close(ours.variances(query), exact.variances(query), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        ours.covariance(query), exact.covariance(query), rtol=1e-6, atol=1e-8
    )
    mine = query.scaled(prior().lengths)
    torch.testing.assert_close(
        ours.known(mine).T @ ours.weights, exact.known(mine).T @ exact.weights, rtol=1e-6, atol=1e-8
    )
    for one, other in zip(ours.foretold(), exact.foretold(), strict=True):
        for name in ("precision", "pull", "heights"):
            theirs = getattr(other, name)
            torch.testing.assert_close(getattr(one, name), theirs, rtol=1e-6, atol=1e-7)
        assert one.unexplained.abs().max() < 1e-8


def dense(inducing, labels, structures, query):
    """Return mean and covariance by the matrices of all observations, as the definition is."""
    hyper = prior()
    atoms = as_observations(inducing)
    every = [one.scaled(hyper.lengths) for one in structures]
    mine = query.scaled(hyper.lengths)
    constants = torch.eye(N_ELEMENTS).double() * hyper.offset

    def with_inducing(one):
        energies = torch.cat([hyper.variance * covariance(atom, one) for atom in atoms])
        return torch.cat([energies, hyper.offset * one.composition(N_ELEMENTS).T])

    alone = torch.block_diag(hyper.variance * inducing.covariance, constants)
    inverse = torch.linalg.inv(alone + 1e-10 * hyper.variance * torch.eye(len(alone)))
    to_known = torch.cat([with_inducing(one) for one in every], 1)
    to_query = with_inducing(mine)
    values, noise, shared = labels
    explained = to_known.T @ inverse @ to_known
    whole = explained + torch.diag(noise**2) + shared[:, None] * shared
    between = to_query.T @ inverse @ to_known
    gain = between @ torch.linalg.inv(whole)
    counts = mine.composition(N_ELEMENTS)
    before = hyper.variance * covariance(mine, mine) + hyper.offset * counts @ counts.T
    return gain @ values, before - gain @ between.T, explained, whole


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_is_the_posterior_of_a_prior_of_lower_rank(shared):
    inducing = environments(KNOWN[:2])
    labels, query = measured(KNOWN, shared), observations(9)
    sizes = [len(one) for one in KNOWN]
    parts = zip(KNOWN, *(part.split(sizes) for part in labels))
    ours = SparsePosterior(inducing, [([one], *rest) for one, *rest in parts], prior())
    mean, spread, explained, whole = dense(inducing, labels, KNOWN, query)
    mine = query.scaled(prior().lengths)
    torch.testing.assert_close(ours.known(mine).T @ ours.weights, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.covariance(query), spread, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.variances(query), spread.diagonal(), rtol=1e-5, atol=1e-6)
    read = SparseConditioned(inducing, prior(), ours.factor)
    torch.testing.assert_close(read.variances(query), ours.variances(query), rtol=0, atol=0)
    inverse, start = torch.linalg.inv(whole), 0
    assert (ours.n_structures, ours.n_labels) == (len(KNOWN), sum(sizes))
    for one, told in zip(KNOWN, ours.foretold(), strict=True):
        mine = slice(start, start := start + len(one))
        torch.testing.assert_close(told.precision, inverse[mine, mine], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(told.pull, (inverse @ labels[0])[mine], rtol=1e-5, atol=1e-5)
        scaled = one.scaled(prior().lengths)
        counts = scaled.composition(N_ELEMENTS)
        before = prior().variance * covariance(scaled, scaled) + prior().offset * counts @ counts.T
        left = (before - explained[mine, mine]).diagonal()
        torch.testing.assert_close(told.unexplained, left, rtol=1e-4, atol=1e-6)


def test_the_mean_is_that_of_known_environments():
    inducing = environments(KNOWN)
    ours = SparsePosterior(inducing, [(KNOWN, *measured(KNOWN))], prior())
    mean, x = ours.mean, observations(5, 6)
    for features, element in zip(x.features, x.species):
        scaled = features / prior().lengths[element]
        theirs = mean.environments / prior().lengths[mean.species]
        k = torch.exp(-(theirs - scaled).square().sum(1) / 2) * (mean.species == element)
        by_mean = mean.constants[element] + prior().variance * k @ mean.heights
        flat = torch.zeros(1, 1, N_FEATURES, dtype=torch.float64)
        atom = Observations(features[None], element[None], torch.ones(1).double(), flat)
        by_weights = ours.known(atom.scaled(prior().lengths)).T @ ours.weights
        torch.testing.assert_close(by_mean[None], by_weights)
    assert not mean.slopes.any()


def test_environments_are_chosen_by_what_the_others_do_not_tell():
    """Each time it is that of the largest variance given those before, by the definition."""
    every = environments(KNOWN)
    chosen = every.most_different(5)
    whole, left = every.covariance, torch.arange(len(every.species)).tolist()
    taken = []
    for features, species in zip(*chosen):
        inverse = torch.linalg.inv(whole[taken][:, taken])
        variances = 1 - torch.einsum("ij,jk,ik->i", whole[:, taken], inverse, whole[:, taken])
        (place,) = [k for k in left if torch.equal(every.features[k], features)]
        assert every.species[place] == species
        assert variances[place] == pytest.approx(float(variances.max()), abs=1e-12)
        taken.append(place)


def test_environments_that_are_there_twice_are_chosen_once():
    every = environments(KNOWN)
    twice = Inducing(every.features.repeat(2, 1), every.species.repeat(2))
    assert len(twice.most_different(100).species) == len(every.species)


def test_a_factor_that_is_extended_is_that_of_all():
    inducing, labels = environments(KNOWN), measured(KNOWN, 0.3)
    n = sum(map(len, KNOWN[:2]))
    known = SparsePosterior(inducing, [(KNOWN[:2], *(part[:n] for part in labels))], prior())
    factor = known.extended(KNOWN[2:], *(part[n:] for part in labels[1:]))
    whole = SparsePosterior(inducing, [(KNOWN, *labels)], prior())
    torch.testing.assert_close(factor, whole.factor, rtol=1e-8, atol=1e-8)
