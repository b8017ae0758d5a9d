import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training.options import LossOptions
from aiida_mlal.ml.training.problem import Problem

WEIGHTS = LossOptions(0.7, 0.3, 0.2)


def frames():
    crystals = []
    for seed, n in enumerate((1, 2, 1)):
        atoms = bulk("Cu", cubic=True) * (n, 1, 1)
        atoms.rattle(0.1, seed=seed)
        crystals.append(atoms)
    return Configurations.from_ase([*crystals, Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), Atoms("Cu")])


@pytest.fixture
def labelled():
    rng = np.random.default_rng(0)
    found = frames()
    n, n_atoms = len(found), len(found.numbers)
    stresses = rng.normal(size=(n, 3, 3))
    stresses += stresses.transpose(0, 2, 1)
    energies, forces = rng.normal(size=n), rng.normal(size=(n_atoms, 3))
    energies[1], forces[2], forces[5, 1] = np.nan, np.nan, np.nan
    stresses[2] = np.nan
    return found.with_labels(energies, forces, stresses)


@pytest.fixture(params=["bpnn", "mtp"])
def potential(request):
    options = {"bpnn": {"hidden": [3]}, "mtp": {"level": 4}}[request.param]
    options = {"architecture": request.param, "cutoff": 3.5, **options}
    return single(options, ["Cu"], seed=1)


@pytest.fixture
def problem(potential, labelled):
    return of(potential, labelled)


def of(potential, labelled):
    targets = Prediction(
        *(torch.tensor(x) for x in (labelled.energies, labelled.forces, labelled.stresses))
    )
    return Problem(potential, potential.prepare(potential.graph(labelled)), targets, WEIGHTS)


def loss_by_definition(said, labelled):
    """In loops over structures, atoms and components; what is not known is left out."""
    total = 0.0
    for one, found in zip(labelled, said):
        n = len(one.numbers)
        if np.isfinite(one.energies[0]):
            total += 0.7 * ((found.energies[0] - one.energies[0]) / n) ** 2
        for atom in range(n):
            for axis in range(3):
                if np.isfinite(one.forces[atom, axis]):
                    error = found.forces[atom, axis] - one.forces[atom, axis]
                    total += 0.3 / (3 * n) * error**2
        if one.pbc.all():
            volume = abs(np.linalg.det(one.cells[0]))
            for a in range(3):
                for b in range(3):
                    error = found.stresses[0, a, b] - one.stresses[0, a, b]
                    if np.isfinite(error):
                        total += 0.2 * (error * volume / n) ** 2
    return total / 2


def test_the_loss_is_that_of_what_the_potential_says(problem, potential, labelled):
    expected = loss_by_definition(potential.predict(labelled), labelled)
    assert float(problem.loss().detach()) == pytest.approx(expected, rel=1e-9)


def test_the_loss_is_half_the_square_of_the_residuals(problem):
    residuals = problem.residuals()
    assert bool(torch.isfinite(residuals).all())
    assert float(problem.loss().detach()) == pytest.approx(float(residuals @ residuals) / 2)


def test_the_gradient_is_that_of_the_residuals(problem):
    loss = problem.loss()
    found = torch.autograd.grad(loss, problem.parameters, materialize_grads=True)
    expected = problem.jacobian().T @ problem.residuals()
    torch.testing.assert_close(torch.cat([g.flatten() for g in found]), expected)
    assert bool(torch.isfinite(expected).all())


def test_some_structures_are_a_problem_of_their_own(problem, potential, labelled):
    which = np.array([4, 1, 1, 3])
    taken, expected = problem.take(which), of(potential, labelled[which])
    torch.testing.assert_close(taken.residuals(), expected.residuals())
    torch.testing.assert_close(taken.jacobian(), expected.jacobian())


def test_batches_hold_every_structure_once(problem):
    for size in (1, 2, 5, 100):
        batches = list(problem.batches(size, np.random.default_rng(3)))
        counts = [len(batch.prepared.graph.volumes) for batch in batches]
        assert sum(counts) == 5
        assert max(counts) <= size
        total = sum(float(batch.loss().detach()) for batch in batches)
        assert total == pytest.approx(float(problem.loss().detach()), rel=1e-9)


def test_batches_are_drawn_by_the_generator(problem):
    def first(seed):
        batch = next(problem.batches(2, np.random.default_rng(seed)))
        return batch.targets.energies.nan_to_num().tolist()

    assert first(0) == first(0)
    assert len({tuple(first(seed)) for seed in range(8)}) > 1


def test_blocks_are_the_whole_in_order(problem):
    for rows in (1, 30, 10**6):
        blocks = problem.blocks(rows)
        n = [len(block.prepared.graph.volumes) for block in blocks]
        assert sum(n) == 5
        assert (len(blocks) == 1) == (rows == 10**6)
        energies = torch.cat([block.targets.energies for block in blocks])
        assert torch.equal(energies.nan_to_num(), problem.targets.energies.nan_to_num())


def test_only_weights_that_may_change_are_searched(problem):
    weights = problem.parameters
    weights[0].requires_grad_(False)
    assert len(problem.parameters) == len(weights) - 1
    n = sum(weight.numel() for weight in weights[1:])
    assert problem.jacobian().shape[1] == n
