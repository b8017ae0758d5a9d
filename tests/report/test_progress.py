"""Where a campaign stands."""

from dataclasses import replace

from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, WorkChainNode

from aiida_mlal.report.progress import describe, progress, table


def test_a_finished_campaign_shows_its_curve(small_campaign):
    found = progress(small_campaign)
    assert (found.state, found.stage) == ("converged", "")
    assert describe(found).startswith("converged, iteration 1, 3 labels, ")
    assert found.labels == len(small_campaign.outputs.dataset)
    assert found.iteration == len(found.curve)
    assert not found.jobs
    assert "oracle fmax" in describe(found)


def test_a_failed_campaign_tells_why(failed_campaign):
    text = describe(progress(failed_campaign))
    assert text.startswith("failed, iteration 0, ")
    assert f"{failed_campaign.exit_message} (exit code {failed_campaign.exit_status})" in text


def test_a_running_campaign_shows_its_stage_and_jobs(aiida_profile, aiida_localhost):
    campaign = WorkChainNode()
    campaign.set_process_state("waiting")
    campaign.store()
    job = CalcJobNode(computer=aiida_localhost, process_type="aiida.calculations:mlal.simulate")
    job.set_process_state("waiting")
    job.set_process_status("Monitoring scheduler: job state RUNNING")
    job.base.links.add_incoming(campaign, LinkType.CALL_CALC, "simulate_03")
    job.store()
    found = progress(campaign)
    assert found.iteration == 3
    assert found.stage.startswith("simulating")
    text = describe(found)
    assert f"job {job.pk} mlal.simulate: Monitoring scheduler" in text
    assert "iteration 3" in text
    assert "nothing has changed" not in text
    idle = describe(replace(found, idle=700.0))
    assert "nothing has changed for 11 min 40 s; if its process is gone, `aiida-mlal kill`" in idle


def test_one_label_is_no_labels(small_campaign):
    found = replace(progress(small_campaign), labels=1)
    assert describe(found).startswith("converged, iteration 1, 1 label, ")


def test_what_is_not_known_has_no_column(small_campaign):
    """Pools have no simulations."""
    (row,) = progress(small_campaign).curve
    nothing = {"runs": 0, "steps_min": None, "oracle_fmax": None, "uncertainty_max": None}
    heads = table([{**row, **nothing}]).splitlines()[0].split()
    assert heads == ["iteration", "labels", "learned", "force", "MAE", "energy", "MAE"]
    assert "completed" in table([row, {**row, **nothing}])


def test_a_campaign_that_has_just_begun_is_starting(aiida_profile):
    campaign = WorkChainNode()
    campaign.store()
    assert progress(campaign).stage == "starting"


def called(caller, label, kind, state=None):
    process = WorkChainNode(process_type=f"aiida.workflows:{kind}")
    if state is not None:
        process.set_process_state(state)
    process.base.links.add_incoming(caller, LinkType.CALL_WORK, label)
    return process.store()


def test_a_step_that_was_called_again_after_a_crash_is_not_told(aiida_profile):
    campaign = WorkChainNode()
    campaign.set_process_state("waiting")
    campaign.store()
    called(campaign, "label_01", "mlal.label.ase")
    assert progress(campaign).stage.startswith("labelling")
    called(campaign, "label_01", "mlal.label.ase", "finished")
    assert progress(campaign).stage == "between two steps"
    again = called(campaign, "train_02", "mlal.train.base", "waiting")
    assert progress(campaign).stage == f"training (mlal.train.base {again.pk})"


def test_stages_tell_which_campaign_runs(aiida_profile):
    stages = WorkChainNode()
    stages.set_process_state("waiting")
    stages.store()
    called(stages, "campaign_stage_00", "mlal.offline", "finished")
    running = called(stages, "campaign_stage_01", "mlal.offline", "waiting")
    found = progress(stages)
    assert found.stage == f"stage_01, campaign {running.pk}"
    assert list(found.stages) == ["stage_00", "stage_01"]
    lines = describe(found).splitlines()
    assert lines[0].startswith("running, 0 labels, ")
    assert lines[-1].startswith("stage_01: running, iteration 0, 0 labels, ")


def test_errors_on_a_test_set_are_shown_where_there_is_one():
    row = {"iteration": 1, "labels": 30, "trained_on": 20, "errors": {}, "score_mean": None}
    row |= {"test": {"force_rmse": 0.125, "energy_mae": 0.002}, "uncertainty": {"spearman": 0.5}}
    text = table([row, {**row, "iteration": 2, "uncertainty": None, "test": None}])
    assert "force RMSE" in text
    assert "0.125" in text
    assert "relaxed" not in text
    assert text.splitlines()[3].split() == ["1", "30", "20", "0.125", "2", "0.5"]
