from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions, single
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import LossOptions, TrainingOptions
from aiida_mlal.ml.training.problem import Problem
from aiida_mlal.ml.training.variable_projection import ROWS, VariableProjection

LOSS = LossOptions(1.0, 0.01, 0.001, "vibrations")


def frames(n=10, seed=0, elements=("Ag", "Pd")):
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        atoms = bulk("Ag", "fcc", rng.uniform(3.8, 4.2), cubic=True) * (1 + k % 2, 1, 1)
        atoms.symbols = rng.choice(elements, len(atoms))
        atoms.rattle(0.2, rng=rng)
        found.append(atoms)
    return Configurations.from_ase(found)


def untrained(level=8, seed=0, elements=("Ag", "Pd"), **options):
    options = {"architecture": "mtp", "level": level, "radial_basis_size": 4, **options}
    return single(options, elements, seed)


def known(structures, level=8, seed=5):
    """Labels of a potential that the model can be."""
    model = untrained(level, seed)
    with torch.no_grad():
        model.moment_coeffs.copy_(1e-3 * torch.linspace(1, -2, len(model.moment_coeffs)))
        model.species_coeffs.copy_(torch.tensor([-3.0, -4.0]))
    return model.predict(structures)


def problem(model, labelled, loss=LOSS):
    targets = Prediction(
        *(torch.tensor(v) for v in (labelled.energies, labelled.forces, labelled.stresses))
    )
    prepared = model.prepare(model.graph(labelled))
    return Problem(model, prepared, targets, loss)


def test_linear_weights_are_the_best():
    """Beside numpy's solution, and no gradient is left."""
    model = untrained()
    task = problem(model, known(frames(), level=12))
    loss = next(VariableProjection(ridge=1e-16).run(task, 1, 0))
    matrix = task.jacobian(model.linear_weights()).numpy()
    rest = task.residuals().numpy()
    z = np.concatenate([w.detach().numpy() for w in model.linear_weights()])
    best, *_ = np.linalg.lstsq(matrix, matrix @ z - rest)
    left = matrix @ best - (matrix @ z - rest)
    assert loss == pytest.approx(left @ left / 2, rel=1e-9)
    assert float(task.loss().detach()) == pytest.approx(loss, rel=1e-9)
    np.testing.assert_allclose(matrix.T @ rest, 0, atol=1e-9 * abs(matrix.T @ (matrix @ z)).max())


def test_the_jacobian_is_that_of_the_reduced_problem():
    """Its gradient is exact: the loss changes along each direction as it says."""
    from aiida_mlal.ml.training.variable_projection import _Search

    model = untrained()
    task = problem(model, known(frames(), level=12))
    search = _Search(task, VariableProjection(ridge=1e-16))
    here = search.solve()
    directions, jacobian, rest = search.linearise()
    gradient = jacobian.T @ rest
    for k in (0, len(directions) // 2, len(directions) - 1):
        losses = []
        for step in (1e-5, -1e-5):
            search.move(here, step * directions[k])
            losses.append(search.solve().loss)
        slope = (losses[0] - losses[1]) / 2e-5
        assert slope == pytest.approx(float(gradient[k]), rel=1e-4)


def test_other_directions_change_nothing():
    """The radial functions can move in these many ways; the linear weights undo the others."""
    model = untrained(level=12)
    model.fix_gauge()
    directions = model.free_directions()
    functions, pairs, size = 3, 4, 4
    assert len(directions) == functions * pairs * size - functions * (functions + 1) // 2
    np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-12)
    rows = model.radial_coeffs.detach().movedim(2, 0).reshape(functions, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(functions), atol=1e-12)


@pytest.mark.parametrize("level", [2, 8])
def test_recovers_a_potential(level):
    labelled = known(frames(24), level)
    model = untrained(level)
    for loss in VariableProjection().run(problem(model, labelled), 60, 0):
        last = loss
    assert last < 1e-6
    new = known(frames(6, seed=9), level)
    said = model.predict(new)
    assert np.abs(said.energies - new.energies).max() < 1e-3
    assert np.abs(said.forces - new.forces).max() < 1e-2


def test_each_step_is_for_the_better():
    losses = list(VariableProjection().run(problem(untrained(), known(frames(), 12)), 12, 0))
    assert len(losses) == 12
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2


def test_a_spread_finds_the_most_likely_weights():
    """No direction of the radial coefficients makes labels and coefficients likelier together."""
    model, spread = untrained(), 0.3
    task = problem(model, known(frames(3), 12))
    n = len(task.residuals())
    options = VariableProjection(spread=spread)
    model.fix_gauge()
    first = model.radial_coeffs.detach().clone()
    losses = list(options.run(task, 200, 0))
    assert losses == sorted(losses, reverse=True)
    radial = model.radial_coeffs.detach().clone()
    search = list(model.free_directions())

    def unlikeliness(change):
        with torch.no_grad():
            model.radial_coeffs.copy_(radial + change.reshape(radial.shape))
        next(VariableProjection().run(task, 1, 0))
        moved = (model.radial_coeffs.detach() - first).square().sum() / first.square().mean()
        return n / 2 * np.log(2 * float(task.loss().detach())) + float(moved) / (2 * spread**2)

    best = unlikeliness(torch.zeros(radial.numel()))
    for direction in search[::5]:
        assert unlikeliness(0.01 * direction) > best
        assert unlikeliness(-0.01 * direction) > best


