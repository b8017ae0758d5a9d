import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.contractions import index_sets
from aiida_mlal.ml.descriptors.gaussian_moments import (
    GaussianMomentOptions,
    GaussianMoments,
)
from aiida_mlal.ml.graph import Graph

CUTOFF = 4.0


def ethanol(seed=0):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def descriptor(n_elements=3, **options):
    torch.manual_seed(3)
    return GaussianMoments(n_elements, CUTOFF, GaussianMomentOptions(**options))


def described(of, atoms):
    """Return the invariants of atoms whose species are in the order of the atomic numbers."""
    graph = Graph.of(Configurations.from_ase([atoms]), CUTOFF)
    species = torch.tensor(np.unique(atoms.numbers, return_inverse=True)[1])
    with torch.no_grad():
        return of(graph, species).numpy()


def contractions(psi0, psi1, psi2, psi3):
    return [
        lambda s: psi0[s],
        lambda s, t: psi1[s] @ psi1[t],
        lambda s, t: np.einsum("ij,ij", psi2[s], psi2[t]),
        lambda s, t: np.einsum("ijk,ijk", psi3[s], psi3[t]),
        lambda s, t, u: np.einsum("ij,ik,jk", psi2[s], psi2[t], psi2[u]),
        lambda s, t, u: np.einsum("i,j,ij", psi1[s], psi1[t], psi2[u]),
        lambda s, t, u: np.einsum("ijk,ijl,kl", psi3[s], psi3[t], psi2[u]),
        lambda s, t, u: np.einsum("ijk,ij,k", psi3[s], psi2[t], psi1[u]),
    ]


def literal(of, atoms):
    """Return the invariants as the paper writes them, with tensors of all components."""
    options, beta = of.options, of.coefficients.detach().numpy()
    species = np.unique(atoms.numbers, return_inverse=True)[1]
    n, n_basis, r_min = options.n_radial, options.n_basis, options.r_min
    width = n_basis**2 / CUTOFF**2
    found = []
    for i in range(len(atoms)):
        rank = [np.zeros((n,) + (3,) * order) for order in range(4)]
        for j in range(len(atoms)):
            apart = atoms.positions[j] - atoms.positions[i]
            r = np.linalg.norm(apart)
            if j == i or r >= CUTOFF:
                continue
            u = apart / r
            for s in range(n):
                radial = 0.0
                for b in range(n_basis):
                    centre = r_min + b * (CUTOFF - r_min) / n_basis
                    gaussian = (2 * width / math.pi) ** 0.25 * math.exp(-width * (r - centre) ** 2)
                    radial += beta[species[i], species[j], s, b] * gaussian
                radial *= (1 + math.cos(math.pi * r / CUTOFF)) / 2 / math.sqrt(n_basis)
                rank[0][s] += radial
                rank[1][s] += radial * u
                rank[2][s] += radial * np.einsum("i,j", u, u)
                rank[3][s] += radial * np.einsum("i,j,k", u, u, u)
        index = index_sets(n, options.invariants)
        found.append(
            [form(*which) for form, each in zip(contractions(*rank), index) for which in each]
        )
    return np.array(found)


@pytest.mark.parametrize(
    ("n_radial", "invariants", "count"),
    [(7, "sorted", 427), (5, "full", 360), (7, "full", 910), (1, "sorted", 8), (1, "full", 8)],
)
def test_counts(n_radial, invariants, count):
    assert descriptor(n_radial=n_radial, invariants=invariants).n_features == count


@pytest.mark.parametrize("invariants", ["sorted", "full"])
def test_agrees_with_the_definition(invariants):
    of = descriptor(n_radial=3, n_basis=4, invariants=invariants)
    atoms = ethanol()
    np.testing.assert_allclose(described(of, atoms), literal(of, atoms), rtol=1e-12, atol=1e-14)


def test_the_full_set_has_every_value_of_the_contractions():
    """What the symmetry of a contraction leaves out is there with its functions exchanged."""
    n = 3
    symmetric = [
        lambda s, t, u: tuple(sorted((s, t, u))),
        lambda s, t, u: (*sorted((s, t)), u),
        lambda s, t, u: (*sorted((s, t)), u),
        lambda s, t, u: (s, t, u),
    ]
    for kept, standard in zip(index_sets(n, "full")[4:], symmetric):
        every = {standard(*index) for index in np.ndindex(n, n, n)}
        assert sorted(every) == sorted(kept)


def test_atoms_of_an_unknown_neighbourhood_are_zero():
    assert not described(descriptor(1), Atoms("H")).any()


def test_nothing_jumps_where_a_neighbour_leaves():
    of = descriptor(1, n_radial=2, n_basis=3)
    near, far = (described(of, Atoms("H2", [[0, 0, 0], [0, 0, CUTOFF + x]])) for x in (-1e-6, 1e-6))
    assert abs(near - far).max() < 1e-11


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_radial": 0}, "n_radial and n_basis of 1 or more"),
        ({"n_basis": 0}, "n_radial and n_basis of 1 or more"),
        ({"r_min": -0.1}, "r_min of 0 Å or more"),
        ({"r_min": CUTOFF}, "r_min below the cutoff"),
    ],
)
def test_options_that_describe_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        descriptor(**options)
