"""Campaigns that are launched from the command line."""

import json
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import yaml
from aiida.engine.runners import Runner
from aiida.orm import Node, QueryBuilder, WorkChainNode
from ase.build import bulk
from ase.constraints import FixAtoms, FixCartesian
from ase.io import read, write
from campaign_fixtures import INPUTS
from click.testing import CliRunner

from aiida_mlal.calculations.label import LabelCalculation
from aiida_mlal.calculations.train import TrainCalculation
from aiida_mlal.cli import root
from aiida_mlal.cli.campaign import Recipe, replace_stops
from aiida_mlal.cli.label_codes import label_code


@pytest.fixture
def run():
    def run(*arguments):
        return CliRunner().invoke(root, [str(a) for a in arguments])

    return run


@pytest.fixture
def launched(monkeypatch):
    """Return the builders of campaigns, which are not run."""
    found = []
    monkeypatch.setattr(
        sys.modules["aiida_mlal.cli.campaign"], "start", lambda builder, _: found.append(builder)
    )
    return found


@pytest.fixture
def candidates(frames, tmp_path):
    path = tmp_path / "candidates.extxyz"
    write(path, frames)
    return path


def test_launch_runs_a_campaign_to_its_end(run, mlal_code, slab, tmp_path):
    path = tmp_path / "slab.traj"
    write(path, slab)
    overrides = tmp_path / "overrides.json"
    overrides.write_text(json.dumps(INPUTS))
    options = ("--protocol", "fast", "--overrides", overrides, "--fmax", 99, "--max-labels", 2)
    result = run("launch", "offline", path, "--code", mlal_code.full_label, *options)
    assert result.exit_code == 0, result.output
    assert "converged" in result.output
    offline = {"process_type": {"like": "%mlal.offline"}}
    campaign = max(
        QueryBuilder().append(WorkChainNode, filters=offline).all(flat=True), key=lambda n: n.pk
    )
    assert f"campaign {campaign.pk}" in result.output
    assert campaign.inputs.fixed.get_list() == [0]
    assert campaign.inputs.simulation["fmax"] == pytest.approx(99 * 0.05 / 100)
    assert campaign.inputs.stop[0]["fmax"] == 99
    names = [stop["name"] for stop in campaign.inputs.stop.get_list()]
    assert names == ["oracle_force", "iterations", "labels"]


@pytest.mark.parametrize(
    ("job", "sent"), [(LabelCalculation, signal.SIGTERM), (TrainCalculation, signal.SIGINT)]
)
def test_a_campaign_that_is_stopped_ends_at_once(
    run, mlal_code, slab, tmp_path, monkeypatch, job, sent
):
    """Half a second after one of its jobs was made, which is on its way then."""
    path = tmp_path / "slab.traj"
    write(path, slab)
    make, stopped = Runner.instantiate_process, []

    def stop():
        stopped.append(time.monotonic())
        os.kill(os.getpid(), sent)

    stopper = threading.Timer(0.5, stop)

    def begin(*arguments, **inputs):
        process = make(*arguments, **inputs)
        if isinstance(process, job) and stopper.ident is None:
            stopper.start()
        return process

    monkeypatch.setattr(Runner, "instantiate_process", begin)
    result = run("launch", "offline", path, "--code", mlal_code.full_label, "--seed", 77)
    assert time.monotonic() - stopped[0] < 60
    assert result.exit_code == 1
    assert "was stopped, and cannot go on" in result.output
    assert "Traceback" not in result.output
    campaign = max(QueryBuilder().append(WorkChainNode).all(flat=True), key=lambda n: n.pk)
    while campaign.caller is not None:
        campaign = campaign.caller
    assert campaign.is_killed
    assert all(child.is_terminated and child.is_sealed for child in campaign.called_descendants)
    assert any(child.is_killed for child in campaign.called_descendants)


