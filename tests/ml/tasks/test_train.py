import json
import lzma
import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.tasks import train
from aiida_mlal.ml.tasks.runner import execute, parse
from aiida_mlal.ml.uncertainty.grade import Grade

MODEL = {"architecture": "bpnn", "prior": {"architecture": "morse"}}
TASK = {"task": "train", "version": 1, "model": MODEL, "training": {"epochs": 3}, "seed": 2}

MLAL = "from aiida_mlal.ml.cli import mlal; mlal()"


def test_writes_a_potential_that_has_learned(dataset, folder):
    result = execute(TASK)
    assert result["status"] == "ok", result
    assert result["n_structures"] == 4
    predicted = Checkpoint.load("potential.safetensors").potential.predict(dataset)
    mae = abs((predicted.energies - dataset.energies) / 4).mean()
    assert mae < 0.02
    assert result["errors"]["train"]["energy_mae"] == pytest.approx(mae)
    assert result["epochs"] == len(result["curves"][0]["train"])


def test_a_validation_set_is_not_learned_from(dataset, folder):
    dataset[[0, 1]].save("dataset.safetensors")
    dataset[[2, 3]].save("validation.safetensors")
    task = {**TASK, "validation": "validation.safetensors"}
    result = execute(task)
    assert result["status"] == "ok", result
    assert result["n_structures"] == 2
    trained = Checkpoint.load("potential.safetensors").potential
    shift = dataset[[2, 3]].with_labels(dataset[[2, 3]].energies + 1.0, dataset[[2, 3]].forces)
    shift.save("validation.safetensors")
    assert execute({**task, "training": {"epochs": 1, "starts": 1}})["status"] == "ok"
    one = Checkpoint.load("potential.safetensors").potential
    dataset[[2, 3]].save("validation.safetensors")
    execute({**task, "training": {"epochs": 1, "starts": 1}})
    same = Checkpoint.load("potential.safetensors").potential
    np.testing.assert_array_equal(one.predict(dataset).forces, same.predict(dataset).forces)
    predicted = trained.predict(dataset[[2, 3]])
    mae = abs(predicted.energies - dataset[[2, 3]].energies).mean() / 4
    assert result["errors"]["validation"]["energy_mae"] == pytest.approx(mae)


def test_there_is_one_validation_set(dataset, folder):
    task = {**TASK, "validation": "dataset.safetensors", "training": {"validation": 0.5}}
    assert "no share of the training set can be one" in execute(task)["message"]


def test_the_potential_says_how_it_was_trained(dataset, folder):
    execute(TASK)
    training = Checkpoint.load("potential.safetensors").training
    assert training["seed"] == 2
    assert training["model"] == MODEL
    assert training["options"]["epochs"] == 3
    assert training["n_structures"] == 4


def test_equal_inputs_give_equal_bytes(dataset, folder):
    execute(TASK)
    first = (folder / "potential.safetensors").read_bytes()
    execute(TASK)
    assert (folder / "potential.safetensors").read_bytes() == first
    execute({**TASK, "seed": 3})
    assert (folder / "potential.safetensors").read_bytes() != first


def test_only_good_labels_are_learned_from(copper, folder):
    energies = copper.energies.copy()
    energies[1] = 1e6
    bad = copper.with_labels(energies, copper.forces).with_info(
        status=["ok", "unphysical", "ok", "ok"]
    )
    bad.save("dataset.safetensors")
    result = execute(TASK)
    assert result["n_structures"] == 3
    assert "1 of 4 structures have no good label" in result["message"]
    assert result["errors"]["train"]["energy_max"] < 0.1


def test_nothing_to_learn_from_is_explained(copper, folder):
    copper.with_info(status=["failed"] * 4).save("dataset.safetensors")
    result = execute(TASK)
    assert result["status"] == "invalid_input"
    assert "no structure with a label of status 'ok'" in result["message"]


def test_training_goes_on_from_given_weights(dataset, folder):
    execute({**TASK, "training": {"epochs": 30, "patience": None}, "output": "initial.safetensors"})
    result = execute({**TASK, "training": {"epochs": 1}, "initial": "initial.safetensors"})
    afresh = execute({**TASK, "training": {"epochs": 1}})
    assert result["curves"][0]["train"][0] < afresh["curves"][0]["train"][0] / 2


