"""Bootstrapping a moment tensor potential from nothing, run for real with labels of EMT."""

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from campaign_fixtures import ancestors, example

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.simulation.guard import UNCERTAIN, UNPHYSICAL

INPUTS = {
    "model": {"level": 4, "radial_basis_size": 4},
    "first_query": {"name": "maxvol", "n": 2, "mode": "neighbourhood"},
    "training": {"epochs": 20},
    "simulation": {"fmax": 0.05, "smax_GPa": 0.5, "max_steps": 60},
    "stop": [{"name": "uninterrupted"}, {"name": "iterations", "n": 12}],
}


@pytest.fixture
def alloys():
    """Cells of two to four atoms of Cu and Au, strained and rattled."""
    rng = np.random.default_rng(3)
    found = []
    for symbols in ("CuAu", "CuAuAu", "CuCuAu", "AuCuAuAu"):
        atoms = bulk("Cu", "fcc", a=3.85).repeat((1, 1, symbols.count("u")))
        atoms.symbols = symbols
        strain = np.eye(3) + rng.normal(0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        found.append(atoms)
    return found


@pytest.fixture
def make(aiida_profile, mlal_code, alloys):
    """Return a factory of builders, with changed overrides."""

    def factory(structures=alloys, **changes):
        return WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code,
            DatasetData.from_ase(structures),
            "fast",
            {**INPUTS, **changes},
            recipe="bootstrap",
        )

    return factory


@pytest.mark.parametrize("recipe", ["bootstrap", "md"])
def test_radial_functions_reach_to_the_bonds_of_molecules(aiida_profile, mlal_code, recipe):
    """Where they end above them, every step is beyond what they are made for."""
    workflow = WorkflowFactory("mlal.offline")
    ethanol, copper = molecule("CH3CH2OH"), bulk("Cu", cubic=True)
    for atoms, nearest in ((ethanol, 0.97), (copper, 2.55)):
        structure = DatasetData.from_ase([atoms])
        builder = workflow.get_builder_from_protocol(mlal_code, structure, recipe=recipe)
        assert 0.7 * nearest < builder.model["min_dist"] < 0.9 * nearest
    asked = {"model": {"min_dist": 1.9}}
    builder = workflow.get_builder_from_protocol(
        mlal_code, DatasetData.from_ase([copper]), "fast", asked, recipe=recipe
    )
    assert builder.model["min_dist"] == 1.9


@pytest.fixture
def campaign(aiida_profile, mlal_code):
    """A campaign that converged, by the example."""
    return example("03_bootstrap_mtp_emt.py")["node"]


def called(node, label):
    links = node.base.links.get_outgoing(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK))
    return links.get_node_by_label(label)


def test_goes_on_until_no_simulation_is_interrupted(campaign):
    assert campaign.is_finished_ok, campaign.exit_message
    rows = campaign.outputs.curve["rows"]
    interrupted = [row["interrupted"] for row in rows]
    assert interrupted[0] > 0
    assert interrupted[-1] == 0
    assert all(interrupted[:-1])
    last = called(campaign, f"simulate_{len(rows):02d}").outputs
    assert len(last.results["runs"]) == 4
    assert not {run["reason"] for run in last.results["runs"]} & {UNCERTAIN, UNPHYSICAL}
    assert max(last.trajectory.configurations.info["uncertainty"]) < 10


def test_nothing_is_labelled_in_vain_at_the_end(campaign):
    """The potential has learned all labels, and the last iteration asked for none."""
    rows = campaign.outputs.curve["rows"]
    assert rows[-1]["labels"] == rows[-2]["labels"] == len(campaign.outputs.dataset)
    assert len(campaign.outputs.potential.creator.inputs.dataset) == rows[-1]["labels"]
    assert len(campaign.outputs.selections) == len(rows)  # the first one before there were rows


