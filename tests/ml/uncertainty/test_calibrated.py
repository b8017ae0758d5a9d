"""Uncertainties in units of errors, with a factor that is kept with the weights."""

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.tasks.runner import execute
from aiida_mlal.ml.uncertainty.calibrated import Calibrated
from aiida_mlal.ml.uncertainty.carried import carry, measure_of

BPNN = {"architecture": "bpnn", "hidden": [6], "cutoff": 4.0}
MODELS = {
    "force_std": {**BPNN, "ensemble": 3},
    "oed": {"architecture": "gmnn", "hidden": [8], "cutoff": 4.0},
    "last_layer_force": {**BPNN, "prior": {"architecture": "morse", "cutoff": 4.0}},
    "grade": {"architecture": "mtp", "level": 4, "cutoff": 4.0},
}
"""A model for each measure with values for atoms, and another way to be evaluated."""
OPTIONS = {"grade": {"mode": "neighbourhood"}}


def structures(n, seed):
    """Rattled copper, labelled by another network of random weights."""
    frames, rng = [], np.random.default_rng(seed)
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(rng.uniform(0.05, 0.15), rng=rng)
        frames.append(atoms)
    return ModelOptions.parse(BPNN).build(["Cu"], 99).predict(Configurations.from_ase(frames))


def carrying(base, n_held_out=60, **options):
    """Return a potential that carries a calibrated measure."""
    potential = ModelOptions.parse(MODELS[base]).build(["Cu"], 1)
    measure = {"name": "calibrated", "base": {"name": base, **OPTIONS.get(base, {})}, **options}
    about = carry(potential, measure, structures(12, 0), structures(n_held_out, 1))
    return potential, measure_of(potential, structures(1, 0)), about


def sizes(potential, labelled):
    """Return the length of the error of each force."""
    return np.linalg.norm(potential.predict(labelled).forces - labelled.forces, axis=1)


@pytest.mark.parametrize("base", MODELS)
def test_errors_of_like_structures_are_below_it(base):
    potential, measure, about = carrying(base, level=0.8)
    new = structures(100, 2)
    found = measure.measure(potential, new)
    assert found.unit == "eV/Å"
    assert about["n_held_out"] == 60
    within = (sizes(potential, new) <= found.per_atom).mean()
    assert within == pytest.approx(0.8, abs=0.1)  # of 60 structures
    largest = [found.per_atom[new.owner == i].max() for i in range(len(new))]
    np.testing.assert_array_equal(found.values, largest)


def test_the_factor_is_that_of_the_definition():
    potential, _, about = carrying("force_std", level=0.9)
    held_out = structures(60, 1)
    spread = plugins.make("uncertainties", {"name": "force_std"}).measure(potential, held_out)
    ratios = np.sort(sizes(potential, held_out) / spread.per_atom)
    assert about["factor"] == pytest.approx(ratios[int(np.ceil(241 * 0.9)) - 1])
    _, _, about = carrying("force_std", method="gaussian")
    assert about["factor"] == pytest.approx(np.sqrt((ratios**2).mean()))


@pytest.mark.parametrize("base", MODELS)
def test_is_the_same_beside_kernels(base):
    potential, measure, _ = carrying(base, n_held_out=5)
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    expected = measure.measure(potential, Configurations.from_ase(atoms))
    for engine in ("numba", "torch"):
        moved = atoms.copy()
        moved.calc = MLCalculator(potential, measure, engine=engine)
        moved.get_forces()
        assert (moved.calc.engine.name == "torch") == (engine == "torch")
        results = moved.calc.results
        np.testing.assert_allclose(results["uncertainty"], expected.values[0], rtol=1e-6)
        np.testing.assert_allclose(results["uncertainties"], expected.per_atom, rtol=1e-6)


