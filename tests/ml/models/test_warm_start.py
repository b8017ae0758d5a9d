"""Potentials that begin with the weights of others."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.models.factory import ModelOptions, single


def potential(elements=("Ag", "Pd"), level=8, seed=0, **options):
    options = {"architecture": "mtp", "level": level, "radial_basis_size": 4, **options}
    model = single(options, elements, seed)
    generator = torch.Generator().manual_seed(seed)
    model.set_coefficients(
        0.1 * torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)
    )
    return model


def structures(*elements):
    atoms = bulk("Ag", "fcc", 4.0, cubic=True)
    atoms.symbols = [elements[i % len(elements)] for i in range(4)]
    atoms.rattle(0.1, seed=0)
    return Configurations.from_ase([atoms])


def assert_same(model, other, where):
    mine, theirs = model.predict(where), other.predict(where)
    np.testing.assert_allclose(mine.energies, theirs.energies, rtol=1e-10)
    np.testing.assert_allclose(mine.forces, theirs.forces, atol=1e-10)


def test_the_same_model():
    model, older = potential(seed=1), potential(seed=2)
    model.warm_start(older)
    assert torch.equal(model.coefficients, older.coefficients)


@pytest.mark.parametrize(("low", "high"), [(2, 4), (6, 8), (8, 12), (10, 16)])
def test_a_lower_level(low, high):
    model, older = potential(level=high), potential(level=low)
    model.warm_start(older)
    assert_same(model, older, structures("Ag", "Pd"))


def test_a_smaller_radial_basis_of_another_scaling():
    model, older = potential(radial_basis_size=6, scaling=0.5), potential(scaling=0.1)
    model.warm_start(older)
    assert_same(model, older, structures("Ag", "Pd"))


def test_new_elements_are_like_the_known_ones():
    """The known ones stay what they were; with one of them, the new one is its copy."""
    older = potential(("Pd",))
    model = potential(("Ag", "Pd"), level=10)
    model.warm_start(older)
    assert_same(model, older, structures("Pd"))
    mixed = model.predict(structures("Ag", "Pd"))
    assert mixed.energies == pytest.approx(model.predict(structures("Pd")).energies)
    assert_same(
        potential_with(potential(), ("Ag", "Pd", "Au")), potential(), structures("Ag", "Pd")
    )


def potential_with(older, elements):
    model = potential(elements, seed=3)
    model.warm_start(older)
    return model


@pytest.mark.parametrize(
    ("older", "word"),
    [
        ({"level": 10}, "level"),
        ({"elements": ("Ag", "Au")}, "elements"),
        ({"cutoff": 4.5}, "cutoff"),
        ({"min_dist": 1.9}, "min_dist"),
        ({"radial_basis_size": 5}, "size"),
    ],
)
def test_what_does_not_fit_is_refused(older, word):
    with pytest.raises(ValueError, match=word):
        potential(level=8, min_dist=2.0).warm_start(potential(**older))


def test_other_architectures_are_refused():
    with pytest.raises(ValueError, match="architecture"):
        potential().warm_start(single({"architecture": "bpnn"}, ("Ag", "Pd"), 0))


def test_members_of_ensembles_each_have_their_own():
    def ensemble(level, seed):
        options = {"architecture": "mtp", "level": level, "ensemble": 2}
        return ModelOptions.parse(options).build(("Ag", "Pd"), seed)

    model, older = ensemble(8, 0), ensemble(6, 10)
    model.warm_start(older)
    for mine, theirs in zip(model.members, older.members):
        assert_same(mine, theirs, structures("Ag", "Pd"))
    with pytest.raises(ValueError, match="members"):
        model.warm_start(potential())


def test_invariants_are_found_in_richer_bases_of_any_order():
    low, high = MomentBasis.of_level(8), MomentBasis.of_level(14)
    order = np.random.default_rng(0).permutation(low.n_scalars)
    shuffled = MomentBasis(low.basic, low.times, low.mapping[order])
    np.testing.assert_array_equal(high.find(shuffled), high.find(low)[order])
    assert len(set(high.find(low))) == low.n_scalars
    with pytest.raises(ValueError, match="invariants"):
        low.find(high)
