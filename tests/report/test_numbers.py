"""The numbers of real, small campaigns."""

import numpy as np
import pytest
from aiida.common.links import LinkType
from aiida.orm import WorkChainNode
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import ITERATION, PREDICTED_ENERGY, PREDICTED_FORCES
from aiida_mlal.ml.simulation.vibrations import modes
from aiida_mlal.report import graph
from aiida_mlal.report.compare import direct_relaxation
from aiida_mlal.report.numbers import _parity, collect


def test_tells_how_it_ended(small_report, small_campaign):
    assert small_report.converged
    assert small_report.outcome == "converged"
    assert (small_report.pk, small_report.uuid) == (small_campaign.pk, small_campaign.uuid)
    assert small_report.process == "mlal.offline"
    assert small_report.system == "CCu3"
    assert small_report.fmax == 100.0
    assert small_report.wall > small_report.busy > 0
    assert not small_report.failures


def test_the_curve_is_that_of_the_campaign(small_report, small_campaign):
    assert small_report.curve == small_campaign.outputs.curve["rows"]


def test_every_label_is_a_query_with_its_reason_and_source(small_report, small_campaign):
    dataset = small_campaign.outputs.dataset
    assert [q.key for q in small_report.queries] == dataset.configurations.keys
    assert [q.source for q in small_report.queries] == list(dataset.sources)
    assert {q.status for q in small_report.queries} == {"ok"}
    assert small_report.queries[0].iteration == 0
    assert small_report.queries[0].reason == "given"
    chosen = small_campaign.outputs.selections.iteration_01.selected
    assert [q.reason for q in small_report.queries[1:3]] == [c["reason"] for c in chosen]
    assert all(q.step is not None for q in small_report.queries[1:])


def test_errors_are_those_of_the_potential_that_chose(small_report, small_campaign):
    potential = small_campaign.outputs.potential.load()
    last = [q for q in small_report.queries if q.iteration == len(small_report.curve)]
    frames = small_campaign.outputs.dataset.configurations[-len(last) :]
    predicted = potential.predict(frames)
    for query, truth, guess in zip(last, frames.to_ase(), predicted.to_ase(), strict=True):
        truth.calc = EMT()
        truth.set_constraint()
        guess.set_constraint()
        norms = np.linalg.norm(truth.get_forces() - guess.get_forces(), axis=1)
        assert query.force_error == pytest.approx(norms.max(), rel=1e-6)
        error = (guess.get_potential_energy() - truth.get_potential_energy()) / len(truth)
        assert query.energy_error == pytest.approx(error, rel=1e-6)


def test_parity_has_what_was_predicted_only(small_report):
    predicted = [q for q in small_report.queries if q.iteration > 0]
    assert len(small_report.parity.energies) == len(predicted)
    assert len(small_report.parity.forces) == 3 * 4 * len(predicted)
    errors = [q.force_error for q in predicted]
    np.testing.assert_allclose(small_report.parity.uncertainty[:, 1], errors)


def test_parity_is_without_what_compositions_contribute():
    """Ten atoms of gold cost 3 eV each, which no potential has to be praised for."""
    frames = []
    for i, atoms in enumerate([bulk("Cu"), bulk("Au"), bulk("Cu") * (2, 1, 1), bulk("Au")]):
        label = len(atoms) * (-3.0 if "Au" in atoms.symbols else -1.0) + 0.01 * i
        atoms.calc = SinglePointCalculator(atoms, energy=label, forces=np.zeros((len(atoms), 3)))
        frames.append(atoms)
    labelled = Configurations.from_ase(frames)
    errors = np.array([0.1, -0.2, 0.0, 0.3])
    columns = {
        PREDICTED_ENERGY: labelled.energies + errors,
        PREDICTED_FORCES: labelled.forces,
        ITERATION: 1,
    }
    pairs = _parity(labelled.with_columns(columns)).energies
    np.testing.assert_allclose(pairs[:, 0] - pairs[:, 1], errors / labelled.counts)
    assert np.ptp(pairs[:, 1]) < 0.05


