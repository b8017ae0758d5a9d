"""Relaxations by Gaussian processes, run for real with labels of EMT."""

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase import Atoms
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from campaign_fixtures import ancestors, once

from aiida_mlal.ml.frames import REASON, UNCERTAINTY
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd
from aiida_mlal.report.numbers import collect
from aiida_mlal.workflows.ports import check_inputs

LABEL = "aiida.calculations:mlal.label.ase"


def molecule():
    atoms = Atoms("N2", [[0, 0, 0], [0, 0, 1.25]])
    atoms.center(5)
    return atoms


@pytest.fixture
def relaxation(aiida_profile, mlal_code):
    near = {"simulation": {"guard": {"trust": 0.05}}}  # so near that the trust must grow
    return once(
        "relaxation by gp",
        lambda: WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code, orm.StructureData(ase=molecule()), "balanced", near, recipe="gp"
        ),
    )


def called(node, label):
    """Return what a process called by names of links that begin so, by name."""
    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all()
    found = {link.link_label: link.node for link in links if link.link_label.startswith(label)}
    return dict(sorted(found.items()))


def test_it_ends_at_the_minimum_with_few_labels(relaxation):
    assert relaxation.is_finished_ok, relaxation.exit_message
    atoms = molecule()
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.001)
    found = relaxation.outputs.structure.get_ase()
    assert found.get_distance(0, 1) == pytest.approx(atoms.get_distance(0, 1), abs=0.01)
    rows = relaxation.outputs.curve["rows"]
    assert rows[-1]["labels"] <= 7
    assert len(relaxation.outputs.dataset) == rows[-1]["labels"]


def test_each_simulation_begins_where_the_graph_says_why(relaxation):
    moves, simulations = called(relaxation, "move_start_"), called(relaxation, "simulate_")
    assert len(moves) == len(simulations) - 1 > 0
    given = relaxation.inputs.simulation.get_dict()
    radii = [given["guard"]["trust"]]
    for k, (move, simulation) in enumerate(zip(moves.values(), list(simulations.values())[1:])):
        assert simulation.inputs.structures.creator.uuid == move.uuid
        before = list(simulations.values())[k]
        assert move.inputs.trajectory.uuid == before.outputs.trajectory.uuid
        assert move.inputs.start.uuid == relaxation.inputs.start.uuid
        options = simulation.inputs.simulation
        radii.append(options["guard"]["trust"])
        if "simulation" in move.outputs:
            assert options.uuid == move.outputs.simulation.uuid
            assert {**options.get_dict(), "guard": given["guard"]} == given
        else:
            assert radii[-1] == radii[-2]
    assert len(set(radii)) > 1


def test_simulations_begin_at_the_best_label(relaxation):
    labels = relaxation.outputs.dataset.configurations
    for k, move in enumerate(called(relaxation, "move_start_").values()):
        best = int(np.argmin(labels.energies[: k + 2]))
        begun = move.outputs.structures.configurations
        np.testing.assert_array_equal(begun.positions, labels[best].positions)


def test_potentials_measure_their_uncertainty(relaxation):
    potential, labels = relaxation.outputs.potential, relaxation.outputs.dataset.configurations
    values = ProcessForceStd().measure(potential.load(), labels[: len(labels) - 1]).values
    assert values.max() < 0.05  # but for the last one, all are learned from
    frames = list(called(relaxation, "simulate_").values())[-1].outputs.trajectory.configurations
    assert np.isfinite(UNCERTAINTY.of(frames)).all()


def test_all_labels_lead_to_the_structure(relaxation):
    there = [n for n in ancestors(relaxation.outputs.structure) if n.process_type == LABEL]
    assert len(there) == len(relaxation.outputs.dataset)


def test_a_query_that_labels_no_ends_moves_no_start(mlal_code):
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        mlal_code,
        orm.StructureData(ase=molecule()),
        overrides={"query": {"name": "random", "n": 1}, "stop": [{"name": "iterations", "n": 2}]},
        recipe="gp",
    )
    with pytest.raises(ValueError, match="start: 'quasi_newton' goes by labels of the last frames"):
        check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)