def test_given_scales_are_kept_for_new_structures(dataset, copper, folder):
    """With steps of no length, the potential stays what it was."""
    execute({**TASK, "output": "initial.safetensors"})
    copper[[2]].save("dataset.safetensors")
    still = {"epochs": 1, "optimizer": {"name": "adam", "learning_rate": 1e-12}}
    execute({**TASK, "training": still, "initial": "initial.safetensors"})
    before, after = (
        Checkpoint.load(f"{name}.safetensors").potential.predict(copper)
        for name in ("initial", "potential")
    )
    np.testing.assert_allclose(after.energies, before.energies, atol=1e-8)


def test_weights_of_another_model_are_refused(dataset, folder):
    execute({**TASK, "output": "initial.safetensors"})
    result = execute({**TASK, "model": {"architecture": "bpnn"}, "initial": "initial.safetensors"})
    assert result["status"] == "invalid_input"
    assert "not of the model that is to be trained" in result["message"]


def test_options_that_the_weights_do_not_show_are_compared_too(dataset, folder):
    execute({**TASK, "output": "initial.safetensors"})
    result = execute({**TASK, "model": {**MODEL, "cutoff": 5.5}, "initial": "initial.safetensors"})
    assert result["status"] == "invalid_input"
    assert "cutoff" in result["message"]


def test_committees_are_trained_member_by_member(dataset, folder):
    result = execute({**TASK, "model": {**MODEL, "ensemble": 2}})
    assert len(result["curves"]) == 2
    potential = Checkpoint.load("potential.safetensors").potential
    assert isinstance(potential.terms[1], Ensemble)


def test_divergence_has_its_own_word(dataset, folder):
    optimizer = {"name": "adam", "learning_rate": 1e300}
    result = execute({**TASK, "training": {"epochs": 50, "optimizer": optimizer}})
    assert result["status"] == "diverged", result
    assert not (folder / "potential.safetensors").exists()


@pytest.mark.parametrize("ensemble", [1, 2, 5])
def test_an_interrupted_training(copper, tmp_path, monkeypatch, ensemble):
    many = Configurations.concatenate([copper] * 10)
    many.save(tmp_path / "dataset.safetensors")
    training = {"epochs": 100000, "patience": None, "optimizer": {"name": "adam"}}
    task = {**TASK, "training": training, "model": {**MODEL, "ensemble": ensemble}}
    (tmp_path / "task.json").write_text(json.dumps(task))
    process = subprocess.Popen(
        [sys.executable, "-c", MLAL, "run", str(tmp_path / "task.json")],
        stderr=subprocess.PIPE,
    )
    try:
        start, all_begun = time.monotonic(), ensemble < 5  # of five some wait for a processor
        while time.monotonic() - start < 120 and _epoch(tmp_path) < (2 if all_begun else 0):
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "interrupted"
    if ensemble == 1:
        assert result["epochs"] > 0
        assert "potential.safetensors has the weights after" in result["message"]
    again = load_potential(tmp_path / "potential.safetensors")
    assert again.elements == ("Cu",)
    assert np.isfinite(again.predict(many).forces).all()
    if all_begun:
        (tmp_path / "one").mkdir()
        many.save(tmp_path / "one" / "dataset.safetensors")
        monkeypatch.chdir(tmp_path / "one")
        assert execute({**task, "training": {**training, "epochs": 1}})["status"] == "ok"
        one = load_potential("potential.safetensors")
        assert _error(again, many) < _error(one, many)


def _epoch(folder):
    """What the task has told, -1 before it tells anything."""
    told = folder / "progress.json"
    return json.loads(told.read_text())["epoch"] if told.exists() else -1


def _error(potential, known):
    return abs(potential.predict(known).forces - known.forces).mean()


def test_no_process_is_left(dataset, folder):
    execute({**TASK, "model": {**MODEL, "ensemble": 2}})
    assert multiprocessing.active_children() == []
    assert np.isfinite(dataset.energies).all()


MTP = {"architecture": "mtp", "level": 6, "radial_basis_size": 4}
PROJECTION = {"epochs": 5, "optimizer": {"name": "variable_projection"}}