def test_every_process_is_counted_once(small_report, small_campaign):
    assert sum(t.count for t in small_report.timings) == len(small_campaign.called_descendants)
    jobs = {t.process: t for t in small_report.timings if t.computing is not None}
    assert set(jobs) == {"mlal.train", "mlal.simulate", "mlal.select", "mlal.label.ase"}
    assert all(t.computing <= t.wall for t in jobs.values())
    assert small_report.busy == pytest.approx(sum(t.computing for t in jobs.values()), rel=1e-6)


def test_direct_relaxation_begins_with_the_first_label(small_campaign):
    direct = direct_relaxation(small_campaign, "BFGS")
    first = small_campaign.outputs.dataset.configurations
    assert direct.energies[0] == pytest.approx(first.energies[0])
    assert direct.fmax[0] == pytest.approx(first.max_forces[0])


def test_where_the_campaign_ended_is_compared_with_where_a_direct_relaxation_did(small_campaign):
    direct = direct_relaxation(small_campaign, "BFGS")
    end = small_campaign.outputs.relaxed.configurations
    assert direct.minimum.energy == pytest.approx(end.energies[0] - direct.energies[-1])
    words = "above" if direct.minimum.energy > 0 else "below"
    assert f"{abs(direct.minimum.energy):.4f} eV {words} it" in direct.minimum.in_words


def test_the_potential_says_whether_another_end_is_a_minimum(small_campaign, monkeypatch):
    monkeypatch.setattr("aiida_mlal.report.compare.is_same_minimum", lambda *_: False)
    found = direct_relaxation(small_campaign, "BFGS").minimum
    atoms = small_campaign.outputs.relaxed.get_ase()[0]
    fixed = small_campaign.outputs.relaxed.configurations.fixed
    atoms.calc = MLCalculator(small_campaign.outputs.potential.load())
    lowest = modes(atoms, fixed).eigenvalues[0]
    assert found.curvature == pytest.approx(lowest)
    assert ("at a minimum" if lowest > 0 else "at a saddle point") in found.in_words


def test_a_relaxation_of_another_system_is_compared_with_by_its_labels_alone(
    small_campaign, tmp_path
):
    atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]])
    atoms.calc = EMT()
    with BFGS(atoms, logfile=None, trajectory=str(tmp_path / "dimer.traj")) as steps:
        steps.run(fmax=0.01)
    direct = direct_relaxation(small_campaign, str(tmp_path / "dimer.traj"))
    assert direct.labels == 1  # the campaign is content with any force
    assert direct.minimum is None


def test_unknown_direct_relaxation_is_refused(small_campaign):
    with pytest.raises(ValueError, match="expected a file, a PK or UUID, or an optimiser"):
        direct_relaxation(small_campaign, "nothing.traj")


def test_a_failed_campaign_names_what_failed(failed_campaign):
    report = collect(failed_campaign)
    assert not report.converged
    assert report.exit_status == failed_campaign.exit_status != 0
    assert report.outcome == failed_campaign.exit_message
    assert not report.curve
    assert "json:loads" in " ".join(f.message for f in report.failures) + report.outcome
    assert {q.status for q in report.queries} <= {"failed"}


def test_a_campaign_that_has_just_begun_is_running(aiida_profile):
    node = WorkChainNode()
    node.set_process_state("running")
    node.store()
    report = collect(node)
    assert report.outcome == "still running"
    assert not report.curve
    assert report.labels == 0


def test_labels_are_found_whatever_process_made_them(small_campaign):
    for batch in graph.labelled(small_campaign):
        link = batch.dataset.base.links.get_incoming(link_type=LinkType.CREATE).one()
        assert link.node.process_label == "LabelCalculation"
        assert batch.process.caller.pk == small_campaign.pk
