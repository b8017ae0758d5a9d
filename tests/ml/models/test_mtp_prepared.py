"""The kernels in numba against the model in torch, which has its own tests against definitions."""

from typing import get_args

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.descriptors.radial_polynomials import Kind, RadialBasis
from aiida_mlal.ml.fast import mtp_training
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.mtp import MTP, Contraction
from aiida_mlal.ml.models.mtp_prepared import PreparedMTP
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared

FIELDS = ("energies", "forces", "stresses")


def randomised(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)
    model.set_coefficients(0.2 * random)
    return model


def potential(elements=("Ag", "Pd"), level=8, **options):
    return randomised(single({"architecture": "mtp", "level": level, **options}, elements, 0))


def structures():
    """Ten atoms, so more than one block; a cell smaller than the cutoff; an isolated molecule."""
    alloy = bulk("Ag", "fcc", 4.0, cubic=True) * (2, 1, 1)
    alloy.symbols[[0, 3, 5]] = "Pd"
    small = bulk("Pd", "fcc", 3.9)
    cluster = Atoms("AgPdAg", [[0, 0, 0], [2.4, 0, 0], [0.5, 2.5, 0.3]])
    found = [alloy, small, cluster, Atoms("Pd"), alloy[[0, 1]]]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.1, seed=seed)
    return Configurations.from_ase(found)


def assert_equal(found, expected, rel=1e-10):
    """Stresses of what has no volume are NaN, or have a derivative of 0, which counts the same."""
    for name in FIELDS:
        pair = (getattr(p, name).detach().numpy() for p in (found, expected))
        mine, theirs = (np.nan_to_num(values) for values in pair)
        assert mine.shape == theirs.shape, name
        scale = np.abs(theirs).max(initial=0.0)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=rel * scale, err_msg=name)


@pytest.mark.parametrize("level", [2, 6, 8, 14])
def test_predictions(level):
    model = potential(level=level)
    graph = model.graph(structures())
    prepared = model.prepare(graph)
    assert isinstance(prepared, PreparedMTP)
    assert_equal(prepared.predict(model), Prepared(graph).predict(model))


@pytest.mark.parametrize("elements", [("Ag", "Pd"), ("Cu", "Pd", "Ag")])
@pytest.mark.parametrize("level", [2, 8, 12])
def test_derivatives_by_all_coefficients(elements, level):
    model = potential(elements, level)
    graph = model.graph(structures())
    found = model.prepare(graph).derivatives(model)
    assert_equal(found, Prepared(graph).derivatives(model))


def test_derivatives_of_one_species_of_the_usual_level():
    model = potential(("Cu",), 16)
    atoms = bulk("Cu") * (3, 1, 1)
    atoms.rattle(0.1, seed=0)
    graph = model.graph(Configurations.from_ase([atoms]))
    assert_equal(model.prepare(graph).derivatives(model), Prepared(graph).derivatives(model))


@pytest.mark.parametrize("names", [["moment_coeffs"], ["species_coeffs", "moment_coeffs"]])
def test_derivatives_by_some_coefficients(names):
    model = potential()
    graph = model.graph(structures())
    weights = [getattr(model, name) for name in names]
    found = model.prepare(graph).derivatives(model, weights)
    assert_equal(found, Prepared(graph).derivatives(model, weights))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_all_radial_bases(kind):
    """With an atom so close to another that clamped polynomials are constant."""
    radial = RadialBasis(kind, 4, 2.5, 5.0, 0.3)
    model = randomised(MTP(["Ag", "Pd"], Contraction(MomentBasis.of_level(8), radial, 8)))
    graph = model.graph(structures())
    prepared = model.prepare(graph)
    assert_equal(prepared.predict(model), Prepared(graph).predict(model))
    assert_equal(prepared.derivatives(model), Prepared(graph).derivatives(model))


def test_a_basis_with_gaps():
    """A basic moment of rank 2 alone, and moments in an order of their own."""
    basis = MomentBasis(
        basic=[[1, 0, 1, 1], [0, 0, 0, 0], [0, 2, 0, 0]],
        times=[[0, 0, 2, 3], [1, 2, 1, 4]],
        mapping=[1, 3, 4],
    )
    model = randomised(MTP(["Ag", "Pd"], Contraction(basis, RadialBasis(size=3))))
    graph = model.graph(structures())
    prepared = model.prepare(graph)
    assert_equal(prepared.derivatives(model), Prepared(graph).derivatives(model))