@pytest.mark.parametrize("base", MODELS)
def test_is_kept_in_the_file(base, tmp_path):
    potential, measure, _ = carrying(base, n_held_out=5)
    Checkpoint(potential).save(tmp_path / "potential.safetensors")
    again, some = load_potential(tmp_path / "potential.safetensors"), structures(3, 4)
    found = measure_of(again, some)
    assert found == measure
    np.testing.assert_array_equal(
        found.measure(again, some).values, measure.measure(potential, some).values
    )


def test_a_guard_compares_it_with_limits_in_eV_per_angstrom():
    potential, measure, _ = carrying("oed", n_held_out=5)
    start = structures(1, 7)
    value = float(measure.measure(potential, start).values[0])
    for limit, reason in ((0.99 * value, "uncertain"), (1.01 * value, "max_steps")):
        guard = Guard(break_=limit, max_force=None, min_distance=None)
        assert guard.measure(potential, start) == measure
        run = Relax(max_steps=0, guard=guard).run(potential, start).runs[0]
        assert run.reason == reason
        assert run.uncertainty == pytest.approx(value)


def test_the_query_uncertainty_goes_by_it():
    potential, measure, _ = carrying("oed", n_held_out=5)
    pool = structures(8, 3)
    query = {"name": "uncertainty", "n": 3}
    found = select(pool, Configurations.empty(), query, potential=potential)
    values = measure.measure(potential, pool).values
    assert found.indices == np.argsort(-values)[:3].tolist()


def test_other_weights_need_another_factor():
    potential, measure, _ = carrying("oed", n_held_out=5)
    other, _, _ = carrying("oed", n_held_out=5)
    other.scale.data *= 1.1
    with pytest.raises(ValueError, match="other weights"):
        measure.measure(other, structures(1, 3))
    potential.extras = {}
    with pytest.raises(ValueError, match="carries no factor of calibration"):
        measure.measure(potential, structures(1, 3))


def test_another_factor_is_not_taken_for_this_one():
    potential, _, _ = carrying("force_std", n_held_out=5)
    with pytest.raises(ValueError, match=r'"conformal".*not of .*"gaussian"'):
        Calibrated(method="gaussian").measure(potential, structures(1, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": {"name": "force_stt"}}, "did you mean 'force_std'"),
        ({"base": {"name": "calibrated"}}, "not calibrated yet"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"method": "conformial"}, "did you mean 'conformal'"),
    ],
)
def test_refuses_what_means_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        plugins.make("uncertainties", {"name": "calibrated", **options})


def test_wants_labels_that_were_not_learned_from():
    potential = ModelOptions.parse(MODELS["force_std"]).build(["Cu"], 1)
    with pytest.raises(ValueError, match="labels that are not learned from"):
        Calibrated().fitted(potential, structures(4, 0))
    with pytest.raises(ValueError, match="has no values for atoms"):
        Calibrated({"name": "energy_std"}).fitted(potential, structures(4, 0), structures(2, 1))


def test_training_calibrates_with_what_it_did_not_learn_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    every = structures(10, 0)
    every.save("dataset.safetensors")
    task = {"task": "train", "version": 1, "model": MODELS["oed"], "seed": 2}
    task |= {"uncertainty": {"name": "calibrated", "base": {"name": "oed"}}}
    options = {"epochs": 1, "optimizer": {"name": "adam"}}
    assert "give a validation set" in execute({**task, "training": options})["message"]
    result = execute({**task, "training": {**options, "validation": 0.3}})
    assert result["status"] == "ok", result
    assert result["uncertainty"]["n_held_out"] == 3
    assert result["uncertainty"]["base"]["n_structures"] == result["n_structures"] == 7
    potential = load_potential("potential.safetensors")
    assert isinstance(Guard(select=0.1).measure(potential, every), Calibrated)
    structures(4, 5).save("validation.safetensors")
    result = execute({**task, "training": options, "validation": "validation.safetensors"})
    assert result["uncertainty"]["n_held_out"] == 4
    assert result["uncertainty"]["base"]["n_structures"] == 10
