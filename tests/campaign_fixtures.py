"""Small campaigns, run for real; loaded only where AiiDA is installed."""

import tempfile

import pytest
from aiida_fixtures import MODEL

INPUTS = {
    "model": {**MODEL, "ensemble": 2},
    "training": {"epochs": 3},
    "simulation": {"name": "relax", "fmax": 0.05, "max_steps": 4},
    "query": {"name": "final", "n": 2},
    "stop": [{"name": "oracle_force", "fmax": 100.0}, {"name": "iterations", "n": 2}],
}
"""Overrides of a campaign that is as small as possible, and content with any force."""


@pytest.fixture
def small_campaign(aiida_profile, mlal_code, slab):
    """A campaign that converged, run once in a session unless its nodes were deleted since."""
    return once("small campaign", mlal_code, slab, "emt", INPUTS)


@pytest.fixture
def failed_campaign(aiida_profile, mlal_code, slab):
    """A campaign without any label, since there is no such calculator."""
    labels = {"name": "mine", "factory": "aiida_mlal:no_such_function"}
    return once("failed campaign", mlal_code, slab, labels, INPUTS)


def once(label, code, atoms, labels, overrides):
    """Return the campaign of this label, and run it if there is none."""
    from aiida.engine import run_get_node
    from aiida.orm import QueryBuilder, StructureData, WorkChainNode
    from aiida.plugins import WorkflowFactory

    found = QueryBuilder().append(WorkChainNode, filters={"label": label}).all(flat=True)
    if found:
        return found[0]
    code.computer.set_workdir(tempfile.mkdtemp())  # which outlives the test
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        code, StructureData(ase=atoms), "fast", overrides, labels, fixed=[0]
    )
    builder.metadata.label = label
    return run_get_node(builder)[1]
