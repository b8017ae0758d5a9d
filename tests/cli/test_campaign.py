"""Commands about a campaign that was run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, WorkChainNode
from click.testing import CliRunner

from aiida_mlal.cli import root


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


def test_compare_prints_campaigns_side_by_side(run, small_campaign):
    result = run("compare", small_campaign.pk, small_campaign.uuid)
    assert result.exit_code == 0, result.output
    assert re.search(r"^labels +3 +3$", result.output, re.M)


def test_graph_is_written_as_its_ending_says(run, small_campaign, tmp_path):
    result = run("graph", small_campaign.pk, "-o", tmp_path / "graph.pdf")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "graph.pdf").read_bytes().startswith(b"%PDF")
    refused = run("graph", small_campaign.pk, "-o", tmp_path / "graph.doc")
    assert refused.exit_code != 0
    assert "doc" in refused.output


def test_why_tells_the_reason_of_a_label(run, small_campaign):
    result = run("why", small_campaign.pk, 1)
    assert result.exit_code == 0, result.output
    assert "last frame of run 0" in result.output
    refused = run("why", small_campaign.pk, "nothing")
    assert refused.exit_code != 0
    assert "beginning of its key" in refused.output


def test_report_names_what_can_be_compared_with(run, small_campaign, tmp_path):
    result = run("report", small_campaign.pk, "-o", tmp_path, "--direct", "nothing")
    assert result.exit_code != 0
    assert "expected a file, a PK or UUID, or an optimiser" in result.output


def test_archive_is_written_once_and_checked(run, small_campaign, tmp_path):
    path = tmp_path / "campaign.aiida"
    told = run("archive", small_campaign.pk, "--dry-run")
    assert told.exit_code == 0, told.output
    total = told.output.splitlines()[-1]
    assert re.fullmatch(r"\d+ nodes with \d+ files, 0\.1 MB before they are compressed", total)
    assert not path.exists()
    result = run("archive", small_campaign.pk, "-o", path)
    assert total in result.output
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


def test_a_campaign_whose_process_is_gone_can_be_ended(run, aiida_profile, aiida_localhost):
    """Without a broker, as `verdi process kill` wants one."""
    campaign, job = WorkChainNode(), CalcJobNode(computer=aiida_localhost)
    for node in (campaign, job):
        node.set_process_state("waiting")
    campaign.store()
    job.base.links.add_incoming(campaign, LinkType.CALL_CALC, "train_01")
    job.store()
    asked = CliRunner().invoke(root, ["kill", str(campaign.pk)], input="n\n")
    assert f"Nothing has changed in campaign {campaign.pk} for 0 s" in asked.output
    assert not campaign.is_terminated
    result = run("kill", campaign.pk, "--force")
    assert result.exit_code == 0, result.output
    for node in (campaign, job):
        assert node.is_killed
        assert node.is_sealed
    assert "has ended already" in run("kill", campaign.pk, "--force").output


def test_what_a_crash_left_of_a_campaign_that_ended_can_be_ended(run, aiida_profile, tmp_path):
    """A step that the daemon was killed in the middle of calling, which was called again."""
    campaign, left = WorkChainNode(), WorkChainNode()
    campaign.set_process_state("waiting")
    campaign.store()
    left.base.links.add_incoming(campaign, LinkType.CALL_WORK, "label_01")
    left.store()
    campaign.set_process_state("finished")
    campaign.seal()
    refused = run("archive", campaign.pk, "-o", tmp_path / "x.aiida")
    assert f"<{left.pk}>; if nothing works on that: aiida-mlal kill" in refused.output
    asked = CliRunner().invoke(root, ["kill", str(campaign.pk)], input="n\n")
    assert f"Campaign {campaign.pk} has ended" in asked.output
    assert not left.is_sealed
    assert run("kill", campaign.pk, "--force").exit_code == 0
    assert left.is_killed
    assert campaign.process_state.value == "finished"
    assert run("archive", campaign.pk, "-o", tmp_path / "x.aiida").exit_code == 0