@pytest.mark.parametrize("name", ["potential.mtp", "potential.almtp", "potential.safetensors"])
def test_moment_tensor_potentials_in_any_format(dataset, folder, name):
    task = {"task": "train", "model": MTP, "training": PROJECTION}
    result = execute({**task, "output": name})
    assert result["status"] == "ok", result
    predicted = load_potential(name, ["Cu"]).predict(dataset)
    mae = abs((predicted.energies - dataset.energies) / 4).mean()
    assert result["errors"]["train"]["energy_mae"] == pytest.approx(mae, rel=1e-4)
    assert mae < 0.01


def test_structures_in_files_of_mlip(copper, folder):
    files.write(copper, "train.cfg", ["Cu"])
    (folder / "train.cfg.xz").write_bytes(lzma.compress((folder / "train.cfg").read_bytes()))
    task = {"task": "train", "model": MTP, "training": PROJECTION, "elements": ["Cu"]}
    results = [execute({**task, "dataset": f"train.cfg{end}"}) for end in ("", ".xz")]
    assert results[0]["errors"]["train"] == results[1]["errors"]["train"]
    assert Checkpoint.load("potential.safetensors").potential.elements == ("Cu",)


def test_formats_of_mlip_hold_no_other_models(dataset, folder):
    for model in (MODEL, {**MTP, "ensemble": 2}, {**MTP, "prior": {"architecture": "morse"}}):
        result = execute({**TASK, "model": model, "output": "potential.mtp"})
        assert result["status"] == "invalid_input"
        assert "write a file .safetensors" in result["message"]


@pytest.mark.parametrize("name", ["initial.mtp", "initial.safetensors"])
def test_training_goes_on_from_a_lower_level(dataset, folder, name):
    task = {"task": "train", "training": PROJECTION, "elements": ["Cu"]}
    execute({**task, "model": {**MTP, "level": 4}, "output": name})
    still = {"epochs": 1, "optimizer": {"name": "adam", "learning_rate": 1e-12}}
    task = {**task, "model": MTP, "training": still, "initial": name}
    assert execute(task)["status"] == "ok"
    before, after = (load_potential(n, ["Cu"]) for n in (name, "potential.safetensors"))
    np.testing.assert_allclose(
        after.predict(dataset).energies, before.predict(dataset).energies, rtol=1e-6
    )


def test_new_elements_are_added(dataset, copper, folder):
    task = {"task": "train", "model": MTP, "training": PROJECTION}
    execute({**task, "output": "initial.safetensors"})
    numbers = copper.numbers.copy()
    numbers[::2] = 28
    replace(copper, numbers=numbers).save("dataset.safetensors")
    result = execute({**task, "initial": "initial.safetensors"})
    assert result["status"] == "ok", result
    assert Checkpoint.load("potential.safetensors").potential.elements == ("Ni", "Cu")


@pytest.mark.parametrize("name", ["first.almtp", "first.safetensors"])
def test_new_elements_are_added_to_a_potential_that_names_its_own(dataset, folder, name):
    model = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
    task = {**TASK, "model": model, "training": {"epochs": 1}}
    execute({**task, "output": name})
    more = {**task, "initial": name, "output": "more.mtp", "elements": ["Au", "Cu"]}
    result = execute(more)
    assert result["status"] == "ok", result
    assert load_potential("more.mtp").types == ("Au", "Cu")


def test_elements_that_are_named_are_all(dataset, folder):
    model = {"architecture": "mtp", "level": 2}
    result = execute({**TASK, "model": model, "output": "p.mtp", "elements": ["Au", "Ag"]})
    assert result["status"] == "invalid_input"
    assert "it has ['Cu'] by its own words, got the elements" in result["message"]


@pytest.mark.parametrize("output", ["p.foo", "nowhere/p.safetensors", "nowhere/p.almtp"])
def test_where_nothing_can_be_written_nothing_is_trained(dataset, folder, output):
    task = {**TASK, "model": {"architecture": "mtp", "level": 2}, "training": {"epochs": 10**6}}
    result = execute({**task, "output": output})
    assert result["status"] == "invalid_input"
    assert output in result["message"]