def outlook_in(output):
    return yaml.safe_load("campaign:" + output.partition("campaign:")[2].partition("Success")[0])


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        (("offline", "--max-labels", 3), {"at most": 3, "iterations, at most": 40}),
        (("online", "--fixed", "0-1"), {"iterations, at most": 60, "at most": 61}),
        (("md", "--labels", "lj"), {"in an iteration, at most": 20}),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_stores_nothing(
    run, mlal_code, slab, tmp_path, arguments, most
):
    path = tmp_path / "slab.traj"
    write(path, slab)
    before = QueryBuilder().append(Node).count()
    what, *options = arguments
    result = run("launch", what, path, "--code", mlal_code.full_label, *options, "--dry-run")
    assert result.exit_code == 0, result.output
    assert QueryBuilder().append(Node).count() == before
    told = outlook_in(result.output)
    fixed = 2 if "0-1" in options else 1
    assert told["structures"] == [f"CCu3: 4 atoms, periodic along xyz, {fixed} fixed"]
    assert told["labels"]["made by"] == "mlal.label.ase"
    assert most.items() <= told["labels"].items()
    assert told["inputs"]["train"]["train"]["code"] == mlal_code.full_label


def test_a_dry_run_counts_atoms_that_are_fixed_along_some_axes(run, mlal_code, slab, tmp_path):
    slab.set_constraint([FixAtoms([0]), FixCartesian([1, 2], [True, False, True])])
    write(tmp_path / "slab.traj", slab)
    path = tmp_path / "slab.traj"
    result = run("launch", "offline", path, "--code", mlal_code.full_label, "--dry-run")
    assert result.exit_code == 0, result.output
    (told,) = outlook_in(result.output)["structures"]
    assert told == "CCu3: 4 atoms, periodic along xyz, 1 fixed, 2 fixed along some axes"


def test_a_dry_run_of_a_pool_counts_its_candidates(run, mlal_code, candidates):
    few = ("--overrides", json.dumps(POOL), "--dry-run")
    result = run("launch", "pool", candidates, "--code", mlal_code.full_label, *few)
    assert result.exit_code == 0, result.output
    told = outlook_in(result.output)
    assert len(told["structures"]) == 6
    assert told["structures"][-1].startswith("and ")
    assert told["labels"]["to learn from, at most"] == 200
    assert told["labels"]["at most"] == 6
    assert "made by" not in told["labels"]


@pytest.mark.parametrize("command", ["offline", "md", "online", "neb"])
def test_fixed_atoms_are_those_that_are_asked_for_in_place_of_those_of_files(
    run, mlal_code, slab, tmp_path, command
):
    """Also where a file begins several simulations, and at the ends of a path."""
    ends = [slab.copy(), slab.copy()]
    ends[1].positions[-1, 0] += 0.8
    for i, atoms in enumerate(ends):
        write(tmp_path / f"{i}.traj", atoms)
    write(tmp_path / "both.traj", ends)
    given = [
        tmp_path / name for name in (("0.traj", "1.traj") if command == "neb" else ["both.traj"])
    ]
    options = ("--code", mlal_code.full_label, "--dry-run", "--labels", "emt")
    for fixed, counted in (((), 1), (("--fixed", "1,2"), 2)):
        result = run("launch", command, *given, *options, *fixed)
        assert result.exit_code == 0, result.output
        told = outlook_in(result.output)["structures"]
        assert told == 2 * [f"CCu3: 4 atoms, periodic along xyz, {counted} fixed"]


def test_launch_online_stops_at_the_limit_that_is_given(run, mlal_code, launched, slab, tmp_path):
    path = tmp_path / "slab.traj"
    write(path, slab)
    options = ("--limit", 0.7, "--fmax", 0.2, "--max-labels", 8, "--protocol", "fast")
    result = run("launch", "online", path, "--code", mlal_code.full_label, *options)
    assert result.exit_code == 0, result.output
    (builder,) = launched
    assert builder.process_class.__name__ == "OnlineWorkChain"
    simulation = builder.simulation.get_dict()
    assert (simulation["name"], simulation["fmax"]) == ("relax", 0.12)
    assert (simulation["guard"]["break"], simulation["guard"]["break_share"]) == (0.7, 0.5)
    stops = builder.stop.get_list()
    assert [stop.get("fmax") for stop in stops if stop["name"] == "oracle_force"] == [0.2]
    assert {"name": "labels", "n": 8} in stops
    assert builder.fixed.get_list() == [0]


