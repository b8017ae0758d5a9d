"""Small campaigns, run for real, and ways about their graphs; loaded where AiiDA is installed."""

import contextlib
import io
import runpy
import tempfile
from pathlib import Path

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
    """A campaign that converged."""
    return once("small campaign", lambda: offline(mlal_code, slab, "emt"))


@pytest.fixture
def small_report(small_campaign):
    """What is reported of the campaign that converged; tests only read it."""
    from aiida_mlal.report.numbers import collect

    if small_campaign.uuid not in REPORTS:
        REPORTS[small_campaign.uuid] = collect(small_campaign)
    return REPORTS[small_campaign.uuid]


REPORTS = {}
"""By the UUID of the campaign."""


@pytest.fixture
def failed_campaign(aiida_profile, mlal_code, slab, monkeypatch):
    """A campaign without any label, since what should make a calculator makes none."""
    monkeypatch.setenv("MLAL_ALLOWED_FACTORIES", "json")
    labels = {"name": "mine", "factory": "json:loads", "options": {"s": "[]"}}
    return once("failed campaign", lambda: offline(mlal_code, slab, labels))


def offline(code, atoms, labels):
    from aiida.orm import StructureData
    from aiida.plugins import WorkflowFactory

    return WorkflowFactory("mlal.offline").get_builder_from_protocol(
        code, StructureData(ase=atoms), "fast", INPUTS, labels, fixed=[0], recipe="network"
    )


def once(label, make_builder):
    """Run a campaign, unless another test ran one of this label and it is still there.

    A label belongs to one fixture of all tests, which share their profile.
    """
    from aiida.engine import run_get_node
    from aiida.orm import QueryBuilder, WorkChainNode

    found = QueryBuilder().append(WorkChainNode, filters={"label": label}).all(flat=True)
    if found:
        return found[0]
    builder = make_builder()
    builder.metadata.label = label
    builder.select.code.computer.set_workdir(tempfile.mkdtemp())  # which outlives the test
    return run_get_node(builder)[1]


def example(name):
    """Run an example as its user does, unless another test did and its nodes are still there.

    It needs the code ``mlal@localhost``. Returned are its variables and what it ``printed``.
    """
    from aiida.orm import QueryBuilder, WorkChainNode, load_computer

    found = EXAMPLES.get(name)
    if (
        found is None
        or not QueryBuilder().append(WorkChainNode, filters={"uuid": found["node"].uuid}).count()
    ):
        load_computer("localhost").set_workdir(tempfile.mkdtemp())  # which outlives the test
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            found = runpy.run_path(str(Path(__file__).parents[1] / "examples" / name))
        EXAMPLES[name] = {**found, "printed": printed.getvalue()}
    return EXAMPLES[name]


EXAMPLES = {}
"""What examples have come to, by their names."""


def ancestors(node):
    """Return all nodes that a node came from."""
    from aiida.common.links import LinkType

    found, queue = {}, [node]
    while queue:
        links = queue.pop().base.links.get_incoming(
            link_type=(LinkType.CREATE, LinkType.INPUT_CALC)
        )
        new = [other for other in links.all_nodes() if other.pk not in found]
        found |= {other.pk: other for other in new}
        queue += new
    return list(found.values())
