from itertools import pairwise

import numpy as np
import pytest
import torch
from ase.build import bulk
from scipy.optimize import least_squares

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training import levenberg_marquardt
from aiida_mlal.ml.training.levenberg_marquardt import LevenbergMarquardt
from aiida_mlal.ml.training.options import LossOptions
from aiida_mlal.ml.training.problem import Problem


def crystals(n):
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.15, seed=seed)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def problem(n, hidden, loss=LossOptions()):  # noqa: B008
    """Learn what a pair potential says."""
    structures = single({"architecture": "morse"}, ["Cu"], 0).predict(crystals(n))
    potential = single({"architecture": "bpnn", "hidden": hidden, "cutoff": 4.0}, ["Cu"], 1)
    targets = Prediction(
        *(torch.tensor(x) for x in (structures.energies, structures.forces, structures.stresses))
    )
    prepared = potential.prepare(potential.graph(structures))
    potential.initialise(prepared, targets, 0)
    return Problem(potential, prepared, targets, loss)


def get(task):
    return torch.nn.utils.parameters_to_vector(task.parameters).detach().numpy().copy()


def put(task, theta):
    torch.nn.utils.vector_to_parameters(torch.tensor(theta), task.parameters)


@pytest.mark.parametrize("n", [1, 12], ids=["wide", "tall"])
@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_a_linear_readout_is_ridge_regression(n, ridge):
    task = problem(n, [], LossOptions(1.0, 0.1, 0.1))
    start, jacobian = get(task), task.jacobian().numpy()
    residuals = task.residuals().numpy()
    if n == 1:  # fewer labels than weights
        few = np.full(task.targets.forces.shape, np.nan)
        few[0, :2] = 0.1
        task = Problem(
            task.potential,
            task.prepared,
            Prediction(task.targets.energies, torch.tensor(few), task.targets.stresses * np.nan),
            task.weights,
        )
        jacobian, residuals = task.jacobian().numpy(), task.residuals().numpy()
        assert len(residuals) < len(start)
    normal = jacobian.T @ jacobian + ridge * np.eye(len(start))
    best = start - np.linalg.solve(normal, jacobian.T @ residuals)
    losses = list(LevenbergMarquardt(ridge=ridge).run(task, 60, 0))
    np.testing.assert_allclose(get(task), best, atol=1e-6)
    left = residuals + jacobian @ (best - start)
    expected = (left @ left + ridge * (best - start) @ (best - start)) / 2
    assert losses[-1] == pytest.approx(expected, rel=1e-8)


def test_finds_the_minimum_that_scipy_finds():
    task, ridge = problem(4, [2]), 0.05
    start = get(task)

    def residuals(theta):
        put(task, theta)
        return np.concatenate([task.residuals().numpy(), ridge**0.5 * (theta - start)])

    def jacobian(theta):
        put(task, theta)
        return np.concatenate([task.jacobian().numpy(), ridge**0.5 * np.eye(len(theta))])

    found = least_squares(residuals, start, jacobian, method="lm", xtol=1e-14, ftol=1e-14)
    put(task, start)
    losses = list(LevenbergMarquardt(ridge=ridge).run(task, 300, 0))
    assert losses[-1] == pytest.approx(found.cost, rel=1e-6)
    np.testing.assert_allclose(get(task), found.x, atol=1e-3)


@pytest.mark.parametrize("epochs", [1, 7])
def test_steps_in_vain_are_no_epochs(epochs):
    """A first damping that is far too small makes most of the first steps too long."""
    task = problem(3, [4, 4])
    losses = list(LevenbergMarquardt(damping=1e-12).run(task, epochs, 0))
    assert len(losses) == epochs
    assert all(later < sooner for sooner, later in pairwise(losses))


def test_the_loss_never_increases():
    losses = list(LevenbergMarquardt().run(problem(3, [4, 4]), 40, 0))
    assert all(later < sooner for sooner, later in pairwise(losses))


def test_more_weights_than_labels_are_fitted_exactly():
    task = problem(1, [10])
    list(LevenbergMarquardt(ridge=1e-10).run(task, 300, 0))
    assert float(task.loss().detach()) < 1e-8


def test_a_strong_ridge_holds_the_weights_where_they_were():
    moved = []
    for ridge in (1e-6, 1e-2, 1e4):
        task = problem(3, [4])
        start = get(task)
        list(LevenbergMarquardt(ridge=ridge).run(task, 30, 0))
        moved.append(np.linalg.norm(get(task) - start))
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 1e-3


def test_a_minimum_is_left_at_once():
    task = problem(3, [])
    list(LevenbergMarquardt(ridge=0.0).run(task, 200, 0))
    there = get(task)
    losses = list(LevenbergMarquardt(ridge=0.0).run(task, 50, 0))
    assert losses
    np.testing.assert_allclose(get(task), there, atol=1e-4)


def test_many_labels_are_taken_block_by_block(monkeypatch):
    whole, parts = problem(12, []), problem(12, [])
    losses = list(LevenbergMarquardt().run(whole, 5, 0))
    monkeypatch.setattr(levenberg_marquardt, "LARGEST", 9 * 9 + 8)
    assert list(LevenbergMarquardt().run(parts, 5, 0)) == pytest.approx(losses, rel=1e-6)
    np.testing.assert_allclose(get(parts), get(whole), rtol=1e-5, atol=1e-8)


def test_equations_that_do_not_fit_are_told_before(monkeypatch):
    monkeypatch.setattr(levenberg_marquardt, "LARGEST", 80)
    with pytest.raises(ValueError, match=r"and 9 weights are too large.*choose the optimizer"):
        list(LevenbergMarquardt().run(problem(1, []), 3, 0))
