"""What may import what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aiida_mlal

ROOT = Path(aiida_mlal.__file__).parent
ML = ROOT / "ml"
TORCH_FREE = {
    "", "arrays", "ase_properties",
    "configurations", "frames", "neighbours", "options", "plugins", "metrics", "stops", "cli",
    "journal", "stopping", "folders", "tensorfile", "text", "wholefile",
    "tasks", "selection", "labelling", "simulation", "training", "uncertainty", "models", "formats",
    "formats.files", "formats.describe", "formats.mlip", "formats.mlip.cfg", "formats.types",
    "training.options", "models.references",
    "formats.ase_errors", "formats.ase_sizes", "formats.content", "formats.convergence",
    "formats.extxyz", "formats.labels", "formats.momenta", "formats.numbers", "formats.table",
    "pipes", "starts", "quasi_newton", "minima", "paths", "distances",
    "analysis.motion", "analysis.rdf", "simulation.md", "simulation.neb",
    "simulation.base", "simulation.cell", "simulation.continuation", "simulation.follow",
    "simulation.guard", "simulation.path", "simulation.stopped", "simulation.vibrations",
    "simulation.lammps", "simulation.mover", "simulation.optimizers",
    "simulation.recorder", "simulation.relax", "simulation.state",
    "selection.believer", "selection.first", "selection.neb",
    "selection.base", "selection.filters", "selection.select", "selection.random",
    "selection.final", "selection.uncertainty", "selection.final_uncertainty",
    "selection.by_features", "selection.dropout", "selection.feature_distance",
    "selection.kmeans_pp",
    "selection.latent_distance", "selection.lcmd", "selection.max_det", "selection.max_diag",
    "selection.max_dist", "selection.maxvol", "selection.oed", "selection.qbc",
    "selection.transforms", "features", "features.base", "features.descriptor",
    "features.gradient", "features.last_layer", "uncertainty.calibration",
    "uncertainty.criterion", "uncertainty.information",
    "labelling.allowed", "labelling.calculators", "labelling.checks", "labelling.electrons",
    "labelling.espresso", "labelling.fingerprint", "labelling.label", "labelling.ledger",
    "labelling.outcome", "labelling.outliers", "labelling.vacuum", "labelling.vasp",
    "tasks.base", "tasks.runner", "tasks.train", "tasks.simulate", "tasks.select", "tasks.label",
    "tasks.evaluate", "tasks.properties",
    "properties", "properties.base", "properties.cold_curve", "properties.compute",
    "properties.crystal", "properties.cut", "properties.dimer", "properties.elastic",
    "properties.equation_of_state", "properties.evaluator", "properties.harmonic",
    "properties.hull", "properties.lattice", "properties.phonons", "properties.spread",
    "properties.stacking_fault", "properties.stiffness", "properties.surface",
    "properties.symmetry", "properties.thermal_expansion", "properties.vacancy",
}  # fmt: skip
"""Modules of ``aiida_mlal.ml`` that the AiiDA layer may import when it is loaded."""


def files_outside_ml() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if not path.is_relative_to(ML)]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, everywhere: bool, annotations: bool | None = None) -> Iterator[str]:
    """Yield the modules that a file imports: when it is loaded, or ``everywhere`` in it.

    What only annotations need is among the latter, unless ``annotations`` says otherwise.
    """
    annotations = everywhere if annotations is None else annotations
    module = module_of(path)
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    pending: list[ast.AST] = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif everywhere or not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        ):
            for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            if for_types and not annotations:
                pending.extend(node.orelse)
            else:
                pending.extend(ast.iter_child_nodes(node))


def belongs(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("path", sorted(ML.rglob("*.py")), ids=lambda p: str(p.relative_to(ML)))
def test_nothing_in_ml_imports_aiida(path):
    found = [m for m in imports(path, everywhere=True) if belongs(m, "aiida")]
    assert found == []


@pytest.mark.parametrize("path", sorted(ML.rglob("*.py")), ids=lambda p: str(p.relative_to(ML)))
def test_imports_of_ml_stay_in_ml(path):
    found = {m for m in imports(path, everywhere=True) if belongs(m, "aiida_mlal")}
    found -= {"aiida_mlal", "aiida_mlal.__version__", "aiida_mlal.ml"}
    assert [m for m in sorted(found) if not belongs(m, "aiida_mlal.ml")] == []


def test_no_modules_import_each_other_in_a_circle():
    """Neither when they are loaded nor inside of functions; imports for annotations alone may."""
    files = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}
    wanted = {
        module: {m for m in imports(path, everywhere=True, annotations=False) if m in files}
        for module, path in files.items()
    }
    # a package is loaded before what is in it, which is no circle
    graph = {m: {n for n in names if n != m and not belongs(m, n)} for m, names in wanted.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1][::-1]))


def test_the_package_itself_imports_nothing():
    assert list(imports(ROOT / "__init__.py", everywhere=True)) == []


@pytest.mark.parametrize("path", files_outside_ml(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_outside_ml_imports_torch_when_loaded(path):
    for module in imports(path, everywhere=False):
        assert not belongs(module, "torch")
        if belongs(module, "aiida_mlal.ml"):
            inner = module.removeprefix("aiida_mlal.ml").lstrip(".")
            file = ML / inner.replace(".", "/")
            if not (file.is_dir() or file.with_suffix(".py").is_file()):
                inner = inner.rpartition(".")[0]  # the last word is a name in a module
            assert inner in TORCH_FREE, module


def test_modules_that_should_not_need_torch_do_not_import_it():
    names = [f"aiida_mlal.ml.{name}".rstrip(".") for name in sorted(TORCH_FREE)]
    code = (
        "import sys, importlib\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
        "    assert 'aiida' not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernels_do_without_torch():
    """Which is 220 MB in each process that only simulates."""
    names = sorted(f"aiida_mlal.ml.fast.{path.stem}" for path in (ML / "fast").glob("[a-z]*.py"))
    code = (
        "import sys, importlib\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_labelling_and_selecting_do_without_torch(tmp_path):
    """Which is a second and a half, and 300 MB, in each of the processes of a campaign."""
    code = """
