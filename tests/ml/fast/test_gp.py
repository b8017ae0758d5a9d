import numpy as np
import pytest
import torch

from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.sum import Sum
from tests.ml.fast.test_bpnn import ELEMENTS, STRUCTURES, alloy, assert_agrees, evaluate, morse


def gp(elements, n=9, **options):
    """Return a process that knows environments, and length scales of its own."""
    process = single({"architecture": "gp", **options}, elements, 0)
    generator = torch.Generator().manual_seed(0)
    n_features = process.environments.shape[1]
    process.element = torch.arange(n) % len(elements)
    process.environments = 2 * torch.rand(n, n_features, generator=generator, dtype=torch.float64)
    process.slopes = torch.randn(n, n_features, generator=generator, dtype=torch.float64)
    process.heights = torch.randn(n, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        process.variance.fill_(1.7)
        process.lengths.uniform_(1.0, 3.0, generator=generator)
        process.constants.uniform_(-3.0, 3.0, generator=generator)
    return process


DESCRIPTORS = {
    "the default": {},
    "no angular functions": {"g4_etas": []},
    "no radial functions": {"g2_etas": []},
    "etas of several sizes": {"g4_etas": [0.0, 0.3], "g4_zetas": [1, 2, 3]},
}


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("elements", ELEMENTS, ids=len)
def test_a_process_on_a_prior_agrees_with_torch(structure, elements):
    potential = Sum([morse(elements), gp(elements)])
    assert_agrees(potential, kernels_of(potential, 0.5), structure(potential.elements))


@pytest.mark.parametrize("descriptor", DESCRIPTORS.values(), ids=DESCRIPTORS)
def test_any_descriptor_agrees_with_torch(descriptor):
    potential = gp(("C", "Cu"), descriptor={"eta_units": "1/A^2", **descriptor})
    assert_agrees(potential, kernels_of(potential, 0.5), alloy(("C", "Cu")))


def test_one_that_has_learned_nothing_has_the_energies_of_elements():
    process = gp(["C", "Cu"], n=0)
    atoms = alloy(("C", "Cu"))
    found = evaluate(kernels_of(process, 0.5), atoms)
    expected = process.constants[(torch.from_numpy(atoms.numbers) == 29).long()].numpy()
    np.testing.assert_allclose(found.energies, expected)
    assert not found.forces.any()


def test_exponents_that_are_no_integers_have_no_kernel():
    assert kernels_of(gp(("Cu",), descriptor={"g4_zetas": [1.5]}), 0.5) is None