def test_launch_saddle_goes_from_a_structure_or_towards_another_one(
    run, mlal_code, launched, slab, tmp_path
):
    path, other = tmp_path / "slab.traj", tmp_path / "other.traj"
    write(path, slab)
    slab.positions[-1, 0] += 0.5
    write(other, slab)
    code = ("--code", mlal_code.full_label)
    for more in ((), ("--towards", other, "--fmax", 0.1, "--limit", 0.2)):
        result = run("launch", "saddle", path, *code, *more)
        assert result.exit_code == 0, result.output
    one, two = (builder.simulation.get_dict() for builder in launched)
    assert (one["name"], one["fmax"], one.get("mode"), one["guard"]["break"]) == (
        "saddle", 0.02, None, 0.5,
    )  # fmt: skip
    assert (two["fmax"], two["mode"], two["guard"]["break"]) == (0.04, "towards", 0.2)
    assert len(launched[1].structures) == 2
    result = run("launch", "saddle", path, *code, "--towards", path)
    assert result.exit_code
    assert "the same structure" in result.output


def test_launch_md_runs_at_the_conditions_that_are_given(run, mlal_code, launched, tmp_path):
    path = tmp_path / "Al.extxyz"
    write(path, bulk("Al", cubic=True))
    options = ("--temperature", "300,900", "--steps", 50, "--pressure", 2, "--max-labels", 9)
    result = run("launch", "md", path, "--code", mlal_code.full_label, *options)
    assert result.exit_code == 0, result.output
    simulation = launched[0].simulation.get_dict()
    assert simulation["temperature"] == [300, 900]
    assert (simulation["steps"], simulation["cell"], simulation["pressure_GPa"]) == (
        50,
        "volume",
        2,
    )
    assert {"name": "labels", "n": 9} in launched[0].stop.get_list()
    assert launched[0].query["name"] == "maxvol"


def test_launch_md_refuses_temperatures_that_are_none(run, mlal_code, tmp_path):
    path = tmp_path / "Al.extxyz"
    write(path, bulk("Al", cubic=True))
    code = ("--code", mlal_code.full_label)
    for given, message in (("hot", "a number or two"), ("-5", "temperature above 0 K")):
        result = run("launch", "md", path, *code, "--temperature", given)
        assert result.exit_code
        assert message in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "emtt"), "did you mean 'emt'"),
        (("--labels", "EMT"), "did you mean 'emt'"),
        (("--protocol", "fasst"), "did you mean 'fast'"),
        (("--labels", '{"name":'), "--labels: this is not JSON (Expecting value"),
        (("--fixed", "a"), "expected indices such as 0-3,7"),
        (("--seed", "-1"), "expected a seed of 0 or more, and below 2^63, got -1"),
        (("--overrides", '{"trainning": {}}'), "did you mean 'training'"),
        (("--overrides", "[1]"), "expected a mapping of overrides, got [1]"),
        (("--overrides", '{"label": {"ase": {"timeout": -3.0}}}'), "expected a timeout above 0 s"),
        (("--code", "nothing"), "aiida-mlal setup"),
        (("--daemon",), "no broker"),
    ],
)
def test_launch_refuses_what_cannot_work(run, mlal_code, slab, tmp_path, arguments, message):
    path = tmp_path / "slab.traj"
    write(path, slab)
    code = () if "--code" in arguments else ("--code", mlal_code.full_label)
    result = run("launch", "offline", path, *code, *arguments)
    assert result.exit_code != 0
    assert message in result.output


def test_launch_knows_bootstrapping(run, mlal_code, tmp_path, launched):
    """What would be run has the protocol of the recipe, and the force and budget asked for."""
    write(tmp_path / "cells.extxyz", [bulk("Cu"), bulk("Au")])
    arguments = ["--recipe", "bootstrap", "--protocol", "fast", "--fmax", 0.2, "--max-labels", 9]
    result = run(
        "launch", "offline", tmp_path / "cells.extxyz", *arguments, "--code", mlal_code.full_label
    )
    assert result.exit_code == 0, result.output
    (builder,) = launched
    assert builder.model["architecture"] == "mtp"
    assert builder.simulation["fmax"] == 0.2
    stops = [stop["name"] for stop in builder.stop]
    assert stops == ["uninterrupted", "iterations", "labels"]
    process = builder.process_class.spec().inputs
    assert process.validate(process.pre_process(builder._inputs(prune=True))) is None


