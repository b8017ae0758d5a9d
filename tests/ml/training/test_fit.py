import contextlib
import copy
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import psutil
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.ensemble import member_seed
from aiida_mlal.ml.models.factory import ModelOptions, single
from aiida_mlal.ml.models.sum import Sum
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training import fit as module
from aiida_mlal.ml.training.fit import bootstrap, fit, split
from aiida_mlal.ml.training.loop import DivergedError
from aiida_mlal.ml.training.optimizers import Optimizer
from aiida_mlal.ml.training.options import TrainingOptions

BPNN = {"architecture": "bpnn", "hidden": [4], "cutoff": 3.5}
MORSE = {"architecture": "morse", "cutoff": 4.0}
ADAM = {"name": "adam", "learning_rate": 0.02, "batch_size": 3}
LM = {"name": "levenberg_marquardt"}


def labelled(n):
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.numbers[0] = 13
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(scope="module")
def structures():
    return labelled(8)


def untrained(seed=0, **options):
    return ModelOptions.parse({**BPNN, **options}).build(["Al", "Cu"], seed)


def options(**values):
    return build(TrainingOptions, {"epochs": 4, "patience": None, "optimizer": LM, **values})


def weights(potential):
    values = [v.flatten() for v in potential.state_dict().values() if v.is_floating_point()]
    return torch.cat(values).numpy()


def test_learns(structures):
    potential = untrained()
    before = errors(structures, *three(potential.predict(structures)))
    record = fit(potential, structures, options(epochs=12), seed=0)
    assert record.errors["train"]["energy_rmse"] < 0.2 * before["energy_rmse"]
    assert record.errors["train"]["force_rmse"] < 0.7 * before["force_rmse"]


def three(predicted):
    return predicted.energies, predicted.forces, predicted.stresses


def test_the_record_says_what_happened(structures):
    potential = untrained()
    record = fit(potential, structures, options(validation=0.25), seed=0)
    assert record.n_structures == 6
    assert record.n_parameters == 2 * (20 * 4 + 4 + 4 + 1)
    assert set(record.errors["validation"]) == set(record.errors["train"])
    (curve,) = record.curves
    assert len(curve.train) == len(curve.validation)
    assert curve.validation[curve.best] == min(curve.validation)
    values = record.as_dict()
    assert values["curves"][0]["best"] == curve.best
    assert fit(untrained(), structures, options(), seed=0).errors["validation"] is None


def test_the_errors_are_those_of_the_weights_that_are_kept(structures):
    potential = untrained()
    record = fit(potential, structures, options(), seed=0)
    assert record.errors["train"] == errors(structures, *three(potential.predict(structures)))


@pytest.mark.parametrize("optimizer", [ADAM, LM, {"name": "lbfgs"}], ids=lambda o: o["name"])
def test_equal_seeds_give_equal_bytes(structures, optimizer):
    found = []
    for seed in (1, 1, 2):
        potential = untrained(seed)
        fit(potential, structures, options(optimizer=optimizer, epochs=2), seed)
        found.append(Checkpoint(potential).to_bytes())
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_stresses_of_another_unit_are_no_success():
    """A Gaussian process believes all labels, so that energies and forces suffer."""
    good = labelled(6)
    wrong = good.with_labels(good.energies, good.forces, good.stresses / GPa)
    model = ModelOptions.parse({"architecture": "gp", "cutoff": 4.0})
    learned = [
        fit(model.build(good.elements, 0), labels, model.training({"starts": 1}), 0).learned
        for labels in (good, wrong)
    ]
    assert learned == [True, False]


