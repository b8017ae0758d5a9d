"""Commands about a campaign that was run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiida.orm import QueryBuilder, StructureData, WorkChainNode
from ase.build import bulk
from ase.io import write
from campaign_fixtures import INPUTS
from click.testing import CliRunner

from aiida_mlal.cli import root
from aiida_mlal.cli.launch import fixed_list, qe_overrides, read_structure
from aiida_mlal.data.dataset import DatasetData


@pytest.fixture
def run():
    def run(*arguments):
        return CliRunner().invoke(root, [str(a) for a in arguments])

    return run


def test_status_prints_the_curve(run, small_campaign):
    result = run("status", small_campaign.pk)
    assert result.exit_code == 0, result.output
    assert "converged" in result.output
    assert "oracle fmax" in result.output


def test_report_writes_a_page(run, small_campaign, tmp_path):
    result = run("report", small_campaign.pk, "-o", tmp_path, "--direct", "GPMin")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "index.html").exists()
    assert "direct GPMin" in (tmp_path / "index.html").read_text()


def test_report_names_what_can_be_compared_with(run, small_campaign, tmp_path):
    result = run("report", small_campaign.pk, "-o", tmp_path, "--direct", "nothing")
    assert result.exit_code != 0
    assert "expected a file or an optimiser" in result.output


def test_archive_is_written_once_and_checked(run, small_campaign, tmp_path):
    path = tmp_path / "campaign.aiida"
    result = run("archive", small_campaign.pk, "-o", path)
    assert result.exit_code == 0, result.output
    assert "all there after import" in result.output
    again = run("archive", small_campaign.pk, "-o", path)
    assert again.exit_code != 0
    assert "exists" in again.output


def test_the_last_training_of_an_archive_runs_again(run, small_campaign, tmp_path):
    """In a new profile, by the commands of the documentation: the same weights come out."""
    archive, potential = tmp_path / "campaign.aiida", small_campaign.outputs.potential
    run("archive", small_campaign.pk, "-o", archive)
    home = {**os.environ, "AIIDA_PATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for command in (
        ("aiida-mlal", "setup", "--broker", "none", "--default"),
        ("verdi", "archive", "import", archive),
        ("aiida-mlal", "folder", potential.creator.uuid, "-o", tmp_path / "again"),
        ("mlal", "run", tmp_path / "again" / "task.json"),
    ):
        program = Path(sys.executable).with_name(command[0])
        done = subprocess.run(
            [program, *command[1:]], env=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "again" / "potential.safetensors").read_bytes() == potential.content


def test_only_calculations_have_a_folder(run, small_campaign, tmp_path):
    result = run("folder", small_campaign.pk, "-o", tmp_path / "again")
    assert result.exit_code != 0
    assert "expected a calculation that runs a task of mlal" in result.output
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "file").touch()
    trained = small_campaign.outputs.potential.creator
    result = run("folder", trained.pk, "-o", tmp_path / "again")
    assert "is not empty" in result.output


def test_a_running_campaign_is_not_archived(run, aiida_profile, tmp_path):
    node = WorkChainNode()
    node.set_process_state("running")
    node.store()
    result = run("archive", node.pk, "-o", tmp_path / "x.aiida")
    assert result.exit_code != 0
    assert "still running" in result.output


def test_reads_a_structure_and_what_is_fixed_from_a_file(aiida_profile, slab, tmp_path):
    path = tmp_path / "slab.traj"
    write(path, slab)
    node, fixed = read_structure(str(path))
    assert isinstance(node, StructureData)
    assert node.get_formula() == slab.get_chemical_formula()
    assert fixed == [0]


def test_several_frames_are_a_data_set(aiida_profile, frames, tmp_path):
    path = tmp_path / "frames.extxyz"
    write(path, frames)
    node, _ = read_structure(str(path))
    assert isinstance(node, DatasetData)
    assert len(node) == len(frames)


def test_reads_a_structure_from_the_graph(aiida_profile, slab):
    stored = StructureData(ase=slab).store()
    for word in (str(stored.pk), stored.uuid):
        assert read_structure(word)[0].uuid == stored.uuid


@pytest.mark.parametrize("word", ["nothing.xyz", "99999999"])
def test_a_structure_that_is_nowhere_is_named(aiida_profile, word):
    with pytest.raises(ValueError, match=f"neither a file nor a node '{word}'"):
        read_structure(word)


def test_partial_constraints_are_kept():
    import numpy as np

    mask = np.array([[False] * 3, [True] * 3, [True, False, False]])
    assert fixed_list(mask) == [1, [2, [True, False, False]]]


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
    assert campaign.inputs.simulation["fmax"] == 99
    names = [stop["name"] for stop in campaign.inputs.stop.get_list()]
    assert names == ["oracle_force", "iterations", "labels"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--labels", "emtt"), "did you mean 'emt'"),
        (("--protocol", "fasst"), "did you mean 'fast'"),
        (("--fixed", "a"), "expected indices such as 0-3,7"),
        (("--overrides", '{"trainning": {}}'), "did you mean 'training'"),
        (("--overrides", "[1]"), "cannot be read"),
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


def test_launch_knows_bootstrapping(run, mlal_code, tmp_path, monkeypatch):
    """What would be run has the protocol of the recipe, and the force and budget asked for."""
    found = []
    monkeypatch.setattr(
        sys.modules["aiida_mlal.cli.launch"], "start", lambda builder, daemon: found.append(builder)
    )
    write(tmp_path / "cells.extxyz", [bulk("Cu"), bulk("Au")])
    arguments = ["--recipe", "bootstrap", "--protocol", "fast", "--fmax", 0.2, "--max-labels", 9]
    result = run(
        "launch", "offline", tmp_path / "cells.extxyz", *arguments, "--code", mlal_code.full_label
    )
    assert result.exit_code == 0, result.output
    (builder,) = found
    assert builder.model["architecture"] == "mtp"
    assert builder.simulation["fmax"] == 0.2
    stops = [stop["name"] for stop in builder.stop]
    assert stops == ["uninterrupted", "iterations", "labels"]
    process = builder.process_class.spec().inputs
    assert process.validate(process.pre_process(builder._inputs(prune=True))) is None


def test_cutoffs_family_and_processes_go_to_pw():
    found = qe_overrides("pbe", (30.0, 240.0), 2)
    assert found["pseudo_family"] == "pbe"
    assert found["pw"]["parameters"] == {"SYSTEM": {"ecutwfc": 30.0, "ecutrho": 240.0}}
    options = found["pw"]["metadata"]["options"]
    assert options["withmpi"]
    assert options["resources"]["num_mpiprocs_per_machine"] == 2
    assert not qe_overrides(None, None, None)["pw"]["metadata"]["options"]["withmpi"]