def test_types_keep_their_numbers(copper, folder):
    """Type 0 of the structures is a copper atom, type 1 does not occur."""
    files.write(copper, "train.cfg", ["Cu", "Al"])
    task = {"task": "train", "model": MTP, "training": PROJECTION, "elements": ["Cu", "Al"]}
    result = execute({**task, "dataset": "train.cfg", "output": "potential.mtp"})
    assert result["status"] == "ok", result
    predicted = load_potential("potential.mtp", ["Cu", "Al"]).predict(copper)
    mae = abs((predicted.energies - copper.energies) / 4).mean()
    assert result["errors"]["train"]["energy_mae"] == pytest.approx(mae, rel=1e-4)


def test_types_are_those_of_the_files(copper, folder):
    """What is not said of a file is that of the file it goes with."""
    task = {"task": "train", "model": MTP, "training": {"epochs": 1, "patience": None}}
    files.write(copper, "named.cfg", ["Cu", "Al"])
    text = (folder / "named.cfg").read_text()
    (folder / "nameless.cfg").write_text(text.replace(" Feature   elements\tCu Al\n", ""))
    named = {**task, "dataset": "named.cfg", "validation": "nameless.cfg"}
    assert execute({**named, "output": "first.mtp"})["status"] == "ok"
    assert load_potential("first.mtp").types == ("Cu", "Al")
    again = {**task, "dataset": "nameless.cfg", "initial": "first.mtp"}
    result = execute({**again, "output": "second.mtp"})
    said = "nameless.cfg: its types count as Cu, Al, as in what it goes with"
    assert (result["status"], result["message"]) == ("ok", said)
    assert load_potential("second.mtp").types == ("Cu", "Al")
    more = replace(copper, numbers=np.where(copper.owner > 1, 28, copper.numbers))
    more.save("dataset.safetensors")
    assert execute({**task, "initial": "first.mtp", "output": "third.mtp"})["status"] == "ok"
    assert load_potential("third.mtp").types == ("Cu", "Al", "Ni")


def test_any_potential_carries_what_its_uncertainty_needs(dataset, folder):
    """A guard then knows what to measure without being told."""
    model = {**MODEL, "hidden": [3]}
    asked = {"name": "grade", "mode": "neighbourhood"}
    result = execute({**TASK, "model": model, "uncertainty": asked})
    assert result["uncertainty"]["name"] == "grade"
    assert result["uncertainty"]["mode"] == "neighbourhood"
    assert result["uncertainty"]["rank"] > 0
    potential = load_potential("potential.safetensors")
    measure = Guard(select=2.0).measure(potential, dataset)
    assert measure == Grade(mode="neighbourhood")
    assert measure.measure(potential, dataset).values.max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("prior", [None, {"architecture": "zbl"}])
@pytest.mark.parametrize(
    ("model", "measure"),
    [({"architecture": "gp", "cutoff": 4.0}, "gp_std"), (MTP, "grade")],
)
def test_the_usual_measure_of_a_model_is_carried_on_a_prior_too(
    dataset, folder, model, measure, prior
):
    result = execute({**TASK, "model": {**model, "prior": prior}, "training": {"epochs": 1}})
    assert result["uncertainty"]["name"] == measure
    found = Guard(select=2.0).measure(load_potential("potential.safetensors"), dataset)
    assert found.kind == measure


def test_an_uncertainty_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="uncertainty: unknown uncertainty 'grades', did you"):
        parse({**TASK, "uncertainty": {"name": "grades"}})
    with pytest.raises(ValueError, match="unknown option 'modes'"):
        parse({**TASK, "uncertainty": {"name": "grade", "modes": 1}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "expected a seed of 0 or more"),
        ({"seed": 10**20}, "got 100000000000000000000"),
        (
            {"uncertainty": {"name": "last_layer_energy", "ridge": -1}},
            "^uncertainty: expected a ridge of 0 or more",
        ),
        ({"model": {"architecture": "morse"}}, "^model: 'morse' has no weights to be trained"),
        ({"uncertainty": {"name": "force_std"}}, "^uncertainty: .*'ensemble' of 2 or more"),
        (
            {"model": {"architecture": "mtp"}, "uncertainty": {"name": "oed"}},
            r"^uncertainty: .*'mtp' has no last layer, models that have are \['bpnn', 'gmnn'\]",
        ),
    ],
)
def test_what_a_model_cannot_be_trained_for_is_known_by_the_options(changes, message):
    with pytest.raises(ValueError, match=message):
        parse({**TASK, **changes})