def test_forces_that_right_stresses_hide_are_no_success():
    """Those of other atoms: next to nothing is left of the variance, in weights of the loss."""
    frames, rng = [], np.random.default_rng(0)
    for _ in range(12):
        atoms = bulk("Cu", cubic=True, a=3.7)
        atoms.symbols[0] = "Au"
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.008 * rng.normal(size=(3, 3))), True)
        atoms.positions += 0.03 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(atoms)
    good = Configurations.from_ase(frames)
    forces = good.forces.reshape(-1, 4, 3)[:, [0, 2, 1, 3]].reshape(-1, 3)
    wrong = good.with_labels(good.energies, forces, good.stresses)
    model = ModelOptions.parse({"architecture": "gp", "cutoff": 5.0})
    training = model.training({"epochs": 5, "loss": {"force": 0.02, "stress": 1.0}})
    right, other = (
        fit(model.build(good.elements, 0), labels, training, 0) for labels in (good, wrong)
    )
    assert right.learned
    assert not other.learned
    (said,) = (w for w in other.warnings if w.startswith("the potential has learned badly"))
    assert "of the variance of the forces is left unexplained" in said


def test_only_good_labels_are_learned_from(structures):
    status = ["ok"] * 6 + ["unconverged", "unphysical"]
    energies = structures.energies.copy()
    energies[6:] = 1e6
    judged = replace(structures, energies=energies).with_info(status=status)
    one, other = untrained(), untrained()
    record = fit(one, judged, options(), seed=0)
    fit(other, structures[:6], options(), seed=0)
    assert record.n_structures == 6
    np.testing.assert_array_equal(weights(one), weights(other))


def test_without_energies_forces_are_learned(structures):
    bare = structures.with_labels(np.full(8, np.nan), structures.forces)
    bare = bare.with_info(status=["ok"] * 8)
    potential = untrained()
    record = fit(potential, bare, options(epochs=20), seed=0)
    assert set(record.errors["train"]) == {
        "force_mae",
        "force_rmse",
        "force_max",
        "force_rmse_by_structure",
    }
    assert record.curves[0].train[-1] < record.curves[0].train[0]
    assert np.isfinite(weights(potential)).all()


def test_one_structure_is_enough(structures):
    potential = untrained()
    record = fit(potential, structures[:1], options(validation=0.9), seed=0)
    assert "no structure is left for validation: a share of 0.9 of 1 is none" in record.warnings
    assert record.n_structures == 1
    assert np.isfinite(potential.predict(structures).energies).all()


def test_an_element_that_was_not_there_is_still_predicted(structures):
    potential = ModelOptions.parse(BPNN).build(["C", "Al", "Cu"], 0)
    fit(potential, structures, options(), seed=0)
    found = potential.predict(Configurations.from_ase(Atoms("CCu", [[0, 0, 0], [0, 0, 2.0]])))
    assert np.isfinite(found.energies).all()


def test_a_prior_is_subtracted_from_the_labels(structures):
    prior = single(MORSE, ["Al", "Cu"], 0)
    said = prior.predict(structures)
    rest = structures.with_labels(
        structures.energies - said.energies,
        structures.forces - said.forces,
        structures.stresses - said.stresses,
    )
    both, alone = untrained(prior=MORSE), untrained()
    loss = {"energy": 1.0, "force": 0.1, "stress": 0.1}
    record = fit(both, structures, options(loss=loss), seed=0)
    alone.references = dict(both.terms[1].references)
    expected = fit(alone, rest, options(loss=loss), seed=0)
    np.testing.assert_allclose(weights(both.terms[1]), weights(alone), rtol=1e-9)
    assert record.errors["train"] == pytest.approx(expected.errors["train"], rel=1e-6)


def test_training_goes_on_from_the_weights_there_are(structures):
    potential, lbfgs = untrained(), options(optimizer={"name": "lbfgs"}, epochs=2)
    first = fit(potential, structures, lbfgs, seed=0)
    second = fit(potential, structures, lbfgs, seed=0, initialise=False)
    assert second.curves[0].train[0] < first.curves[0].train[-1]


@dataclass(frozen=True)
class Scripted(Optimizer):
    """Sets the first weight to the number of the epoch, and yields losses from a list."""

    losses: tuple[float, ...] = ()

    def run(self, problem, epochs, seed) -> Iterator[float]:
        for epoch, loss in enumerate(self.losses[:epochs]):
            with torch.no_grad():
                problem.parameters[0].fill_(epoch)
            yield loss


