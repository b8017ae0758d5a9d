"""What holds for every optimizer; a new one joins by entering ``OPTIMIZERS``."""

import math

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from installed import others, ours

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.optimizers import Schedule
from aiida_mlal.ml.training.options import LossOptions, TrainingOptions
from aiida_mlal.ml.training.problem import Problem

BPNN = {"architecture": "bpnn", "hidden": [4], "cutoff": 3.5}
MTP = {"architecture": "mtp", "level": 4, "radial_basis_size": 3, "cutoff": 3.5}
GP = {"architecture": "gp", "cutoff": 3.5}
OPTIMIZERS = {
    "adam": ({"name": "adam", "learning_rate": 0.03}, BPNN),
    "adam in batches": ({"name": "adam", "learning_rate": 0.03, "batch_size": 2}, BPNN),
    "adam with rates": ({"name": "adam", "rates": {"networks": 0.03}}, BPNN),
    "adam with a schedule": (
        {"name": "adam", "learning_rate": 0.05, "schedule": {"name": "linear"}},
        BPNN,
    ),
    "lbfgs": ({"name": "lbfgs"}, BPNN),
    "lbfgs of the paper": (
        {
            "name": "lbfgs",
            "learning_rate": 1e-2,
            "line_search": None,
            "schedule": {"name": "cosine_restarts"},
        },
        BPNN,
    ),
    "levenberg_marquardt": ({"name": "levenberg_marquardt", "ridge": 0.0}, BPNN),
    "levenberg_marquardt of mtp": ({"name": "levenberg_marquardt", "ridge": 0.0}, MTP),
    "variable_projection": ({"name": "variable_projection", "ridge": 1e-13}, MTP),
    "marginal_likelihood": ({"name": "marginal_likelihood"}, GP),
    **{name: ({"name": name}, BPNN) for name in others("optimizers")},
}
EPOCHS = 12


def labelled(n=6):
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        if seed == 1:
            atoms = bulk("Cu") * (2, 1, 1)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(scope="module")
def structures():
    return labelled()


@pytest.fixture(params=OPTIMIZERS)
def name(request):
    return request.param


def problem(name, structures, seed=0):
    potential = single(OPTIMIZERS[name][1], ["Cu"], seed)
    targets = Prediction(
        *(torch.tensor(x) for x in (structures.energies, structures.forces, structures.stresses))
    )
    prepared = potential.prepare(potential.graph(structures))
    potential.initialise(prepared, targets, seed)
    return Problem(potential, prepared, targets, LossOptions(1.0, 0.04, 0.01))


def run(name, task, epochs=EPOCHS, seed=0):
    return list(plugins.make("optimizers", OPTIMIZERS[name][0]).run(task, epochs, seed))


def weights(task):
    return torch.cat([p.detach().flatten() for p in task.parameters]).numpy()


def test_every_optimizer_of_the_package_is_here():
    known = {options["name"] for options, _ in OPTIMIZERS.values()}
    assert known - others("optimizers") == ours("optimizers")


def test_the_loss_decreases(name, structures):
    task = problem(name, structures)
    before = float(task.loss().detach())
    losses = run(name, task)
    assert 1 <= len(losses) <= EPOCHS
    assert all(isinstance(loss, float) for loss in losses)
    assert losses[-1] < 0.9 * before


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if not name.startswith("adam")])
def test_the_loss_is_that_of_the_weights_after_the_epoch(name, structures):
    task = problem(name, structures)
    for loss in plugins.make("optimizers", OPTIMIZERS[name][0]).run(task, 4, 0):
        assert loss == pytest.approx(float(task.loss().detach()), rel=1e-6)


def test_the_loss_of_adam_is_that_of_its_batches_in_passing(structures):
    task = problem("adam", structures)
    losses = [float(task.loss().detach())]
    for loss in plugins.make("optimizers", OPTIMIZERS["adam"][0]).run(task, 3, 0):
        assert loss == pytest.approx(losses[-1], rel=1e-10)  # all structures are one batch
        losses.append(float(task.loss().detach()))


def test_equal_seeds_give_equal_weights(name, structures):
    one, other = (problem(name, structures) for _ in range(2))
    assert run(name, one, 3) == run(name, other, 3)
    np.testing.assert_array_equal(weights(one), weights(other))


def test_batches_are_drawn_by_the_seed(structures):
    name = "adam in batches"
    one, other = (problem(name, structures) for _ in range(2))
    run(name, one, seed=0)
    run(name, other, seed=1)
    assert np.abs(weights(one) - weights(other)).max() > 1e-8


