"""A campaign that looks for a saddle point, run for real with labels of EMT."""

import numpy as np
import pytest
from aiida import orm
from aiida.plugins import WorkflowFactory
from ase import Atoms
from ase.build import fcc100
from ase.calculators.emt import EMT
from campaign_fixtures import ancestors, once

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.simulation.vibrations import modes
from aiida_mlal.workflows.ports import check_inputs

LABEL = "aiida.calculations:mlal.label.ase"


def displaced():
    """A carbon atom near a bridge site of copper."""
    atoms = fcc100("Cu", (1, 1, 2), a=3.6, vacuum=5.0)
    atoms += Atoms("C", [atoms.positions[-1] + [1.2, 0.2, 1.2]])
    atoms.pbc = (True, True, False)
    return atoms


def make(code, structure, **overrides):
    return WorkflowFactory("mlal.online").get_builder_from_protocol(
        code, structure, "fast", overrides, fixed=[0, 1], recipe="saddle"
    )


@pytest.fixture
def search(aiida_profile, mlal_code):
    stop = [{"name": "oracle_force", "fmax": 0.2}, {"name": "iterations", "n": 8}]
    structure = orm.StructureData(ase=displaced())
    return once("saddle point", lambda: make(mlal_code, structure, stop=stop))


def test_it_ends_at_a_saddle_point_of_the_labels(search):
    assert search.is_finished_ok, search.exit_message
    found = search.outputs.structure.get_ase()
    found.calc = EMT()
    fixed = np.zeros((3, 3), bool)
    fixed[:2] = True
    assert np.linalg.norm(found.get_forces()[2]) < 0.2
    assert modes(found, fixed).n_imaginary == 1
    assert len(search.outputs.dataset) < 8
    simulations = search.base.links.get_outgoing(link_label_filter="simulate_%").all()
    run = max(simulations, key=lambda link: link.link_label).node.outputs.results["runs"][0]
    assert run["results"]["modes"]["n_imaginary"] == 1
    assert run["stationary"] == [0]


def test_a_path_leads_from_the_saddle_point_to_every_label_learned(search):
    assert search.is_finished_ok, search.exit_message
    potential = search.outputs.potential
    labels = [node for node in ancestors(potential) if node.process_type == LABEL]
    assert len(labels) == len(potential.creator.inputs.dataset) == len(search.outputs.dataset) - 1
    there = {node.uuid for node in ancestors(search.outputs.structure)}
    assert {node.uuid for node in labels} < there


def test_a_direction_is_given_by_a_second_structure(aiida_profile, mlal_code):
    one, other = displaced(), displaced()
    other.positions[-1, 0] += 0.3
    both = DatasetData.from_ase([one, other])
    towards = {"name": "saddle", "mode": "towards", "guard": {"break": 0.5}}
    builder = make(mlal_code, both, simulation=towards)
    assert builder.query["n"] == 1
    process = builder.process_class.spec().inputs
    check_inputs(builder._inputs(prune=True), process)
    builder = make(mlal_code, orm.StructureData(ase=one), simulation=towards)
    with pytest.raises(ValueError, match="with mode 'towards' a run takes 2 structures"):
        check_inputs(builder._inputs(prune=True), process)
