import ast
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module, util
from pathlib import Path

import numpy as np
import pytest
from numba.core import caching
from numba.core.dispatcher import Dispatcher

import aiida_mlal
from aiida_mlal.ml.fast.jit import KEPT, jit, sources_hash

SOURCE = """
from aiida_mlal.ml.fast.jit import jit

@jit(fastmath=True)
def twice(x):
    return 2 * x
"""

DIMER = """
import numpy as np
from aiida_mlal.ml.fast.morse import _chunk
from aiida_mlal.ml.fast.verlet import Neighbours

energies, forces = np.zeros(2), np.zeros((2, 3))
positions = np.array([[0.0, 0, 0], [0, 0, 3.5]])
neighbours, begin = np.array([1, 0], np.int32), np.array([0, 1, 2])
atoms = Neighbours(positions, np.zeros(2, np.int32), neighbours, begin)
_chunk(atoms, 4.0, np.ones((3, 1, 1)), 1.0, energies, forces)
print(energies.sum(), sum(_chunk.stats.cache_hits.values()))
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return what imports a module with a kernel, as a new process would."""
    # which else would find byte code, and believe it where a file has the same time and size
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "kernels.py"
    path.write_text(SOURCE)

    def load():
        sources_hash.cache_clear()
        spec = util.spec_from_file_location("kernels", path)
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return load


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


def test_machine_code_of_an_earlier_process_is_found(load):
    assert load()(2.0) == 4.0
    again = load()
    assert again(3.0) == 6.0
    assert hits(again) == 1


def test_machine_code_of_another_source_is_not_used(load, tmp_path):
    load()(2.0)
    path = tmp_path / "kernels.py"
    times = path.stat().st_atime, path.stat().st_mtime
    path.write_text(SOURCE.replace("2 * x", "3 * x"))
    os.utime(path, times)
    thrice = load()
    assert thrice(2.0) == 6.0
    assert hits(thrice) == 0


def test_machine_code_of_other_sources_is_removed_when_it_is_old(load, tmp_path):
    def files():
        return {file.name for file in (tmp_path / "__pycache__").glob("kernels.twice*")}

    path = tmp_path / "kernels.py"
    load()(2.0)
    first = files()
    path.write_text(SOURCE + "# a version later\n")
    load()(2.0)
    second = files() - first
    assert len(first) == len(second) == 2
    assert first < files()  # another branch, perhaps, that is come back to
    for name in first | second:
        old = time.time() - KEPT - 60
        os.utime(tmp_path / "__pycache__" / name, (old, old))
    path.write_text(SOURCE + "# two versions later\n")
    load()(2.0)
    assert not files() & (first | second)
    assert len(files()) == 2


def test_without_a_place_to_write_to_each_process_compiles(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert jit()(lambda x: 2 * x)(2.0) == 4.0


def test_a_place_that_is_full_or_gone_costs_no_result(load, tmp_path, monkeypatch):
    def full(self, filepath):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", full)
    assert load()(2.0) == 4.0
    monkeypatch.undo()
    kernel = load()
    shutil.rmtree(tmp_path / "__pycache__")
    assert kernel(2.0) == 4.0


def test_division_by_zero_is_infinite():
    assert jit()(lambda x: 1.0 / x)(0.0) == float("inf")


def test_a_kernel_is_compiled_again_when_what_it_inlines_has_changed(tmp_path):
    """As after ``git pull`` where the package is installed in place."""
    package = Path(aiida_mlal.__file__).parent
    shutil.copytree(package, tmp_path / "aiida_mlal", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}

    def run():
        command = [sys.executable, "-c", DIMER]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
        )
        energy, from_cache = done.stdout.split()
        return float(energy), int(from_cache)

    decay = np.exp(-2.5)
    bare = decay * (decay - 2)
    assert run() == (pytest.approx(0.5 * bare, rel=1e-14), 0)
    assert run() == (pytest.approx(0.5 * bare, rel=1e-14), 1)
    path = tmp_path / "aiida_mlal" / "ml" / "fast" / "pairs.py"
    source = path.read_text()
    path.write_text(source.replace("return energy * f,", "return 2 * energy * f,"))
    assert path.read_text() != source
    assert run() == (pytest.approx(bare, rel=1e-14), 0)


def test_kernels_are_made_of_nothing_but_the_sources_that_are_hashed():
    folder = Path(jit.__code__.co_filename).parent
    n_kernels = 0
    for path in folder.glob("*.py"):
        imported = {
            alias.asname or alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and "aiida_mlal" in str(node.module)
            if not str(node.module).startswith("aiida_mlal.ml.fast")
            for alias in node.names
        }
        module = import_module(f"aiida_mlal.ml.fast.{path.stem}")
        for kernel in vars(module).values():
            if isinstance(kernel, Dispatcher):
                n_kernels += 1
                assert not imported & set(kernel.py_func.__code__.co_names), kernel
    assert n_kernels > 50


def kernels_in(path):
    """Return the functions of a file that are compiled."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            calls = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
            names = {call.id for call in calls if isinstance(call, ast.Name)}
            if names & {"jit", "inlined", "njit", "_jit", "_inlined", "_kernel"}:
                yield function


def test_no_kernel_has_powers():
    """Numba compiles them once for all kernels, with the flags of whichever comes first."""
    root = Path(aiida_mlal.__file__).parent
    kernels = [(path, one) for path in sorted(root.rglob("*.py")) for one in kernels_in(path)]
    assert len(kernels) > 60
    for path, kernel in kernels:
        powers = [
            node.lineno
            for node in ast.walk(kernel)
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
        ]
        assert not powers, f"{path}, lines {powers}: write x * x"


def test_training_does_not_depend_on_what_was_compiled_before(tmp_path):
    """The same prediction in a process that has compiled the kernels of simulations first."""
    found = []
    for first in ("", "from aiida_mlal.ml.calculator import MLCalculator\n"
                  "atoms = frame.copy()\natoms.calc = MLCalculator(model)\n"
                  "atoms.get_potential_energy()\n"):  # fmt: skip
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / str(len(found)))}
        code = TRAINING.replace("# FIRST", first)
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        found.append(done.stdout)
    assert found[0] == found[1]


TRAINING = """
from ase.build import bulk
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions

frame = bulk("Cu", cubic=True)
frame.symbols[0] = "Ni"
frame.rattle(0.1, seed=1)
structures = Configurations.from_ase([frame])
options = ModelOptions.parse({"architecture": "mtp", "level": 8})
model = options.build(["Cu", "Ni"], 3, structures)
# FIRST
found = model.predict(structures)
print(found.energies.tobytes().hex(), found.forces.tobytes().hex())
"""