def test_offline_begins_with_labels_of_a_file(run, mlal_code, slab, candidates, launched):
    """Which may have other names than those of ASE."""
    labelled = read(candidates, ":")
    for atoms in labelled:
        atoms.info["REF_energy"], atoms.calc = atoms.get_potential_energy(), None
    path = candidates.with_name("reference.extxyz")
    write(path, labelled)
    write(candidates.with_name("slab.traj"), slab)
    where = (candidates.with_name("slab.traj"), "--code", mlal_code.full_label)
    keys = ("--energy-key", "REF_energy")
    mixed = ("--overrides", '{"allow_mixed_labels": true}')
    result = run("launch", "offline", *where, *mixed, "--dataset", path, *keys)
    assert result.exit_code == 0, result.output
    known = launched[0].dataset.configurations
    assert np.isfinite(known.energies).all()
    assert len(known) == len(labelled)
    result = run("launch", "offline", *where, *keys)
    assert "keys name the labels of --dataset, which is not given" in result.output


POOL = {
    **{key: INPUTS[key] for key in ("model", "training")},
    "query": {"name": "uncertainty", "n": 1},
    "first_query": {"name": "random", "n": 2},
}


def test_pool_learns_from_the_labels_of_a_file(run, mlal_code, candidates):
    options = ("--overrides", json.dumps(POOL), "--size", 3, "--test", candidates)
    result = run("launch", "pool", candidates, "--code", mlal_code.full_label, *options)
    assert result.exit_code == 0, result.output
    assert "converged" in result.output
    pool = {"process_type": {"like": "%mlal.pool"}}
    campaign = max(
        QueryBuilder().append(WorkChainNode, filters=pool).all(flat=True), key=lambda n: n.pk
    )
    assert f"campaign {campaign.pk}" in result.output
    assert len(campaign.outputs.dataset) == 3
    assert "test" in campaign.outputs.curve["rows"][-1]


def test_campaigns_of_all_kinds_go_on_from_the_labels_of_another(
    run, mlal_code, launched, small_campaign, slab, tmp_path
):
    """Whose PK is given; the labels are those that it ended with."""
    files = [tmp_path / f"{i}.traj" for i in range(2)]
    for path in files:
        write(path, slab)
        slab.positions[-1, 0] += 0.8
    known = ("--dataset", small_campaign.pk, "--code", mlal_code.full_label, "--labels", "emt")
    few = ("--overrides", json.dumps(POOL))
    for command in (
        ("offline", files[0]), ("offline", files[0], "--recipe", "network"), ("neb", *files),
        ("md", files[0]), ("online", files[0]), ("saddle", files[0]), ("pool", files[0], *few),
    ):  # fmt: skip
        result = run("launch", *command, *known)
        assert result.exit_code == 0, result.output
        assert launched[-1].dataset.uuid == small_campaign.outputs.dataset.uuid
    assert len(launched) == 7


def test_a_dry_run_counts_no_labels_that_there_are(run, mlal_code, small_campaign, slab, tmp_path):
    write(tmp_path / "slab.traj", slab)
    begun = ("launch", "offline", tmp_path / "slab.traj", "--code", mlal_code.full_label)
    for known, first in (((), 1), (("--dataset", small_campaign.pk), 0)):
        told = outlook_in(run(*begun, *known, "--dry-run").output)["labels"]
        assert told["to begin with, at most"] == first
        assert told["at most"] == first + told["iterations, at most"]
    few = ("--dataset", small_campaign.pk, "--labels", "emt", "--dry-run")
    told = outlook_in(run("launch", "pool", *begun[2:], *few).output)["labels"]
    assert "to begin with, at most" not in told
    assert told["at most"] == 0


def test_labels_to_begin_with_have_to_be_some(run, mlal_code, failed_campaign, candidates):
    code = ("--code", mlal_code.full_label)
    result = run("launch", "pool", candidates, *code, "--dataset", failed_campaign.pk)
    assert result.exit_code
    assert f"--dataset: {failed_campaign.pk} has no labels to begin with" in result.output