def test_few_labels_with_a_spread_say_little_of_what_they_do_not_have():
    """Denser cells than any labelled one, of elements that interact otherwise."""
    labelled = known(frames(2), 12)
    denser = frames(6, seed=9)
    denser = replace(denser, cells=0.93 * denser.cells, positions=0.93 * denser.positions)
    wanted = known(denser, 12).forces
    wrong = []
    for spread in (None, 0.3):
        model = untrained()
        list(VariableProjection(spread=spread).run(problem(model, labelled), 100, 0))
        wrong.append(np.abs(model.predict(denser).forces - wanted).mean())
    assert wrong[1] < wrong[0] / 3


def test_many_labels_outweigh_a_spread():
    labelled = known(frames(24))
    model = untrained()
    for loss in VariableProjection(spread=0.3).run(problem(model, labelled), 100, 0):
        last = loss
    assert last < 1e-6


def test_the_weights_are_those_of_the_loss():
    model = untrained()
    task = problem(model, known(frames(), 12))
    for loss in VariableProjection(ridge=1e-16).run(task, 3, 0):
        assert float(task.loss().detach()) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("memory", [1.0, 0.0])
def test_blocks_and_memory_change_no_result(monkeypatch, memory):
    labelled = known(frames(), 12)
    whole = list(VariableProjection().run(problem(untrained(), labelled), 4, 0))
    monkeypatch.setattr("aiida_mlal.ml.training.variable_projection.ROWS", 60)
    task = problem(untrained(), labelled)
    assert len(task.blocks(60)) > 3
    assert list(VariableProjection(memory=memory).run(task, 4, 0)) == pytest.approx(whole, rel=1e-6)


def test_dependent_invariants_do_no_harm():
    """Level 16 has the relation of Cayley and Hamilton among its invariants."""
    labelled = known(frames(16), level=8)
    model = untrained(16)
    search = list(VariableProjection().run(problem(model, labelled), 3, 0))
    assert np.isfinite(search).all()
    assert model.moment_coeffs.abs().max() < 1e4


def test_species_that_do_not_occur():
    model = untrained(elements=("Ag", "Pd", "Au"))
    losses = list(VariableProjection().run(problem(model, known(frames(), 12)), 6, 0))
    assert losses[-1] < losses[0]
    assert all(w.isfinite().all() for w in model.parameters())


def test_fixed_radial_functions_stay():
    model = untrained()
    model.radial_coeffs.requires_grad_(False)
    before = model.radial_coeffs.clone()
    losses = list(VariableProjection().run(problem(model, known(frames(), 12)), 5, 0))
    assert len(losses) == 1
    assert (model.radial_coeffs == before).all()


def test_energies_alone():
    labelled = known(frames(40))
    energies = labelled.with_labels(labelled.energies, np.full_like(labelled.forces, np.nan))
    task = problem(untrained(), energies, LossOptions(1.0, 0.0))
    losses = list(VariableProjection().run(task, 5, 0))
    assert losses[-1] < losses[0]


def test_no_labels_are_explained():
    structures = frames()
    nothing = np.full(10, np.nan), np.full((structures.counts.sum(), 3), np.nan)
    labelled = structures.with_labels(*nothing)
    with pytest.raises(ValueError, match="no label to learn from"):
        next(VariableProjection().run(problem(untrained(), labelled), 5, 0))


def test_other_models_are_refused():
    training = TrainingOptions(optimizer={"name": "variable_projection"})
    structures = known(frames())
    model = single({"architecture": "bpnn"}, structures.elements, 0)
    with pytest.raises(ValueError, match="choose the optimizer"):
        fit(model, structures, training, 0)


def test_options_are_checked():
    for name in ("ridge", "spread"):
        with pytest.raises(ValueError, match=name):
            plugins.make("optimizers", {"name": "variable_projection", name: 0}, "optimizer")


def test_fitted_by_the_one_loop_with_its_own_tolerance():
    """An ensemble without bootstrap: starts of their own, the same structures."""
    labelled = known(frames(16), 12)
    options = {"architecture": "mtp", "level": 8, "radial_basis_size": 4, "ensemble": 2}
    potential = ModelOptions.parse(options).build(labelled.elements, 0)
    training = TrainingOptions(
        epochs=8, optimizer={"name": "variable_projection"}, loss=LOSS, bootstrap=False
    )
    record = fit(potential, labelled, training, 0)
    first, second = (curve.train for curve in record.curves)
    assert len(first) == 8
    assert first != second
    assert record.errors["train"]["force_rmse"] < 0.1 * labelled.forces.std()


def test_rows_are_enough_for_a_usual_basis():
    """Blocks with more labels than coefficients make the factorisation cheap."""
    assert untrained(20).n_parameters < ROWS / 2


def test_lbfgs_works_with_the_same_problem():
    """The way out where a Jacobian takes too long: its gradients come from the same kernels."""
    labelled = known(frames(), 12)
    training = TrainingOptions(epochs=4, optimizer={"name": "lbfgs"}, loss=LOSS)
    record = fit(untrained(), labelled, training, 0)
    losses = record.curves[0].train
    assert losses[-1] < losses[0]


def test_an_interrupted_step_leaves_the_weights_of_the_last_one(monkeypatch):
    model = untrained()
    task = problem(model, known(frames(), 12))
    steps = VariableProjection(ridge=1e-16).run(task, 10, 0)
    loss = [next(steps), next(steps)][-1]

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("aiida_mlal.ml.training.variable_projection._Search.solve", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    assert float(task.loss().detach()) == pytest.approx(loss, rel=1e-6)
