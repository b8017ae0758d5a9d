import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.tasks.runner import execute
from aiida_mlal.ml.tasks.select import Select


@pytest.fixture
def pool(copper, folder):
    found = copper.with_info(run=[0, 0, 1, 1], uncertainty=[0.4, 0.1, 0.2, 0.3])
    found.save("pool.safetensors")
    return found


def test_writes_what_was_chosen_in_the_order_of_the_choice(pool):
    pool[[0]].save("train.safetensors")
    result = execute({"task": "select", "strategy": {"name": "final_uncertainty", "n": 3}})
    assert result["status"] == "ok", result
    assert [s["index"] for s in result["selected"]] == [1, 3, 2]
    assert [r["index"] for r in result["rejected"]] == [0]
    chosen = Configurations.load("selected.safetensors")
    assert chosen.keys == [s["key"] for s in result["selected"]]
    assert set(chosen.status) == {"unlabelled"}
    assert np.isnan(chosen.energies).all()


def test_labels_are_kept_where_that_is_asked_for(pool):
    task = {"task": "select", "strategy": {"name": "final_uncertainty", "n": 3}, "train": None}
    execute({**task, "keep_labels": True})
    chosen = Configurations.load("selected.safetensors")
    assert len(chosen) == 3
    np.testing.assert_array_equal(chosen.energies, pool.energies[chosen.info["index"]])
    assert set(chosen.status) == {"ok"}


def test_too_few_are_said(pool):
    pool[[0]].save("train.safetensors")
    result = execute({"task": "select", "strategy": {"name": "random", "n": 9}})
    assert result["status"] == "ok"
    assert "asked for 9 structures, chose 3" in result["message"]


def test_nothing_left_is_no_error(pool):
    pool.save("train.safetensors")
    result = execute({"task": "select", "strategy": {"name": "random", "n": 9}})
    assert result["status"] == "ok"
    assert result["selected"] == []
    assert len(Configurations.load("selected.safetensors")) == 0


def test_what_was_taken_before_is_no_candidate(pool):
    task = {"task": "select", "strategy": {"name": "random", "n": 4}, "train": None}
    result = execute({**task, "taken": [2, 0], "filters": {"duplicate": None}})
    assert sorted(s["index"] for s in result["selected"]) == [1, 3]
    assert result["rejected"] == []
    assert result["n_pool"] == 4
    result = execute({**task, "taken": [1, 4]})
    assert result["status"] == "invalid_input"
    assert "a pool of 4, got [1, 4]" in result["message"]


def test_filters_count_in_the_whole_pool(pool):
    pool[[2]].save("train.safetensors")
    result = execute({"task": "select", "strategy": {"name": "random"}, "taken": [0]})
    assert [r["index"] for r in result["rejected"]] == [2]
    final = {"task": "select", "strategy": {"name": "final", "n": 2}, "train": None, "taken": [3]}
    assert [s["index"] for s in execute(final)["selected"]] == [1, 2]


def test_what_was_chosen_carries_what_the_potential_says_of_it(copper, potential, folder):
    copper.save("pool.safetensors")
    copper[[0]].save("train.safetensors")
    task = {"task": "select", "strategy": {"name": "random"}, "potential": "potential.safetensors"}
    execute(task)
    chosen = Configurations.load("selected.safetensors")
    assert chosen.keys[0] in copper.keys
    expected = potential.predict(chosen)
    np.testing.assert_allclose(chosen.info["predicted_energy"], expected.energies)
    np.testing.assert_allclose(chosen.arrays["predicted_forces"], expected.forces)
    assert np.isnan(chosen.energies).all()


def test_without_labelled_structures(pool):
    result = execute({"task": "select", "strategy": {"name": "random"}, "train": None})
    assert (result["status"], result["n_train"]) == ("ok", 0)


