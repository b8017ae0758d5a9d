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
    """Mix files of ``ml``, which compute, with those of the layers on AiiDA, which mostly wait.

    A file runs on one worker. Those of the layers on AiiDA take longest, and have begun when four
    fifths of the others have. Kernels that are compiled are first, then folders from the last to
    the first: the last ones take longest.
    """
    of_ml = Path(__file__).parent / "ml"
    files = dict.fromkeys(item.path for item in items)
    begun = {}
    for share, group in (
        (0.8, [path for path in files if of_ml not in path.parents]),
        (1.0, [path for path in files if of_ml in path.parents]),
    ):
        group.sort(key=lambda path: (of_ml / "fast" in path.parents, path), reverse=True)
        for number, path in enumerate(group):
            begun[path] = share * number / len(group)
    items.sort(key=lambda item: begun[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let one worker have all files whose tests read the small campaign, which runs it once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            reads = file.startswith("tests/report/") or file == "tests/cli/test_campaign.py"
            return "small campaign" if reads else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