def test_the_first_labels_are_chosen_with_a_potential_that_knows_nothing(campaign):
    first = called(campaign, "select_00")
    assert first.inputs.potential.creator.process_label == "untrained"
    assert "train" not in first.inputs
    assert 0 < len(first.outputs.selected) == len(first.outputs.selection.selected) <= 4
    assert called(campaign, "label_00").inputs.dataset.uuid == first.outputs.selected.uuid
    assert campaign.outputs.curve["rows"][0]["labels"] > len(first.outputs.selected)


def test_what_is_labelled_was_extrapolated_to(campaign):
    for name, selection in sorted(campaign.outputs.selections.items())[1:]:
        pool = selection.creator.inputs.pool.configurations
        for chosen in selection.selected:
            assert pool.info["candidate"][chosen["index"]], name
            assert pool.info["uncertainty"][chosen["index"]] >= 2
            assert chosen["score"] > 1.1


def test_a_path_leads_from_the_potential_to_every_label_and_its_selection(campaign):
    dataset = campaign.outputs.dataset
    known = {node.uuid for node in ancestors(campaign.outputs.potential)}
    selections = list(campaign.outputs.selections.values())
    for key, source in zip(dataset.configurations.keys, dataset.sources, strict=True):
        assert source in known
        chosen = orm.load_node(source).inputs.dataset
        assert chosen.creator.outputs.selection in selections
        assert key in [item["key"] for item in chosen.creator.outputs.selection.selected]
        assert campaign.inputs.structures in ancestors(chosen)


def test_relaxed_cells_are_those_of_the_calculator(campaign):
    alloys = campaign.inputs.structures.configurations.to_ase()
    relaxed = campaign.outputs.relaxed.configurations
    assert relaxed.formulas == [atoms.get_chemical_formula() for atoms in alloys]
    predicted = relaxed.info["predicted_energy"] / relaxed.counts
    for atoms, found in zip(alloys, predicted, strict=True):
        atoms.calc = EMT()
        with BFGS(FrechetCellFilter(atoms), logfile=None) as optimizer:
            optimizer.run(0.02, 300)
        assert found == pytest.approx(atoms.get_potential_energy() / len(atoms), abs=0.03)


def test_begins_with_a_given_potential(campaign, make, alloys):
    """A campaign that goes on from another one chooses and trains nothing at first."""
    builder = make(alloys[:2])
    builder.dataset = campaign.outputs.dataset
    builder.potential = campaign.outputs.potential
    results, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    assert results["curve"]["rows"][0]["labels"] == 0
    assert results["potential"].uuid == campaign.outputs.potential.uuid


def test_later_potentials_begin_with_the_weights_of_earlier_ones(make, alloys):
    stop = [{"name": "uninterrupted"}, {"name": "iterations", "n": 2}]
    first = {"name": "random", "n": 1}
    _, node = run_get_node(make(alloys[:2], warm_start=True, first_query=first, stop=stop))
    before, after = (called(node, f"train_{i:02d}") for i in (1, 2))
    assert "initial" not in before.inputs.train
    assert after.inputs.train.initial.uuid == before.outputs.potential.uuid


def test_a_budget_counts_the_first_labels(make, alloys):
    stop = [{"name": "uninterrupted"}, {"name": "labels", "n": 3}]
    _, node = run_get_node(make(stop=stop))
    assert node.exit_status == 410
    assert len(node.outputs.dataset) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_query": {"name": "maxvoll"}}, "first_query: unknown strategy 'maxvoll', did you"),
        (
            {"simulation": {"guard": {"break": None}}},
            "stop 'uninterrupted' wants simulations that end",
        ),
        ({"uncertainty": {"name": "grade", "mode": "atom"}}, "unknown choice 'atom'"),
        ({"model": {"level": 7}}, "even level from 2 to 28, got 7"),
    ],
)
def test_mistakes_are_found_before_anything_is_submitted(make, changes, message):
    with pytest.raises(ValueError, match=message):
        run_get_node(make(**changes))


def test_another_recipe_is_unknown(mlal_code, alloys):
    with pytest.raises(ValueError, match="unknown recipe 'bootstrapping', did you mean 'bootst"):
        WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code, DatasetData.from_ase(alloys), recipe="bootstrapping"
        )