def test_potential_knows_what_the_pool_does_not(copper, potential, folder):
    copper.save("pool.safetensors")
    task = {"task": "select", "strategy": {"name": "uncertainty"}, "train": None}
    assert "no potential was given" in execute(task)["message"]
    result = execute({**task, "potential": "potential.safetensors", "filters": {"max_force": 99.0}})
    assert result["status"] == "ok"
    forces = [member.predict(copper).forces for member in potential.members]
    apart = np.linalg.norm(forces[0] - forces[1], axis=1) / 2
    worst = [apart[copper.owner == i].max() for i in range(4)]
    assert result["selected"][0]["index"] == int(np.argmax(worst))
    assert result["selected"][0]["score"] == pytest.approx(max(worst))


@pytest.mark.parametrize("name", ["oed", "lcmd", "max_det", "latent_distance"])
def test_strategies_compute_what_they_need_with_the_potential(pool, name):
    model = {"architecture": "bpnn", "hidden": [3], "cutoff": 3.0}
    potential = ModelOptions.parse(model).build(pool.elements, 0)
    Checkpoint(potential).save("potential.safetensors")
    pool[[0]].save("train.safetensors")
    task = {"task": "select", "strategy": {"name": name, "n": 2}}
    result = execute({**task, "potential": "potential.safetensors"})
    assert result["status"] == "ok", result
    assert len(result["selected"]) == 2
    assert all(chosen["score"] >= 0 for chosen in result["selected"])
    chosen = Configurations.load("selected.safetensors")
    assert ("informativeness" in chosen.info) == (name == "oed")
    assert "needs a potential" in execute(task)["message"]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"name": "lcdm"}, "did you mean 'lcmd'"),
        ({"name": "lcmd", "features": {"name": "gradent"}}, "did you mean 'gradient'"),
        ({"name": "lcmd", "features": {"name": "gradient", "size": 0}}, "size above 0"),
        ({"name": "lcmd", "features": "gradient"}, "expected a mapping"),
        ({"name": "max_diag", "sigma": -1.0}, "sigma above 0 or null, got -1"),
        ({"name": "max_det", "sigma": None}, "sigma above 0, got null"),
        ({"name": "oed", "quantity": "force"}, "did you mean 'forces'"),
        ({"name": "oed", "ridge": -1.0}, "ridge of 0 or more, got -1"),
        ({"name": "oed", "n": 0}, "above 0, got 0"),
        ({"name": "qbc", "uncertainty": "grade"}, "unknown choice 'grade'"),
        ({"name": "latent_distance", "neighbours": 0}, "neighbours above 0, got 0"),
    ],
)
def test_wrong_options_are_explained(pool, strategy, message):
    result = execute({"task": "select", "strategy": strategy})
    assert result["status"] == "invalid_input"
    assert message in result["message"]


def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="expected a seed of 0 or more"):
        Select({"name": "random"}, seed=-1)


def test_select_add_has_no_filters_unless_they_are_asked_for(tmp_path, monkeypatch):
    """The command ``mlal select -s maxvol``, and a campaign that gives its filters."""
    monkeypatch.chdir(tmp_path)
    elements = {"architecture": "mtp", "level": 4}
    Checkpoint(ModelOptions.parse(elements).build(["Cu"], 0)).save("potential.safetensors")
    atoms = [bulk("Cu", "fcc", a, cubic=True) for a in (1.8, 3.6, 3.6)]
    Configurations.from_ase(atoms).save("pool.safetensors")
    task = {"task": "select", "strategy": {"name": "maxvol"}, "train": None}
    task["potential"] = "potential.safetensors"
    free = execute(task)
    assert (free["rejected"], free["message"], free["n_left"]) == ([], "", 3)
    assert free["filters"]["min_distance"] is free["filters"]["duplicate"] is None
    limited = execute({**task, "filters": {}})
    assert [r["index"] for r in limited["rejected"]] == [0, 2]
    assert "the filters took out 2 of 3 candidates" in limited["message"]