@pytest.fixture
def scripted(monkeypatch):
    def use(*losses):
        monkeypatch.setattr(plugins, "make", lambda *_: Scripted(losses))

    return use


def test_the_weights_of_the_best_epoch_are_kept(structures, scripted):
    scripted(3.0, 1.0, 2.0, 1.5)
    potential = untrained()
    (curve,) = fit(potential, structures, options(), seed=0).curves
    assert curve.best == 1
    assert curve.train == [3.0, 1.0, 2.0, 1.5]
    assert next(potential.parameters()).unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("values", "epochs"),
    [
        ({"patience": 2}, 5),
        ({"patience": 2, "tolerance": 0.2}, 4),
        ({"patience": None}, 8),
        ({"patience": 1, "epochs": 2}, 2),
    ],
)
def test_stops_when_nothing_gets_better(structures, scripted, values, epochs):
    scripted(3.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.9, 0.1)
    potential = untrained()
    (curve,) = fit(potential, structures, options(**{"epochs": 8, **values}), seed=0).curves
    assert len(curve.train) == epochs


def test_progress_is_told(structures, scripted):
    scripted(3.0, 2.0)
    told = []
    fit(untrained(), structures, options(), 0, progress=lambda *now: told.append(now))
    assert told == [(1, 3.0), (2, 2.0)]


def test_the_validation_set_decides(structures, scripted):
    scripted(3.0, 2.0, 1.0)
    potential = untrained()
    (curve,) = fit(potential, structures, options(validation=0.5), seed=0).curves
    assert curve.train == [3.0, 2.0, 1.0]
    assert curve.best == int(np.argmin(curve.validation))
    assert next(potential.parameters()).unique().tolist() == [curve.best]


def test_the_validation_set_is_not_learned_from(structures):
    one, other = untrained(), untrained()
    once = options(validation=0.25, starts=1)
    first = fit(one, structures, once, seed=3)
    part = np.sort(np.random.default_rng(3).permutation(8)[:2])
    changed = structures.energies.copy()
    changed[part] += 5.0
    second = fit(other, replace(structures, energies=changed), once, seed=3)
    assert first.curves[0].train == second.curves[0].train
    assert min(second.curves[0].validation) > max(first.curves[0].validation)


def test_a_validation_set_decides_as_a_share_does(structures):
    order = np.random.default_rng(3).permutation(8)
    apart, judges = np.sort(order[2:]), np.sort(order[:2])
    share, given = untrained(), untrained()
    first = fit(share, structures, options(validation=0.25), seed=3)
    second = fit(given, structures[apart], options(), seed=3, validation=structures[judges])
    np.testing.assert_allclose(second.curves[0].train, first.curves[0].train, rtol=1e-6)
    np.testing.assert_allclose(second.curves[0].validation, first.curves[0].validation, rtol=1e-6)
    assert (second.curves[0].best, second.n_structures) == (first.curves[0].best, 6)
    with pytest.raises(ValueError, match="no share of the structures"):
        fit(given, structures, options(validation=0.5), seed=3, validation=structures)


def test_another_seed_validates_with_other_structures(structures):
    found = set()
    for seed in range(4):
        record = fit(untrained(), structures, options(epochs=1, validation=0.25), seed)
        found.add(record.curves[0].validation[0])
    assert len(found) == 4


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error(structures, scripted, loss):
    scripted(3.0, loss)
    with pytest.raises(DivergedError, match=f"the loss is {loss} in epoch 2"):
        fit(untrained(), structures, options(), seed=0)


@pytest.mark.parametrize("optimizer", [ADAM, LM, {"name": "lbfgs"}], ids=lambda o: o["name"])
@pytest.mark.parametrize("ensemble", [1, 2])
def test_atoms_at_the_same_place_are_told(structures, optimizer, ensemble):
    """They have no angle, and so no features that are numbers."""
    positions = structures.positions.copy()
    positions[1] = positions[0]
    broken = replace(structures, positions=positions)
    with pytest.raises(DivergedError, match="the loss is nan in epoch 1"):
        fit(untrained(ensemble=ensemble), broken, options(optimizer=optimizer), seed=0)


