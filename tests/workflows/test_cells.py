"""Offline campaigns that relax the cell, run for real with labels of EMT."""

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import WorkflowFactory
from ase.build import bulk, fcc100
from ase.units import GPa
from campaign_fixtures import once

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report import graph
from aiida_mlal.report.compare import direct_relaxation
from aiida_mlal.report.numbers import collect
from aiida_mlal.report.page import render
from aiida_mlal.report.progress import describe, progress

SURE, ENOUGH = {"name": "uninterrupted", "threshold": 0.1}, {"name": "iterations", "n": 3}
CELL = {"simulation": {"cell": "full"}}


@pytest.fixture
def make(aiida_profile, mlal_code):
    def factory(atoms=None, labels="emt", recipe="network", **changes):
        start = bulk("Al", cubic=True, a=4.3) if atoms is None else atoms
        return WorkflowFactory("mlal.offline").get_builder_from_protocol(
            mlal_code, orm.StructureData(ase=start), "fast", {**CELL, **changes}, labels,
            recipe=recipe,
        )  # fmt: skip

    return factory


@pytest.fixture
def aluminium(make):
    """The protocol as it is, from a lattice constant that is 8 % too large."""
    return once("cell of aluminium", make)


@pytest.mark.timeout(1800)
def test_aluminium_ends_at_its_lattice_constant(aluminium):
    """By symmetry all forces are zero, so that the stress alone says where to."""
    assert aluminium.is_finished_ok, aluminium.exit_message
    lengths = aluminium.outputs.structure.get_ase().cell.lengths()
    assert lengths == pytest.approx(np.full(3, 3.994), abs=0.005)
    last = aluminium.outputs.relaxed.configurations
    assert np.abs(last.stresses / GPa).max() < 0.015
    assert aluminium.outputs.curve["rows"][-1]["oracle_smax_GPa"] == pytest.approx(
        np.abs(last.stresses / GPa).max()
    )


@pytest.mark.timeout(1800)
def test_the_report_shows_the_stress_beside_the_force(aluminium):
    found = collect(aluminium, [direct_relaxation(aluminium, "BFGS")])
    assert found.smax_GPa == 0.015
    assert found.queries[0].smax_GPa == pytest.approx(7.4, abs=0.3)
    assert found.queries[-1].smax_GPa < 0.015
    (direct,) = found.direct
    assert direct.smax_GPa[0] == pytest.approx(found.queries[0].smax_GPa)
    assert direct.smax_GPa[-1] < 0.015
    assert "labelled stress, GPa" in render(found, {})
    assert "oracle smax" in describe(progress(aluminium))
    assert graph.moving_cell(aluminium).moves == "full"


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({}, 10.0),
        ({"training": {"loss": {"stress": 0.2}}}, 0.2),
        ({"simulation": {"cell": "fixed"}}, 0.0),
        ({"recipe": "bootstrap"}, 0.001),
    ],
)
def test_the_stress_is_learned_where_the_cell_moves(make, changes, weight):
    assert make(**changes).training["loss"]["stress"] == weight


@pytest.mark.parametrize(
    ("changes", "prior"),
    [
        ({}, "zbl"),
        ({"model": {"ensemble": 2}}, "zbl"),
        ({"model": {"prior": {"architecture": "morse"}}}, "morse"),
        ({"simulation": {"cell": "fixed"}}, "morse"),
    ],
)
def test_the_prior_pulls_no_crystal_together(make, changes, prior):
    assert make(**changes).model["prior"]["architecture"] == prior


def processes():
    return orm.QueryBuilder().append(orm.ProcessNode).count()


def test_what_cannot_be_judged_is_refused_before_anything_is_submitted(make):
    slab = fcc100("Al", (1, 1, 2), vacuum=6.0)
    crystal = Configurations.from_ase(bulk("Al", cubic=True, a=4.2))
    without = DatasetData(crystal.with_labels([0.0], np.zeros((4, 3))).with_info(status=["ok"]))
    before = processes()
    for builder, message in (
        (make(slab), r"structures: cell 'full' needs structures periodic in all directions"),
        (make(labels={"name": "tip3p"}), "simulation: its cell moves, and the labels .* no stress"),
        (make(dataset=without), "dataset: cell 'full' moves by the stress, and 1 of 1 labels have"),
        (
            make(training={"loss": {"energy": 1.0, "force": 1.0, "stress": 0.0}}),
            r"training\.loss\.stress: the simulation moves the cell",
        ),
        (
            make(model={"ensemble": 2}, simulation={**CELL["simulation"], "guard": {"break": 1.0}}),
            "simulation: guard: the uncertainty 'force_std' is of forces alone",
        ),
        (
            make(model={"ensemble": 2}, query={"name": "uncertainty"}, stop=[SURE, ENOUGH]),
            r"stop\[0\]: the uncertainty 'force_std' is of forces alone.* for 'threshold'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            run_get_node(builder)
    assert processes() == before


def test_labels_that_turn_out_to_have_no_stress_end_a_campaign_at_once(make):
    """A function that returns a calculator tells only when it is run."""
    labels = {"name": "no stress", "factory": "ase.calculators.test:TestPotential"}
    _, node = run_get_node(make(labels=labels))
    assert node.exit_status == 422
    assert "1 of 1 labels have none" in node.exit_message
    assert "TrainBaseWorkChain" not in [child.process_label for child in node.called]