def test_the_random_state_is_left_alone(name, structures):
    before = torch.random.get_rng_state()
    run(name, problem(name, structures), epochs=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_labels_that_are_missing_count_nothing(name, structures):
    """Structures without any label are as if they were not there."""
    energies, forces = structures.energies.copy(), structures.forces.copy()
    stresses = structures.stresses.copy()
    energies[4:], stresses[4:] = np.nan, np.nan
    forces[structures.owner >= 4] = np.nan
    energies[1] = np.nan  # and some miss a part
    forces[:2, 1] = np.nan
    some = structures.with_labels(energies, forces, stresses)
    full, fewer = problem(name, some), problem(name, some[:4])
    expected = float(fewer.loss().detach())
    assert float(full.loss().detach()) == pytest.approx(expected, rel=1e-12)
    if name == "adam in batches":
        assert math.isfinite(run(name, full)[-1])
        return
    np.testing.assert_allclose(run(name, full, 3), run(name, fewer, 3), rtol=1e-5)


def test_what_is_learned_already_stays(name, structures):
    task = problem(name, structures)
    with torch.no_grad():
        said = task.prepared.predict(task.potential)
    perfect = Problem(task.potential, task.prepared, said, task.weights)
    losses = run(name, perfect, epochs=2)
    assert losses
    assert max(losses) < 1e-9


def test_a_structure_without_numbers_is_told(name, structures):
    """A loss that is not finite is yielded, for the loop to stop at."""
    task = problem(name, structures)
    with torch.no_grad():
        task.parameters[0].fill_(torch.nan)
    try:
        losses = run(name, task, epochs=2)
    except ValueError as error:  # of linear algebra
        assert "radial function" in str(error)  # noqa: PT017
        return
    assert not math.isfinite(losses[0])


def test_weights_that_are_fixed_stay(name, structures):
    task = problem(name, structures)
    fixed = task.parameters[-1].requires_grad_(False)
    before = fixed.clone()
    losses = run(name, task, epochs=3)
    assert torch.equal(fixed, before)
    assert math.isfinite(losses[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adam", "batch_size": 0}, "batch_size of 1 or more"),
        ({"name": "adam", "learning_rate": 0.0}, "learning_rate above 0"),
        ({"name": "adam", "weight_decay": -0.1}, "weight_decay of 0 or more"),
        ({"name": "adam", "rates": {"shift": -1.0}}, "rates.shift: expected a learning rate"),
        ({"name": "adam", "rates": {"shift": "fast"}}, "rates.shift: expected a learning rate"),
        ({"name": "lbfgs", "learning_rate": -1.0}, "learning_rate above 0"),
        ({"name": "lbfgs", "iterations": 0}, "iterations and a history of 1 or more"),
        ({"name": "lbfgs", "line_search": "wolfe"}, "line_search: unknown choice 'wolfe'"),
        ({"name": "levenberg_marquardt", "ridge": -1.0}, "ridge of 0 or more"),
        ({"name": "levenberg_marquardt", "damping": 0.0}, "damping above 0"),
        ({"name": "adam", "schedule": {"first_period": 0}}, "optimizer.schedule: .*first_period"),
        ({"name": "adam", "schedule": {"period_factor": 0}}, "period_factor of 1 or more"),
        ({"name": "adam", "schedule": {"factor": 0.0}}, r"factor in \(0, 1\]"),
        ({"name": "adam", "schedule": {"name": "cosine_restart"}}, "mean 'cosine_restarts'"),
    ],
)
def test_options_that_cannot_be_run_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(TrainingOptions, {"optimizer": options})


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"validation": 1.0},
        {"validation": -0.1},
        {"patience": 0},
        {"threads": 0},
        {"tolerance": -1.0},
        {"loss": {"energy": -1.0}},
        {"loss": {"energy": 0.0, "force": 0.0, "stress": 0.0}},
        {"loss": {"energy": math.nan}},
        {"loss": {"force": math.inf}},
        {"optimizer": {}},
    ],
)
def test_a_training_that_cannot_be_run_is_refused(options):
    with pytest.raises(ValueError, match=r"expected|choose"):
        build(TrainingOptions, options)


GMNN = {
    "architecture": "gmnn",
    "hidden": [4],
    "cutoff": 3.5,
    "descriptor": {"n_radial": 2, "n_basis": 3},
}


def with_adam(structures, epochs=1, **options):
    """Return the weights of a network before and after."""
    potential = single(GMNN, ["Cu"], 0)
    targets = Prediction(
        *(torch.tensor(x) for x in (structures.energies, structures.forces, structures.stresses))
    )
    task = Problem(
        potential, potential.prepare(potential.graph(structures)), targets, LossOptions()
    )
    before = {name: w.detach().clone() for name, w in potential.named_parameters()}
    list(plugins.make("optimizers", {"name": "adam", **options}).run(task, epochs, 0))
    return before, {name: w.detach() for name, w in potential.named_parameters()}


def test_each_part_of_a_network_has_its_learning_rate(structures):
    rates = {"descriptor": 0.02, "network": 0.0, "scale": 0.001}
    before, after = with_adam(structures, learning_rate=0.05, rates=rates, batch_size=10)
    expected = {**rates, "shift": 0.05}
    for name, weight in before.items():
        step = (after[name] - weight).abs().max()  # that of Adam at first
        assert float(step) == pytest.approx(expected[name.split(".")[0]], rel=1e-3)


def test_a_schedule_holds_for_all_rates(structures):
    schedule = {"name": "exponential", "factor": 1e-9}
    one, two = (
        with_adam(structures, epochs, rates={"shift": 0.1}, schedule=schedule, batch_size=10)[1]
        for epochs in (1, 2)
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-7, atol=1e-9)


def test_rates_of_weights_that_are_not_there_are_refused(structures):
    with pytest.raises(
        ValueError, match=r"no weights \['layers'\], there are \['descriptor', 'net"
    ):
        with_adam(structures, rates={"layers": 0.1})


def test_schedules():
    def rates(epochs, **options):
        return [Schedule(**options).rate(epoch, epochs) for epoch in range(epochs)]

    assert rates(3) == [1, 1, 1]
    assert rates(4, name="linear") == [1, 0.75, 0.5, 0.25]
    assert rates(3, name="exponential", factor=0.5) == [1, 0.5, 0.25]
    restarts = rates(14, name="cosine_restarts", first_period=2, period_factor=2)
    halves = [(1 + math.cos(math.pi * k / n)) / 2 for n in (2, 4, 8) for k in range(n)]
    assert restarts == pytest.approx(halves)