import sys
from ase.build import bulk
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute
atoms = bulk("Cu", cubic=True)
Configurations.from_ase(atoms).save("pool.safetensors")
for task in (
    {"task": "label", "dataset": "pool.safetensors", "calculator": {"name": "emt"}},
    {"task": "select", "pool": "pool.safetensors", "train": None, "strategy": {"name": "final"}},
):
    result = execute({"version": 1, **task})
    assert result["status"] == "ok", result
assert "torch" not in sys.modules
import torch, vesin
assert len(vesin.NeighborList(cutoff=3.0, full_list=True).compute(
    atoms.positions, atoms.cell.array, [True] * 3, "i"
)[0])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_help_is_there_at_once():
    """Neither torch nor numpy nor ASE is read to show what commands there are."""
    code = (
        "import sys\n"
        "from aiida_mlal.ml.cli import mlal\n"
        "try:\n"
        "    mlal(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'ase', 'aiida'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_campaign_step_runs_where_aiida_cannot_be_imported(tmp_path):
    """Label, train, relax and select through the tasks, as on a compute node."""
    code = """
import sys
sys.modules["aiida"] = None
from ase.build import bulk
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.runner import execute
atoms = bulk("Cu", cubic=True)
atoms.rattle(0.1, seed=1)
Configurations.from_ase(atoms).save("start.safetensors")
tasks = [
    {"task": "label", "dataset": "start.safetensors", "calculator": {"name": "emt"}},
    {"task": "train", "dataset": "labelled.safetensors", "training": {"epochs": 2},
     "model": {"architecture": "bpnn", "prior": {"architecture": "morse"}, "ensemble": 2}},
    {"task": "simulate", "dataset": "start.safetensors",
     "simulation": {"name": "relax", "max_steps": 2}},
    {"task": "select", "pool": "trajectory.safetensors", "train": "labelled.safetensors",
     "strategy": {"name": "final_uncertainty", "n": 2}},
    {"task": "evaluate", "dataset": "labelled.safetensors"},
]
for task in tasks:
    result = execute({"version": 1, **task})
    assert result["status"] == "ok", result
import aiida_mlal.ml, pkgutil, importlib
for module in pkgutil.walk_packages(aiida_mlal.ml.__path__, "aiida_mlal.ml."):
    importlib.import_module(module.name)
assert sys.modules["aiida"] is None
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
