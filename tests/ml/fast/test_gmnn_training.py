"""Kernels of Gaussian moments against the model in torch, whose derivatives come by autograd."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.gaussian_moments import GaussianMomentOptions, GaussianMoments
from aiida_mlal.ml.fast.gather import from_edges
from aiida_mlal.ml.fast.gaussian_moments import Gaussians, program
from aiida_mlal.ml.fast.gmnn_training import Described
from aiida_mlal.ml.graph import Graph

CUTOFF = 4.0
SIZES = {
    "small": {"n_radial": 2, "n_basis": 3},
    "full": {"n_radial": 3, "n_basis": 7, "invariants": "full"},
    "more than a vector": {"n_radial": 9, "n_basis": 10},
}


def frames():
    ethanol = molecule("CH3CH2OH")
    ethanol.rattle(0.1, seed=0)
    metal = bulk("Cu", cubic=True)
    metal.numbers[0] = 6
    metal.rattle(0.1, seed=1)
    return [ethanol, Atoms("H"), metal]


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def both(request):
    """Return the descriptor in torch, its graph and the kernels' structures."""
    torch.manual_seed(0)
    options = GaussianMomentOptions(**request.param)
    graph = Graph.of(Configurations.from_ase(frames()), CUTOFF)
    species = torch.tensor(np.unique(graph.numbers, return_inverse=True)[1])
    descriptor = GaussianMoments(4, CUTOFF, options)
    edges = from_edges(species.numpy(), graph.pairs.numpy(), graph.vectors.numpy(), 4)
    described = Described(
        edges,
        Gaussians.of(CUTOFF, descriptor.centres.numpy(), options.n_radial),
        program(options.n_radial, options.invariants),
        descriptor.coefficients.detach().numpy(),
    )
    graph.vectors.requires_grad_()
    return descriptor, graph, species, described


def filled(values, like):
    found = np.zeros_like(like)
    found[:, : len(values)] = values.detach().numpy().T
    return found


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_invariants_are_those_of_torch(both):
    descriptor, graph, species, described = both
    expected = filled(descriptor(graph, species), described.features)
    np.testing.assert_allclose(described.features, expected, rtol=1e-11, atol=1e-12)


def test_gradients_are_those_of_torch(both):
    descriptor, graph, species, described = both
    features = descriptor(graph, species)
    slopes = random(*features.shape)
    (expected,) = torch.autograd.grad(features, graph.vectors, slopes)
    found = described.gradients(filled(slopes, described.features))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_tangents_are_the_derivatives_along_a_direction(both):
    descriptor, graph, species, described = both
    along = random(*graph.vectors.shape)
    features = descriptor(graph, species)
    slopes = torch.zeros_like(features).requires_grad_()
    (gradient,) = torch.autograd.grad(features, graph.vectors, slopes, create_graph=True)
    (expected,) = torch.autograd.grad(gradient, slopes, along)
    found = described.tangents(along.numpy())
    np.testing.assert_allclose(found, filled(expected, described.features), rtol=1e-9, atol=1e-10)


def test_derivatives_by_the_coefficients_are_those_of_torch(both):
    descriptor, graph, species, described = both
    features = descriptor(graph, species)
    slopes = random(*features.shape)
    (expected,) = torch.autograd.grad(features, descriptor.coefficients, slopes)
    found = described.by_coefficients(filled(slopes, described.features))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_derivatives_along_a_direction_by_the_coefficients_are_those_of_torch(both):
    descriptor, graph, species, described = both
    features = descriptor(graph, species)
    slopes, last, along = (
        random(*features.shape),
        random(*features.shape).flip(0),
        random(*graph.vectors.shape),
    )
    (gradient,) = torch.autograd.grad(features, graph.vectors, slopes, create_graph=True)
    total = (gradient * along).sum() + (features * last).sum()
    (expected,) = torch.autograd.grad(total, descriptor.coefficients)
    described.gradients(filled(slopes, described.features))
    described.tangents(along.numpy())
    found = described.by_coefficients_along(filled(last, described.features))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