def test_an_empty_training_set_is_said_to_be_so(folder):
    Configurations.empty().save("dataset.safetensors")
    result = execute(TASK)
    assert result["status"] == "invalid_input"
    assert result["message"] == "dataset.safetensors has no structures to learn from"


@pytest.mark.parametrize(
    "model",
    [
        {**MODEL, "hidden": [3], "ensemble": 2},
        {"architecture": "gmnn", "hidden": [4], "cutoff": 4.0},
        {"architecture": "mtp", "level": 4, "cutoff": 4.0},
    ],
    ids=lambda model: model["architecture"],
)
def test_a_potential_knows_elements_that_no_label_has(copper, folder, model):
    """What was drawn first from a pool may lack an element that the rest of it has."""
    copper.save("dataset.safetensors")
    options = {"epochs": 2, "optimizer": {"name": "lbfgs"}}
    task = {**TASK, "model": model, "training": options, "more_elements": ["Ag", "Cu"]}
    result = execute(task)
    assert result["status"] == "ok", result
    potential = load_potential("potential.safetensors")
    assert potential.elements == ("Cu", "Ag")
    said = potential.predict(replace(copper, numbers=np.where(copper.numbers, 47, 47)))
    assert np.isfinite(said.energies).all()
    assert np.isfinite(said.forces).all()


def test_given_weights_that_learn_nothing_are_left(folder):
    """A potential of CuNi knows other features than those of copper at another volume."""
    for name, symbols, scale in (("cuni", "Ni2Cu2", 1.0), ("cu", "Cu4", 1.06)):
        frames = []
        for seed in range(6):
            atoms = bulk("Cu", cubic=True) * (1, 1, 1)
            atoms.symbols = symbols
            atoms.set_cell(scale * atoms.cell, scale_atoms=True)
            atoms.rattle(0.1, seed=seed)
            atoms.calc = EMT()
            atoms.get_forces()
            frames.append(atoms)
        Configurations.from_ase(frames).save(f"{name}.safetensors")
    task = {"task": "train", "model": {"architecture": "bpnn", "hidden": [10]}, "seed": 1}
    task["training"] = {"epochs": 30}
    first = {**task, "dataset": "cuni.safetensors", "output": "initial.safetensors"}
    assert execute(first)["status"] == "ok"
    result = execute({**task, "dataset": "cu.safetensors", "initial": "initial.safetensors"})
    kept = next(start for start in result["curves"][0]["starts"] if start["kept"])
    assert kept["unexplained"] < 0.05
    if kept["seed"] is not None:
        assert "the training from the weights given stalled" in result["message"]


def test_nothing_need_be_said_to_train_a_moment_tensor_potential(folder, copper):
    copper.save("dataset.safetensors")
    result = execute(
        {"task": "train", "model": {"architecture": "mtp", "level": 2}, "training": {}}
    )
    assert result["status"] == "ok", result
    found = Checkpoint.load("potential.safetensors")
    assert found.training["options"]["optimizer"] == {"name": "variable_projection"}
    assert found.training["options"]["loss"]["stress"] == 0.001
    assert found.potential.radial.min_dist == pytest.approx(2.27, abs=0.2)
    assert result["errors"]["train"]["force_rmse"] < 0.2


def test_weights_are_written_while_a_training_goes_on(dataset, folder, monkeypatch):
    """For one that is killed; and gone when it has come to its end."""
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    seen = []
    progress = train.Progress.__call__

    def look(self, **values):
        checkpoint = Checkpoint.load("potential.safetensors.begun")
        seen.append((values["epoch"], checkpoint.training["epochs"]))
        progress(self, **values)

    monkeypatch.setattr(train.Progress, "__call__", look)
    assert execute(TASK)["status"] == "ok"
    assert seen[0] == (1, 1)
    assert all(told == kept for told, kept in seen)
    assert not (folder / "potential.safetensors.begun").exists()
