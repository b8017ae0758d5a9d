"""Fixtures for tests of the AiiDA layer. Tests in ``tests/ml`` need none of them, nor AiiDA."""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("aiida"):
    # AiiDA makes its folder when it is first imported: that must not be the one of the user.
    folder = Path(tempfile.mkdtemp(prefix="aiida-mlal-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["AIIDA_PATH"] = str(folder)
    pytest_plugins = ["aiida.tools.pytest_fixtures", "aiida_fixtures", "campaign_fixtures"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among thousands of tests, neither while they are collected nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list) -> None:
    """Begin with the layers on AiiDA: a file runs on one worker, and theirs take longest."""
    of_ml = Path(__file__).parent / "ml"
    items.sort(key=lambda item: of_ml in item.path.parents)