def test_pool_asks_a_calculator_or_pw(run, mlal_code, candidates, launched):
    code = ("--code", mlal_code.full_label)
    result = run("launch", "pool", candidates, *code, "--labels", "emt", "--max-labels", 9)
    assert result.exit_code != 0
    assert "fewer than the 20 of first_query" in result.output
    few = ("--overrides", json.dumps(POOL), "--seed", 4)
    labels = json.dumps({"name": "emt", "options": {"asap_cutoff": True}})
    result = run("launch", "pool", candidates, *code, *few, "--labels", labels, "--max-labels", 4)
    assert result.exit_code == 0, result.output
    (builder,) = launched
    assert builder.labelling == "mlal.label.ase"
    assert builder.seed == 4
    names = {stop["name"]: stop["n"] for stop in builder.stop}
    assert names == {"size": 200, "iterations": 50, "labels": 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "emtt"), "did you mean 'emt'"),
        (("--labels", "EMT"), "did you mean 'emt'"),
        (("--test", "nothing.xyz"), "neither a file nor a node 'nothing.xyz'"),
        (("--overrides", '{"growht": 0.1}'), "did you mean 'growth'"),
        (("--code", "nothing"), "aiida-mlal setup"),
    ],
)
def test_pool_refuses_what_cannot_work(run, mlal_code, candidates, arguments, message):
    code = () if "--code" in arguments else ("--code", mlal_code.full_label)
    result = run("launch", "pool", candidates, *code, *arguments)
    assert result.exit_code != 0
    assert message in result.output


def test_a_pool_without_labels_wants_something_that_labels(run, mlal_code, frames, tmp_path):
    path = tmp_path / "bare.extxyz"
    write(path, [frame.copy() for frame in frames])
    result = run("launch", "pool", path, "--code", mlal_code.full_label)
    assert result.exit_code != 0
    assert "CANDIDATES: none has a label" in result.output
    assert "give --labels" in result.output


def test_labels_of_other_methods_are_allowed_as_is_said(run, mlal_code, slab, candidates, launched):
    path = candidates.with_name("slab.traj")
    write(path, slab)
    given = ("launch", "offline", path, "--code", mlal_code.full_label, "--dataset", candidates)
    result = run(*given)
    assert result.exit_code
    assert "--dataset: 6 of its 6 labels" in result.output
    assert "set 'allow_mixed_labels' in --overrides" in result.output
    result = run(*given, "--overrides", '{"allow_mixed_labels": true}')
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", 2), "--size: the 2 structures to learn from that there are before a potential"),
        (("--max-labels", 2), "--max-labels: the budget of labels is spent on the first 2"),
        (("--seed", -1), "--seed: expected a seed of 0 or more"),
    ],
)
def test_errors_name_the_option(run, mlal_code, candidates, arguments, message):
    few = ("--overrides", json.dumps(POOL))
    result = run("launch", "pool", candidates, "--code", mlal_code.full_label, *few, *arguments)
    assert result.exit_code
    assert message in result.output


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"test": "abc"}, "overrides.test: expected a node of DatasetData, got 'abc' (--test"),
        ({"model": "gp"}, "overrides.model: expected a mapping, got 'gp'"),
        ({"model": None}, "overrides.model: expected a mapping, got None"),
        ({"stop": {"name": "labels"}}, "overrides.stop: expected a list, got {"),
        ({"stop": [3]}, "stop[0]: expected a stop as {'name': ...}"),
        ({"seed": "x"}, "overrides.seed: expected an integer, got 'x' (--seed sets it)"),
        ({"growth": "a"}, "overrides.growth: expected a number, got 'a'"),
        ({"evaluate": {"code": 3}}, "overrides.evaluate.code: expected a node of AbstractCode"),
        ({"metadata": {"label": 3}}, "overrides.metadata.label: expected a text, got 3"),
        ({"label": 4}, "expected inputs inside of 'label', got 4"),
        ({"label": {"ase": {}}}, "nothing labels, since the labels are those of the candidates"),
    ],
)
def test_overrides_of_wrong_types_are_refused_in_words(
    run, mlal_code, candidates, overrides, message
):
    options = ("--overrides", json.dumps(overrides), "--max-labels", 9)
    result = run("launch", "pool", candidates, "--code", mlal_code.full_label, *options)
    assert isinstance(result.exception, SystemExit)
    assert message in result.output


