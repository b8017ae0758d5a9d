import importlib.util
import os

import pytest
from numba.core import caching

from aiida_mlal.ml.fast.jit import is_ready, jit

SOURCE = """
from aiida_mlal.ml.fast.jit import jit

@jit(fastmath=True)
def twice(x):
    return 2 * x
"""


@pytest.fixture
def load(tmp_path):
    """Return what imports a module with a kernel, as a new process would."""
    path = tmp_path / "kernels.py"
    path.write_text(SOURCE)

    def load():
        spec = importlib.util.spec_from_file_location("kernels", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return load


def test_machine_code_of_an_earlier_process_is_found(load):
    kernel = load()
    assert not is_ready(kernel)
    assert kernel(2.0) == 4.0
    assert is_ready(kernel)
    again = load()
    assert is_ready(again)
    assert again(3.0) == 6.0
    assert sum(again.stats.cache_hits.values()) == 1


def test_machine_code_older_than_its_source_is_not_ready(load, tmp_path):
    load()(2.0)
    late = (tmp_path / "kernels.py").stat().st_mtime + 100
    os.utime(tmp_path / "kernels.py", (late, late))
    assert not is_ready(load())


def test_without_a_place_to_write_to_each_process_compiles(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    kernel = jit()(lambda x: 2 * x)
    assert not is_ready(kernel)
    assert kernel(2.0) == 4.0
    assert is_ready(kernel)


def test_division_by_zero_is_infinite():
    assert jit()(lambda x: 1.0 / x)(0.0) == float("inf")
