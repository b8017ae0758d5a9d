"""The package of examples, installed by pip: its parts take part in campaigns like ours."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import StructureData
from aiida.plugins import WorkflowFactory
from aiida.plugins.entry_point import eps, eps_select
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute

ROOT = Path(__file__).parents[2]
PIP = (
    "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
    "--no-deps", "--no-build-isolation", "--no-index",
)  # fmt: skip
BROKEN = """
[aiida.workflows]
my.label.broken = bare_package.broken:Nothing
my.label.bare = bare_package.bare:Bare
my.label.codeless = bare_package.bare:Codeless
"""
BARE = """
from aiida.engine import WorkChain
from aiida.orm import Dict

from aiida_mlal.data.dataset import DatasetData
from my_package.labelling import MyLabelWorkChain


class Bare(WorkChain):
    @classmethod
    def define(cls, spec):
        super().define(spec)
        spec.input("dataset", valid_type=DatasetData)
        spec.output("dataset", valid_type=DatasetData)
        spec.output("description", valid_type=Dict)


class Codeless(MyLabelWorkChain):
    CODE = "pw.code"
"""


def forget():
    for cache in (eps, eps_select, plugins._installed, plugins._load):
        cache.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where ``pip`` has installed the package, and beside it one with parts that lack something."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "examples" / "plugin", source, dirs_exist_ok=True)
    subprocess.run([sys.executable, *PIP, "--target", target, source], check=True)
    files = {
        "bare_package/broken.py": "import nowhere",
        "bare_package/bare.py": BARE,
        "bare_package-1.0.dist-info/METADATA": "Name: bare-package\nVersion: 1.0\n",
        "bare_package-1.0.dist-info/entry_points.txt": BROKEN,
    }
    for name, content in files.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text(content)
    return target


@pytest.fixture
def package(folder, monkeypatch):
    """What is installed, here and, by these options, in jobs."""
    monkeypatch.syspath_prepend(folder)
    forget()
    yield {"prepend_text": f"export PYTHONPATH={folder}"}
    forget()


def test_the_suites_of_parts_hold_for_those_of_a_users(folder):
    """As the how-to says that one runs them."""
    command = re.search(
        r"^\$ pytest (.*)$", (ROOT / "docs/howto/add_a_plugin.md").read_text(), re.M
    )
    said = subprocess.run(
        f"{sys.executable} -m pytest -p no:cacheprovider {command[1]}",
        shell=True,
        executable="/bin/bash",  # which knows braces
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout
    passed = int(re.search(r"(\d+) passed", said.stdout)[1])
    assert passed > 50, said.stdout


OVERRIDES = {
    "model": {"architecture": "soft_spheres", "ensemble": 2},
    "uncertainty": {"name": "crowding"},
    "training": {"epochs": 4, "optimizer": {"name": "gradient_descent", "learning_rate": 1e-3}},
    "simulation": {"name": "descent", "step": 0.02, "max_steps": 4},
    "query": {"name": "largest_force", "n": 5},
    "stop": [{"name": "cost", "budget": 3.0}],
    "label": {"asap_cutoff": True},
}


def builder(mlal_code, slab, options, labels="my.label", **overrides):
    return WorkflowFactory("mlal.offline").get_builder_from_protocol(
        mlal_code,
        StructureData(ase=slab),
        "fast",
        {**OVERRIDES, **overrides},
        labels,
        options,
        fixed=[0],
        recipe="network",
    )


def test_a_campaign_of_parts_of_a_users_alone(aiida_profile, mlal_code, slab, package):
    """The stop allows three labels: the first structure, and two of the five of the query."""
    outputs, node = run_get_node(builder(mlal_code, slab, package))
    assert node.exit_status == 410, node.exit_message
    assert "3 of 3 paid" in node.exit_message
    dataset = outputs["dataset"].configurations
    assert dataset.status.tolist() == ["ok"] * 3
    atoms = dataset.to_ase()[1]
    atoms.calc = EMT(asap_cutoff=True)
    assert dataset.energies[1] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(
        dataset[1].forces, atoms.get_forces(apply_constraint=False), atol=1e-9
    )
    potential = outputs["potential"].load()
    assert potential.config()["members"][0]["architecture"] == "soft_spheres"
    assert [w.requires_grad for w in potential.parameters()] == [True] * 4
    selection = outputs["selections"]["iteration_01"]
    assert selection.selection.strategy["name"] == "largest_force"
    assert selection.selection.strategy["n"] == 2
    scores = [item["score"] for item in selection.selected]
    assert scores == sorted(scores, reverse=True)
    assert selection.selected[0]["reason"].startswith("predicted force")
    results = next(p for p in node.called if p.process_label == "SimulateBaseWorkChain").outputs
    assert results.results["runs"][0]["reason"] == "max_steps"
    assert results.results["runs"][0]["uncertainty"] == pytest.approx(
        1 / closest(results.trajectory.configurations[-1]), rel=1e-6
    )


def test_a_property_of_a_users(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Configurations.from_ase(bulk("Cu")).save("structures.safetensors")
    task = {"task": "properties", "potential": None, "calculator": {"name": "emt"}}
    result = execute({**task, "properties": [{"name": "cohesion", "box": 14.0}]})
    (row,) = result["structures"]
    assert row["cohesion"]["cohesive_energy_eV_per_atom"]["value"] == pytest.approx(3.5, abs=0.1)
    message = execute({**task, "properties": [{"name": "cohesion", "bx": 1.0}]})["message"]
    assert "unknown option 'bx', did you mean 'box'" in message


def closest(structure):
    distances = structure.to_ase()[0].get_all_distances(mic=True)
    return distances[distances > 0].min()


@pytest.mark.parametrize(
    ("overrides", "labels", "message"),
    [
        ({"stop": [{"name": "cost", "budget": 0.0}]}, "my.label", "expected budget and price"),
        ({"stop": [{"name": "cost", "budget": 1.0}]}, "my.label", "budget of labels is spent"),
        ({"query": {"name": "largest_force", "m": 5}}, "my.label", "unknown option 'm'"),
        ({"simulation": {"name": "descent", "step": "x"}}, "my.label", "simulation.step: expected"),
        ({"model": {"architecture": "soft_sphere"}}, "my.label", "did you mean 'soft_spheres'"),
        ({"label": {"asap_cutof": True}}, "my.label", "did you mean 'asap_cutoff'"),
        ({"label": {}}, "my.labell", "labels: unknown name 'my.labell', did you mean 'my.label'"),
        ({"label": {}}, "my.labell", "one of ['quantumespresso', 'vasp'], or the entry"),
        ({"label": {"asap_cutof": True}}, "my.label", "label: unknown input 'overrides.asap_cutof"),
        (
            {"label": {}},
            "my.label.broken",
            "'my.label.broken' (bare_package.broken:Nothing of the package bare-package) cannot be "
            "loaded: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ({"label": {}}, "my.label.bare", "has no get_builder_from_protocol"),
        ({"label": {}}, "my.label.codeless", "CODE names no input, got 'pw.code'"),
    ],
)
def test_mistakes_with_parts_of_a_users_are_found_before_anything_is_submitted(
    aiida_profile, mlal_code, slab, package, overrides, labels, message
):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        run_get_node(builder(mlal_code, slab, package, labels, **overrides))
    assert not (labels == "my.label.broken" and "did you mean" in str(caught.value))


DAMPED = {
    "simulating": "my.simulate",
    "simulation": {"name": "damped", "fmax": 0.01, "max_steps": 8},
    "query": {"name": "final", "n": 1},
    "stop": [{"name": "iterations", "n": 2}],
}


def test_a_campaign_with_an_engine_of_a_users(aiida_profile, mlal_code, slab, package):
    """Without a job: the frames lead to the potential and to where the campaign began."""
    workflow = WorkflowFactory("mlal.offline")
    built = workflow.get_builder_from_protocol(
        mlal_code, StructureData(ase=slab), "fast", DAMPED, "my.label", fixed=[0], recipe="gp"
    )
    assert "label" not in built._inputs(prune=True)  # all that it takes has a default
    assert "simulate" not in built.simulate
    outputs, node = run_get_node(built)
    assert node.exit_status == 410, node.exit_message
    simulations = [p for p in node.called if p.process_label == "MySimulationWorkChain"]
    assert len(simulations) == 2
    for simulation in simulations:
        run = simulation.outputs.results["runs"][0]
        frames = simulation.outputs.trajectory.configurations
        assert run["steps"] == len(frames) - 1 > 0
        assert np.ptp(frames.positions.reshape(len(frames), -1, 3), axis=0)[0].max() == 0  # fixed
        creator = simulation.outputs.trajectory.creator
        assert creator.inputs.potential.uuid == simulation.inputs.potential.uuid
    assert len(outputs["dataset"]) == 3
    last = simulations[-1].outputs.trajectory.configurations[-1]
    assert outputs["dataset"].configurations[-1].keys == last.keys


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"simulating": "my.simulat"}, "unknown simulation workflow 'my.simulat', did you mean"),
        ({"simulating": "my.simul"}, "did you mean 'my.simulate'"),
        ({"simulating": "my.label"}, "MyLabelWorkChain cannot run simulations: its inputs lack"),
        (
            {"simulation": {"name": "damped", "fmacks": 1.0}},
            "unknown option 'fmacks', did you mean 'fmax'",
        ),
        ({"simulate": {"code": 1}}, "simulate: unknown input 'overrides.code'"),
    ],
)
def test_mistakes_with_an_engine_of_a_users(
    aiida_profile, mlal_code, slab, package, overrides, message
):
    with pytest.raises(ValueError, match=re.escape(message)):
        run_get_node(builder(mlal_code, slab, package, **{**DAMPED, **overrides}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames, runs: (frames, runs[:1]), "expected the ends of 2 runs, got 1"),
        (lambda frames, runs: (frames, [{"reason": "x"}] * 2), "a run is not told as by 'Run'"),
        (lambda frames, runs: (frames[:1], runs), "run 1 has no frames"),
    ],
)
def test_results_of_other_runs_than_were_asked_for(
    aiida_profile, potential, dataset, package, change, message
):
    from aiida.orm import Dict

    from aiida_mlal.data.dataset import DatasetData
    from aiida_mlal.data.potential import PotentialData

    class Careless(WorkflowFactory("my.simulate")):
        def run_all(self):
            run = {
                "converged": True, "reason": "converged", "message": "", "steps": 0, "fmax": 0.0,
                "uncertainty": None, "max_uncertainty": None, "n_candidates": 1,
            }  # fmt: skip
            frames = self.inputs.structures.configurations.with_info(run=np.arange(2))
            frames, runs = change(frames, [run] * 2)
            return self.give(DatasetData(frames), Dict({"runs": runs}))

    node = run_get_node(
        Careless,
        potential=PotentialData.from_potential(potential).store(),
        structures=dataset.subset([0, 1]).store(),
        simulation={"fmax": 0.1},
    )[1]
    assert node.exit_status == 411
    assert message in node.exit_message


def test_labels_of_other_structures_than_were_asked_for(aiida_profile, dataset, package):
    from aiida_mlal.data.dataset import DatasetData

    workflow = WorkflowFactory("my.label")

    class Careless(workflow):
        def label(self):
            fewer = DatasetData(self.inputs.dataset.configurations[:2])
            return self.give(fewer, self.inputs.about)

        @classmethod
        def define(cls, spec):
            super().define(spec)
            spec.input("about")

    node = run_get_node(Careless, dataset=dataset, about={"a": 1})[1]
    assert node.exit_status == 411


def test_a_code_of_a_users_that_computes_one_structure_at_a_time(
    aiida_profile, dataset, package, mlal_code
):
    workflow = WorkflowFactory("my.label.code")
    given = {"sigma": 2.3, "epsilon": 0.4}
    built = workflow.get_builder_from_protocol(
        mlal_code, dataset.subset([0, 1, 2]), overrides={"parameters": given, "batch_size": 2}
    )
    outputs, node = run_get_node(built)
    assert node.is_finished_ok, node.exit_message
    found = outputs["dataset"].configurations
    assert found.status.tolist() == ["ok"] * 3
    for label, atoms in zip(found, dataset.configurations.to_ase()):
        atoms.calc = LennardJones(**given)
        assert label.energies[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(
            label.forces, atoms.get_forces(apply_constraint=False), atol=1e-9
        )
    assert outputs["description"]["description"]["sigma"] == 2.3
    sources = {str(p.uuid) for p in node.called_descendants if p.process_label == "point_energy"}
    assert {*outputs["dataset"].sources} == sources