@pytest.mark.parametrize(
    ("command", "simulation", "message"),
    [
        (("offline", "--fmax", 0.1), "md", "overrides.simulation: expected a mapping, got 'md'"),
        (("offline", "--fmax", 0.1), {"name": "relax", "fmax": "a"}, "simulation.fmax: expected"),
        (("online", "--limit", 0.1), {"name": "relax", "guard": 3}, "simulation.guard: expected"),
        (("online",), {"guard": {"break": "x"}}, "simulation.guard.break: expected float"),
    ],
)
def test_options_set_nothing_in_overrides_of_wrong_types(
    run, mlal_code, slab, tmp_path, command, simulation, message
):
    write(tmp_path / "slab.traj", slab)
    what, *options = command
    more = ("--code", mlal_code.full_label, "--overrides", json.dumps({"simulation": simulation}))
    result = run("launch", what, tmp_path / "slab.traj", *options, *more)
    assert isinstance(result.exception, SystemExit)
    assert message in result.output


def test_a_stop_replaces_that_of_its_name():
    stops = [{"name": "size", "n": 5}, {"name": "iterations", "n": 2}]
    found = replace_stops(stops, {"name": "labels", "n": 7}, {"name": "size", "n": 3})
    assert found == [{"name": "size", "n": 3}, stops[1], {"name": "labels", "n": 7}]


def test_a_labelled_force_leaves_the_stress_of_a_stop():
    stops = [{"name": "oracle_force", "fmax": 0.03, "smax_GPa": 0.01}, {"name": "labels", "n": 7}]
    asked = Recipe({"stop": [{"name": "all", "of": stops}, *stops]}, {}).with_labelled_force(0.1)
    changed = [{**stops[0], "fmax": 0.1}, stops[1]]
    assert asked.overrides == {"stop": [{"name": "all", "of": changed}, *changed]}


@pytest.mark.parametrize(
    ("command", "protocol", "reached"),
    [
        (("offline",), "balanced", {"fmax": 0.05 / 3}),
        (("offline", "--recipe", "gp"), "stringent", {"fmax": 0.015}),
        (("online",), "fast", {"fmax": 0.03}),
        (("neb",), "balanced", {"fmax": 0.02, "fmax_ends": 0.01}),
    ],
)
def test_simulations_go_on_to_a_smaller_force_than_labels_have_to_have(
    run, mlal_code, launched, slab, tmp_path, command, protocol, reached
):
    """As the protocols do: ends just below the limit would be labelled as above it."""
    files = [tmp_path / f"{i}.traj" for i in range(1 + (command[0] == "neb"))]
    for path in files:
        write(path, slab)
        slab.positions[-1, 0] += 0.8
    options = ("--protocol", protocol, "--fmax", 0.05, "--code", mlal_code.full_label)
    result = run("launch", command[0], *files, *command[1:], *options)
    assert result.exit_code == 0, result.output
    (builder,) = launched
    found = builder.simulation.get_dict()
    assert {key: found[key] for key in reached} == pytest.approx(reached, rel=1e-5)
    stops = [one for stop in builder.stop.get_list() for one in stop.get("of", [stop])]
    assert [stop["fmax"] for stop in stops if stop["name"] == "oracle_force"] == [0.05]


@pytest.mark.parametrize(
    ("command", "guard", "smax_GPa"),
    [
        ("offline", {"break": 2.0, "trust": 0.5}, 0.006),
        ("online", {"break": 2.0, "break_share": None}, 0.006),
        ("neb", None, 0.05),
    ],
)
def test_what_a_recipe_says_of_moving_cells_holds_beside_options(
    run, mlal_code, launched, tmp_path, command, guard, smax_GPa
):
    """Options of simulations stood in place of all of them: with the guard of fixed cells."""
    atoms, files = bulk("Al", cubic=True) * (2, 1, 1), [tmp_path / "0.traj"]
    write(files[0], atoms)
    moving = ["--cell", "full"]
    if command == "neb":
        atoms.positions[0, 1] += 0.5
        files.append(tmp_path / "1.traj")
        write(files[1], atoms)
    else:
        moving += ["--pressure", 2]
    options = ("--fmax", 0.02, "--code", mlal_code.full_label, *moving)
    result = run("launch", command, *files, *options)
    assert result.exit_code == 0, result.output
    (builder,) = launched
    simulation = builder.simulation.get_dict()
    assert (simulation["cell"], simulation.get("pressure_GPa", 2)) == ("full", 2)
    assert simulation["smax_GPa"] == smax_GPa
    if guard is not None:
        assert {name: simulation["guard"][name] for name in guard} == guard
    assert builder.training["loss"]["stress"] == 1.0