def test_gradients_of_any_function_of_the_prediction():
    model = potential(level=10)
    graph = model.graph(structures())

    def gradient(prepared):
        model.zero_grad()
        said = prepared.predict(model)
        known = said.stresses.isfinite()
        total = said.energies.square().sum() + (said.forces**3).sum()
        (total + said.stresses[known].exp().sum()).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()

    found, expected = gradient(model.prepare(graph)), gradient(Prepared(graph))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * abs(expected).max())


def test_derivatives_against_differences():
    """With respect to coefficients that stand for each of the three kinds."""
    model = potential(level=10)
    prepared = model.prepare(model.graph(structures()))
    derivatives, start = prepared.derivatives(model), model.coefficients

    def at(k, step):
        changed = start.clone()
        changed[k] += step
        model.set_coefficients(changed)
        return prepared.predict(model).detach()

    for k in (3, len(start) - model.basis.n_scalars - 1, len(start) - 2):
        up, down = at(k, 1e-5), at(k, -1e-5)
        slopes = Prediction(*((getattr(up, n) - getattr(down, n)) / 2e-5 for n in FIELDS))
        one = Prediction(*(getattr(derivatives, n)[k] for n in FIELDS))
        assert_equal(one, slopes, rel=1e-7)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_share_the_structures(threads):
    model = potential(level=10)
    prepared = model.prepare(model.graph(structures()))
    alone, before = prepared.derivatives(model), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_equal(prepared.derivatives(model), alone, rel=1e-13)
        assert_equal(prepared.predict(model), prepared.predict(model), rel=1e-13)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_no_bit_of_a_gradient(threads, monkeypatch):
    monkeypatch.setattr(mtp_training, "LEAST_PAIRS", 50)
    model = potential(level=10)
    prepared = model.prepare(model.graph(structures()))
    assert prepared.structures.first[-1] > 200

    def gradient():
        said = prepared.predict(model)
        loss = said.energies.sin().sum() + said.forces.square().sum()
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, model.parameters())])

    alone, before = gradient(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(gradient(), alone) for _ in range(3))
    finally:
        torch.set_num_threads(before)


def test_some_of_the_structures():
    model = potential()
    graph = model.graph(structures())
    chosen = np.array([3, 0, 0, 1])
    found = model.prepare(graph).take(chosen).predict(model)
    assert_equal(found, Prepared(graph.take(chosen)).predict(model))


def test_energy_does_not_change_with_the_gauge_of_radial_functions():
    """Lower radial functions added to higher ones are undone by the linear coefficients."""
    from aiida_mlal.ml.training.options import LossOptions
    from aiida_mlal.ml.training.problem import Problem
    from aiida_mlal.ml.training.variable_projection import VariableProjection

    model = potential(("Ag", "Pd"), level=12, radial_basis_size=4)
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(8):
        atoms = bulk("Ag", "fcc", 4.0, cubic=True) * (2, 1, 1)
        atoms.symbols[rng.choice(8, 3, replace=False)] = "Pd"
        atoms.rattle(0.2, seed=seed)
        frames.append(atoms)
    prepared = model.prepare(model.graph(Configurations.from_ase(frames)))
    targets = prepared.predict(model).detach()
    with torch.no_grad():
        mixing = torch.tril(torch.randn(3, 3, dtype=torch.float64)) + 2 * torch.eye(3)
        model.radial_coeffs.copy_(torch.einsum("mn,stnb->stmb", mixing, model.radial_coeffs))
    problem = Problem(model, prepared, targets, LossOptions(stress=1.0))
    loss = next(VariableProjection(ridge=1e-20).run(problem, 1, 0))
    assert loss < 1e-12
    assert_equal(prepared.predict(model), targets, rel=1e-5)


def test_molecules_have_finite_gradients():
    """They have no stress, which must not make NaN of all else."""
    model = potential(("H", "C"), level=6, min_dist=0.9)
    graph = model.graph(Configurations.from_ase([molecule("CH4"), molecule("C2H6")]))
    for prepared in (model.prepare(graph), Prepared(graph)):
        model.zero_grad()
        said = prepared.predict(model)
        assert said.stresses.isnan().all()
        (said.energies.sum() + said.stresses[said.stresses.isfinite()].sum()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