def test_steps_that_are_too_long_are_told(structures):
    wild = {"name": "lbfgs", "learning_rate": 1e200, "line_search": None}
    with pytest.raises(DivergedError, match="the loss is"):
        fit(untrained(), structures, options(optimizer=wild), seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: (untrained(), s[:0]), "nothing to learn from: of 0 structures none"),
        (
            lambda s: (untrained(), s.with_info(status=["failed"] * 8)),
            "of 8 structures none has a label with status 'ok'",
        ),
        (lambda s: (single(MORSE, ["Al", "Cu"], 0), s), "the potential 'morse' has no weights"),
        (
            lambda s: (Sum([untrained(0), untrained(1)]), s),
            "a sum can be trained if one term has weights, here 2 have",
        ),
        (
            lambda s: (single(BPNN, ["Cu"], 0), s),
            r"knows \['Cu'\], the structures have \['Al'\]",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(structures, make, message):
    potential, dataset = make(structures)
    with pytest.raises(ValueError, match=message):
        fit(potential, dataset, options(), seed=0)


def test_a_bootstrap_sample_is_drawn_with_replacement():
    samples = [bootstrap(200, seed) for seed in range(20)]
    assert all(len(s) == 200 and s.min() >= 0 and s.max() < 200 for s in samples)
    different = np.mean([len(np.unique(s)) / 200 for s in samples])
    assert different == pytest.approx(1 - np.exp(-1), abs=0.02)
    assert len({tuple(s) for s in samples}) == 20
    np.testing.assert_array_equal(bootstrap(1, 5), [0])


@pytest.fixture(params=[1, 2], ids=["one core", "two cores"])
def cores(request, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)))


@pytest.mark.parametrize("resample", [True, False])
def test_members_learn_as_if_alone(structures, cores, resample):
    """Each from its own sample, or each from everything."""
    committee = untrained(seed=2, ensemble=3, prior=MORSE)
    members = copy.deepcopy(committee.terms[1].members)
    record = fit(committee, structures, options(bootstrap=resample), seed=5)
    assert len(record.curves) == 3
    for k, member in enumerate(members):
        sample = bootstrap(8, member_seed(5, k)) if resample else np.arange(8)
        alone = Sum([committee.terms[0], member])
        member.references = dict(committee.terms[1].members[k].references)  # those of all labels
        found = fit(alone, structures[sample], options(), seed=member_seed(5, k))
        np.testing.assert_allclose(
            weights(committee.terms[1].members[k]), weights(member), rtol=1e-6, atol=1e-9
        )
        assert record.curves[k].train == pytest.approx(found.curves[0].train, rel=1e-6)


def test_members_differ(structures):
    committee = untrained(ensemble=3)
    fit(committee, structures, options(), seed=0)
    assert len({weights(member).tobytes() for member in committee.members}) == 3


