"""Online learning, run for real with labels of EMT."""

import itertools

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from campaign_fixtures import ancestors, example

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml import plugins
from aiida_mlal.ml.frames import STEP
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.workflows.online_calcfunctions import begin_runs
from aiida_mlal.workflows.ports import check_inputs

LABEL = "aiida.calculations:mlal.label.ase"


def adsorbate(height=1.6, symbol="C"):
    atoms = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=5.0)
    add_adsorbate(atoms, symbol, height, "hollow")
    atoms.pbc = (True, True, False)
    return atoms


def make(code, structure, protocol="fast", **overrides):
    return WorkflowFactory("mlal.online").get_builder_from_protocol(
        code, structure, protocol, overrides, fixed=[0]
    )


def inputs_of(builder):
    return builder._inputs(prune=True), builder.process_class.spec().inputs


def called(node, label):
    """Return what a process called by names of links that begin so, by name."""
    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all()
    found = {link.link_label: link.node for link in links if link.link_label.startswith(label)}
    return dict(sorted(found.items()))


@pytest.fixture
def relaxation(aiida_profile, mlal_code):
    """C on Cu(100), by the example."""
    return example("07_online_relax.py")["node"]


def test_it_ends_at_the_minimum_and_the_label_says_so(relaxation):
    assert relaxation.is_finished_ok, relaxation.exit_message
    atoms = relaxation.inputs.structures.get_ase()
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.01)
    found = relaxation.outputs.structure.get_ase()
    assert found.positions[-1, 2] == pytest.approx(atoms.positions[-1, 2], abs=0.03)
    last = relaxation.outputs.relaxed.configurations
    assert last.max_forces[0] < 0.05
    assert relaxation.outputs.curve["rows"][-1]["labels"] == len(relaxation.outputs.dataset)


def test_each_run_goes_on_from_where_it_stopped_and_was_labelled(relaxation):
    simulations = list(called(relaxation, "simulate_").values())
    assert len(simulations) > 2
    assert "state" not in simulations[0].inputs
    for before, after in itertools.pairwise(simulations):
        assert after.inputs.state.uuid == before.outputs.state.uuid
        assert after.inputs.potential.uuid != before.inputs.potential.uuid
        frames, more = (s.outputs.trajectory.configurations for s in (before, after))
        assert STEP.of(more)[0] == STEP.of(frames)[-1] == before.outputs.results["runs"][0]["steps"]
        np.testing.assert_array_equal(more[0].positions, frames[-1].positions)
        labelled = relaxation.outputs.dataset.configurations
        assert frames[-1].keys[0] in labelled.keys
        learned = after.inputs.potential.creator.inputs.dataset.configurations
        assert frames[-1].keys[0] in learned.keys


def test_selections_say_why_each_step_was_labelled(relaxation):
    reasons = [s.selected[0]["reason"] for s in relaxation.outputs.selections.values()]
    ends = [s.outputs.results["runs"][0] for s in called(relaxation, "simulate_").values()]
    assert ends[-1]["reason"] == "converged"
    assert {"uncertain"} <= {run["reason"] for run in ends}
    for reason, run in zip(reasons, ends):
        why = "converged, to be verified" if run["converged"] else "uncertain (the uncertainty"
        assert reason.startswith(f"last frame of run 0: {why}")


def test_a_path_leads_from_every_potential_to_every_label(relaxation):
    there = [n for n in ancestors(relaxation.outputs.potential) if n.process_type == LABEL]
    learned = relaxation.outputs.potential.creator.inputs.dataset
    assert len(there) == len(learned) == len(relaxation.outputs.dataset) - 1
    assert len(ancestors(relaxation.outputs.structure)) > len(there)
    for output in (relaxation.outputs.dataset, relaxation.outputs.structure):
        assert output.creator is not None


def test_runs_go_on_side_by_side_until_each_is_over(aiida_profile, mlal_code):
    """Two of them: one is over sooner, and goes on no more."""
    two = DatasetData.from_ase([adsorbate(1.2), adsorbate(1.75, "O")])
    node = run_get_node(make(mlal_code, two))[1]
    assert node.is_finished_ok, node.exit_message
    counts = [len(called(node, f"simulate_run_{i:03d}")) for i in range(2)]
    assert min(counts) >= 1
    rows = node.outputs.curve["rows"]
    assert max(counts) == len(rows)
    assert rows[-1]["runs"] == 2
    assert (node.outputs.relaxed.configurations.max_forces < 0.05).all()
    assert len(node.outputs.dataset) <= 2 + sum(counts)