def test_codes_may_be_named_in_capitals():
    assert label_code("VASP").name == "vasp"
    assert label_code("QE").name == "quantumespresso"


def test_cutoffs_family_and_processes_go_to_pw():
    found = label_code("qe").overrides({"kpoints_distance": 0.3}, "pbe", (30.0, 240.0), 2)
    assert found["pseudo_family"] == "pbe"
    assert found["kpoints_distance"] == 0.3
    assert found["pw"]["parameters"] == {"SYSTEM": {"ecutwfc": 30.0, "ecutrho": 240.0}}
    options = found["pw"]["metadata"]["options"]
    assert options["withmpi"]
    assert options["resources"]["num_mpiprocs_per_machine"] == 2


def test_jobs_that_label_run_without_mpi_unless_asked_for():
    for name, job in (("qe", "pw"), ("vasp", "calc")):
        code = label_code(name)
        usual = code.overrides({}, None, None, None)
        assert usual[job]["metadata"]["options"] == {"withmpi": False}
        asked = {job: {"metadata": {"options": {"withmpi": True}}}}
        assert code.overrides(asked, None, None, None) == asked


def test_a_family_goes_to_vasp_and_cutoffs_are_refused():
    code = label_code("vasp")
    assert code.overrides({}, "PBE.54", None, None)["potential_family"] == "PBE.54"
    with pytest.raises(ValueError, match="ENCUT of VASP is an override"):
        code.overrides({}, None, (30.0, 240.0), None)
    assert label_code("emt") is None


def test_options_of_codes_are_refused_where_a_calculator_labels(run, mlal_code, slab, tmp_path):
    path = tmp_path / "slab.traj"
    slab.write(path)
    asked = ("--labels", "emt", "--family", "pbe", "--mpi", 2, "--code", mlal_code.full_label)
    result = run("launch", "offline", path, *asked)
    assert result.exit_code != 0
    assert "--family, --mpi: expected with --labels qe or vasp, got --labels emt" in result.output


def test_neb_takes_ends_from_files(run, mlal_code, slab, tmp_path, launched):
    """Atoms that are fixed there stay; more structures than two lie between."""
    atoms = slab.copy()
    atoms.set_constraint(FixAtoms([0]))
    files = []
    for i in range(3):
        atoms.positions[-1, 0] += 0.8
        files.append(tmp_path / f"{i}.extxyz")
        write(files[-1], atoms)
    code = ("--code", mlal_code.full_label)
    options = ("--images", 7, "--fmax", 0.1, "--max-labels", 20, "--keep-ends")
    result = run("launch", "neb", *files, *code, *options)
    assert result.exit_code == 0, result.output
    (builder,) = launched
    assert builder.simulation["given"] == 3
    assert (builder.simulation["images"], builder.simulation["ends"]) == (7, "given")
    assert builder.start["keep_below"] == 0.1
    assert builder.stop[0]["of"][0] == {"name": "oracle_force", "fmax": 0.1}
    assert builder.stop[-1] == {"name": "labels", "n": 20}
    fixed = builder.structures.configurations.fixed.reshape(3, -1, 3)
    assert fixed[:, 0].all()
    assert not fixed[:, 1:].any()
    process = builder.process_class.spec().inputs
    assert process.validate(process.pre_process(builder._inputs(prune=True))) is None
    alone = run("launch", "neb", files[0], *code)
    assert "a path takes 1 structures" in alone.output or "expected 'given'" in alone.output
    assert "number 1 is" in run("launch", "neb", files[0], _other(tmp_path), *code).output


def _other(folder):
    write(folder / "other.extxyz", bulk("Au"))
    return folder / "other.extxyz"