def test_processes_change_nothing(structures, monkeypatch):
    found = []
    for cores in (1, 2, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        committee = untrained(ensemble=3)
        record = fit(committee, structures, options(optimizer=ADAM), seed=0)
        found.append((Checkpoint(committee).to_bytes(), record))
    assert found[0] == found[1] == found[2]


def test_processes_are_not_sent_the_structures(structures, monkeypatch):
    """They may be large; a worker has them from the start."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    def refuse(self):
        raise AssertionError("pickled")

    monkeypatch.setattr(module._Fitting, "__reduce__", refuse)
    fit(untrained(ensemble=2), structures, options(epochs=1), seed=0)


def test_no_process_inherits_threads(structures, monkeypatch):
    """A child would wait for ever for the threads that its parent had."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(module, "ProcessPoolExecutor", None)
    one, other = untrained(ensemble=2), untrained(ensemble=2)
    fit(one, structures, options(epochs=2, threads=2), seed=0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    fit(other, structures, options(epochs=2), seed=0)
    np.testing.assert_allclose(weights(one), weights(other), rtol=1e-6, atol=1e-9)


def test_the_number_of_threads_is_given_back(structures):
    before = torch.get_num_threads()
    fit(untrained(), structures, options(threads=before + 1, epochs=1), seed=0)
    assert torch.get_num_threads() == before


def test_an_error_in_a_process_comes_back(structures, scripted, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    scripted(float("nan"))
    with pytest.raises(DivergedError, match="the loss is nan in epoch 1"):
        fit(untrained(ensemble=2), structures, options(), seed=0)


def test_no_process_outlives_a_training_that_was_killed(structures, monkeypatch):
    """As where memory runs out; they would wait for their next piece of work for ever."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    read, write = os.pipe()

    def tell(epoch, loss):
        workers = [child.pid for child in multiprocessing.active_children()]
        os.write(write, json.dumps(workers).encode())
        signal.pause()

    def train():
        long = options(optimizer=ADAM, epochs=10**6)
        fit(untrained(ensemble=2), structures, long, seed=0, progress=tell)

    killed = multiprocessing.get_context("fork").Process(target=train)
    killed.start()
    os.close(write)
    workers = [psutil.Process(pid) for pid in json.loads(os.read(read, 100))]
    os.close(read)
    killed.kill()
    killed.join()
    try:
        assert len(workers) == 2
        assert not [one for one in psutil.wait_procs(workers, 30)[1] if one.status() != "zombie"]
    finally:
        for one in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def test_forces_of_a_trained_committee_are_those_of_its_mean_energy(structures):
    committee = untrained(ensemble=3, prior=MORSE)
    fit(committee, structures, options(), seed=0)
    atoms, step = structures[0].to_ase()[0], 1e-4
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[2, 1] += sign * step
        ends.append(committee.predict(Configurations.from_ase(moved)).energies[0])
    force = committee.predict(structures[0]).forces[2, 1]
    assert force == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_single_precision_is_trained(structures):
    potential = untrained().to(torch.float32)
    record = fit(potential, structures, options(optimizer={"name": "lbfgs"}), seed=0)
    assert potential.dtype == torch.float32
    assert record.errors["train"]["force_rmse"] < 1.0


@pytest.mark.parametrize(("precision", "dtype"), [(None, torch.float64), ("single", torch.float32)])
def test_weights_have_the_precision_they_are_trained_in(structures, precision, dtype):
    potential = untrained(ensemble=2)
    fit(potential, structures, options(precision=precision, optimizer=ADAM), seed=0)
    assert {weight.dtype for weight in potential.parameters()} == {dtype}
    assert np.isfinite(potential.predict(structures).energies).all()


@pytest.mark.parametrize("stress", [0.0, 1.0])
def test_the_mean_absolute_error_may_decide(structures, stress):
    """Of the virial too, where stresses are learned."""
    potential, loss = untrained(), {"stress": stress}
    how = options(validation=0.25, criterion="mae", loss=loss)
    record = fit(potential, structures, how, seed=0)
    (curve,) = record.curves
    held_out = structures[split(len(structures), 0.25, 0)[1]]
    said = potential.predict(held_out)
    virials = np.linalg.det(held_out.cells)[:, None, None] * (said.stresses - held_out.stresses)
    expected = (
        np.abs(said.energies - held_out.energies).mean()
        + np.abs(said.forces - held_out.forces).mean()
        + (np.abs(virials).mean() if stress else 0.0)
    )
    assert curve.validation[curve.best] == pytest.approx(expected, rel=1e-10)
    assert curve.validation[curve.best] == min(curve.validation)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_an_error(structures):
    with pytest.raises(ValueError, match="finds no CUDA device here: choose 'cpu'"):
        fit(untrained(), structures, options(device="cuda"), 0)