@pytest.fixture
def piloted(aiida_profile, mlal_code):
    """Relaxed first by the calculator that labels, whose energies are others by a constant."""
    return once(
        "relaxation with a pilot",
        lambda: WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code,
            orm.StructureData(ase=molecule()),
            "balanced",
            {"pilot": {"architecture": "ase", "calculator": {"name": "emt"}}},
            fixed=[0],
        ),
    )


def test_a_campaign_begins_where_its_pilot_ends(piloted):
    assert piloted.is_finished_ok, piloted.exit_message
    (run,) = called(piloted, "pilot").values()
    (after,) = called(piloted, "after_pilot").values()
    frames = run.outputs.trajectory.configurations
    begun = after.outputs.result.configurations
    np.testing.assert_array_equal(begun.positions, frames[len(frames) - 1].positions)
    assert begun.fixed.any()
    labels = piloted.outputs.dataset.configurations
    np.testing.assert_array_equal(labels[0].positions, begun.positions)
    assert len(labels) == 1 + len(called(piloted, "label_")) - 1 <= 2
    assert labels[0].max_forces[0] < 0.03


def test_a_start_is_not_labelled_whose_pilot_ends_at_a_label(piloted, mlal_code):
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        mlal_code,
        orm.StructureData(ase=molecule()),
        overrides={"pilot": piloted.inputs.pilot.get_dict()},
        fixed=[0],
    )
    builder.dataset = piloted.outputs.dataset
    again = run_get_node(builder)[1]
    assert again.is_finished_ok, again.exit_message
    assert "label_00" not in called(again, "label_")
    assert len(again.outputs.dataset) == len(piloted.outputs.dataset)


def test_the_pilot_is_an_ancestor_of_the_labels(piloted):
    (built,) = called(piloted, "build_pilot").values()
    assert built in ancestors(piloted.outputs.dataset)
    assert piloted.inputs.pilot in ancestors(piloted.outputs.dataset)
    assert collect(piloted).options["pilot"] == piloted.inputs.pilot.get_dict()


@pytest.mark.parametrize(
    ("overrides", "recipe", "said"),
    [
        ({"pilot": {"architecture": "mtp"}}, "gp", "pilot: expected a model that has nothing to"),
        ({"pilot": {"architecture": "sevenet"}}, "gp", "did you mean 'sevennet'"),
        (
            {"pilot": {"architecture": "chgnet", "checkpoint": "r3"}},
            "gp",
            "unknown checkpoint 'r3'",
        ),
        ({"pilot": {"architecture": "sevennet"}}, "md", "pilot: .* this simulation relaxes none"),
    ],
)
def test_a_pilot_that_cannot_go_ahead_is_refused(mlal_code, overrides, recipe, said):
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        mlal_code, orm.StructureData(ase=molecule()), overrides=overrides, recipe=recipe
    )
    with pytest.raises(ValueError, match=said):
        check_inputs(builder._inputs(prune=True), builder.process_class.spec().inputs)


@pytest.fixture
def doubted(aiida_profile, mlal_code):
    """Labels that are believed to 1 eV and 1 eV/Å, so that a stretched molecule seems relaxed."""
    noisy = {"name": "marginal_likelihood", "energy_noise": 1.0, "force_noise": 1.0}
    overrides = {"model": {"prior": None}, "training": {"optimizer": noisy}}
    atoms = molecule()
    atoms.set_distance(0, 1, 1.0)
    return once(
        "labels that are not believed",
        lambda: WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code, orm.StructureData(ase=atoms), "balanced", overrides, recipe="gp"
        ),
    )


def test_it_goes_on_where_the_model_finds_a_label_relaxed_that_is_not(doubted):
    assert doubted.is_finished_ok, doubted.exit_message
    rows = doubted.outputs.curve["rows"]
    assert rows[-1]["oracle_fmax"] < 0.03
    assert rows[0]["labels"] == 1  # there was nothing to label in the first iteration
    chosen = doubted.outputs.selections.iteration_02.selected[0]
    said = "a quasi-Newton step on the labels, as the model sees nothing lower"
    assert chosen["reason"] == f"last frame of run 0: {said}"
    assert {*REASON.of(doubted.outputs.dataset.configurations)} >= {chosen["reason"]}
