"""Properties of a potential as nodes, beside those of the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import CalcJobNode, Dict, QueryBuilder
from aiida.plugins import WorkflowFactory
from ase.build import bulk

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.report import page
from aiida_mlal.report.numbers import collect
from aiida_mlal.report.words import flat

PROPERTIES = [{"name": "lattice"}, {"name": "elastic", "strain": 0.01}, {"name": "cold_curve"}]


@pytest.fixture
def potential():
    """Two Morse potentials of different depths."""
    from aiida_mlal.ml.models.ensemble import Ensemble
    from aiida_mlal.ml.models.factory import ModelOptions

    models = [
        {
            "architecture": "morse",
            "cutoff": 4.0,
            "parameters": {"Cu": {"De": d, "re": 2.2, "a": 1.4}},
        }
        for d in (1.0, 1.2)
    ]
    return Ensemble([ModelOptions.parse(model).build(["Cu"], 0) for model in models])


@pytest.fixture
def finished(mlal_code, potential):
    builder = WorkflowFactory("mlal.properties").get_builder()
    builder.compute.code = mlal_code
    builder.potential = PotentialData.from_potential(potential).store()
    builder.structures = DatasetData.from_ase([bulk("Cu", a=3.0)])
    builder.properties = PROPERTIES
    builder.calculator = {"name": "emt"}
    outputs, node = run_get_node(builder)
    assert node.is_finished_ok, (node.exit_status, node.exit_message)
    return outputs, node


def test_the_report_has_the_numbers(mlal_code, tmp_path):
    builder = WorkflowFactory("mlal.properties").get_builder()
    builder.compute.code = mlal_code
    builder.structures = DatasetData.from_ase([bulk("Cu", a=3.6)])
    builder.properties = [{"name": "lattice"}]
    builder.calculator = {"name": "emt"}
    outputs, node = run_get_node(builder)
    page.write(collect(node), tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert "<h2>Properties</h2>" in html
    assert "<h2>Learning curve</h2>" not in html
    found = dict(flat(outputs["results"].get_dict()))
    energies = [value for name, value in found.items() if "energy" in name]
    assert energies
    assert all(f"<td>{value}</td>" in html for value in energies)
    assert "was computed in" in html


def same(one, other):
    """Return whether JSON values agree in all digits that a node keeps of a number."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == (pytest.approx(other, rel=1e-13) if isinstance(one, float) else other)


def test_links_lead_from_the_numbers_to_the_potential_and_numbers_are_those_of_the_command(
    finished, tmp_path
):
    outputs, node = finished
    query = QueryBuilder().append(
        PotentialData, filters={"uuid": node.inputs.potential.uuid}, tag="p"
    )
    query.append(CalcJobNode, with_incoming="p", tag="job")
    query.append(Dict, with_incoming="job", project="uuid")
    assert query.all(flat=True) == [outputs["results"].uuid]

    (tmp_path / "p.safetensors").write_bytes(node.inputs.potential.content)
    (tmp_path / "s.safetensors").write_bytes(node.inputs.structures.content)
    wanted = [word for part in PROPERTIES for word in ("-P", json.dumps(part))]
    command = [Path(sys.executable).with_name("mlal"), "properties", "p.safetensors"]
    said = subprocess.run(
        [*command, "s.safetensors", *wanted, "-c", "emt"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    structures = json.loads(said)["structures"]
    kept = json.loads(outputs["retrieved"].get_object_content("result.json"))
    assert structures == kept["structures"]
    assert same(structures, outputs["results"]["structures"])

    c44 = outputs["results"]["structures"][0]["elastic"]["C44_GPa"]
    assert len(c44["members"]) == 2
    assert c44["reference"] > 0
    curves = outputs["curves"]
    energies = curves.get_array("s0_cold_curve_energy_eV_per_atom")
    np.testing.assert_allclose(energies[1], 1.2 * energies[0], atol=1e-3)
    computed = outputs["structures"].configurations
    assert {"equilibrium", "elastic", "cold_curve"} == set(computed.info["purpose"].tolist())


def test_an_unstable_crystal_is_in_the_report(mlal_code, caplog):
    builder = WorkflowFactory("mlal.properties").get_builder()
    builder.compute.code = mlal_code
    builder.structures = DatasetData.from_ase([bulk("Cu", "bcc", a=2.87, cubic=True)])
    builder.properties = [{"name": "elastic", "relax_atoms": False}]
    builder.calculator = {"name": "emt"}
    _, node = run_get_node(builder)
    assert node.is_finished_ok
    said = [one.message for one in caplog.records if one.levelname == "REPORT"]
    assert any("elastically unstable by Born's criterion" in message for message in said)