def test_dynamics_stop_and_go_on(aiida_profile, mlal_code):
    md = {"name": "md", "steps": 25, "timestep": 2.0, "temperature": 200.0, "every": 5}
    builder = make(
        mlal_code,
        orm.StructureData(ase=adsorbate(1.2)),
        simulation={**md, "guard": {"break": 0.3, "break_share": 0.3}},
        stop=[{"name": "uninterrupted"}, {"name": "iterations", "n": 12}],
    )
    node = run_get_node(builder)[1]
    assert node.is_finished_ok, node.exit_message
    simulations = list(called(node, "simulate_").values())
    assert len(simulations) > 1
    assert simulations[-1].outputs.results["runs"][0]["reason"] == "completed"
    assert simulations[-1].outputs.results["runs"][0]["steps"] == 25
    for before, after in itertools.pairwise(simulations):
        assert after.inputs.state.checkpoint.state.momenta is not None
        steps = [s.outputs.results["runs"][0]["steps"] for s in (before, after)]
        assert steps[0] < steps[1] <= 25


def test_a_limit_that_is_never_met_ends_as_a_relaxation_does(aiida_profile, mlal_code):
    """The only reason for a label is that the end is to be verified."""
    builder = make(
        mlal_code,
        orm.StructureData(ase=adsorbate(1.2)),
        simulation={"name": "relax", "fmax": 0.04, "guard": {"break": 1e6}},
        stop=[{"name": "oracle_force", "fmax": 30.0}, {"name": "iterations", "n": 9}],
    )
    node = run_get_node(builder)[1]
    assert node.is_finished_ok, node.exit_message
    (selection,) = node.outputs.selections.values()
    assert "converged, to be verified" in selection.selected[0]["reason"]


def test_a_start_that_is_above_the_limit_was_labelled_and_the_run_goes_on(aiida_profile, mlal_code):
    """Of one label the median of informativeness is that of this label: nothing was below it."""
    builder = make(
        mlal_code,
        orm.StructureData(ase=adsorbate()),
        model={"architecture": "gmnn", "hidden": [8]},
        training={"epochs": 5},
        uncertainty={"name": "oed", "quantity": "forces"},
        simulation={"name": "md", "steps": 5, "guard": {"break": 1.0}},
        stop=[{"name": "iterations", "n": 1}],
    )
    node = run_get_node(builder)[1]
    (simulation,) = called(node, "simulate_").values()
    assert simulation.outputs.results["runs"][0]["steps"] > 0
    assert len(node.outputs.dataset) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"simulation": {"name": "relax"}}, "nothing stops a run where the potential is not sure"),
        (
            {"model": {"architecture": "bpnn"}, "training": {"epochs": 2}},
            "'select' and 'break' need an uncertainty, and a single potential has none",
        ),
        ({"start": {"name": "best"}}, "unknown input 'overrides.start'"),
        (
            {"simulation": {"name": "relax", "guard": {"break_share": 0.3}}},
            "break_share raises the limit that is given as break",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(
    aiida_profile, mlal_code, overrides, message
):
    with pytest.raises(ValueError, match=message):
        check_inputs(*inputs_of(make(mlal_code, orm.StructureData(ase=adsorbate()), **overrides)))


def test_what_runs_begin_with_is_chosen_by_the_campaign(aiida_profile, mlal_code):
    builder = make(
        mlal_code,
        orm.StructureData(ase=adsorbate()),
        simulate={"keep_state": orm.Bool(False)},
    )
    with pytest.raises(ValueError, match=r"simulate\.keep_state: what is simulated is chosen"):
        check_inputs(*inputs_of(builder))


def test_scenarios_and_copies_of_a_structure_are_runs_of_their_own(aiida_profile, mlal_code):
    md = {"name": "md", "steps": 3, "guard": {"break": 0.5}}
    scenarios = [{"temperature": 200.0}, {"temperature": 400.0}]
    stop = [{"name": "uninterrupted"}, {"name": "iterations", "n": 2}]
    simulation = {**md, "scenarios": scenarios}
    builder = make(
        mlal_code,
        DatasetData.from_ase([adsorbate(), adsorbate()]),
        simulation=simulation,
        stop=stop,
    )
    check_inputs(*inputs_of(builder))
    found = begin_runs(
        builder.structures, orm.Str("mlal.simulate.base"), orm.Dict(simulation), orm.Bool(True)
    )
    assert sorted(found) == ["keep_state", "run_000", "run_001", "run_002", "run_003"]
    model = {"architecture": "ase", "calculator": {"name": "emt"}}
    potential = ModelOptions.parse(model).build(["C", "Cu"], 0)
    every = plugins.make("simulations", {**simulation, "guard": {}})
    whole = every.run(potential, builder.structures.configurations)
    for number in range(4):
        (run,) = every.run(potential, found[f"run_{number:03d}"].configurations).runs
        assert run.results == whole.runs[number].results
    ends = [run.results["temperature_K"]["last"] for run in whole.runs]
    assert len(set(ends)) == 4
