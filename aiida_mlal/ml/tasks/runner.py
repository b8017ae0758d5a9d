"""From ``task.json`` to ``result.json``: build the task, run it, and say how it ended."""

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from aiida_mlal.ml import plugins
from aiida_mlal.ml.errors import in_words, is_of_the_machine
from aiida_mlal.ml.folders import is_beside, working_in
from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.stopping import Interrupted, stoppable
from aiida_mlal.ml.tasks.base import (
    DIVERGED,
    INTERNAL_ERROR,
    INTERRUPTED,
    INVALID_INPUT,
    OK,
    OUT_OF_MEMORY,
    RESULT,
    VERSION,
    Task,
    write_json,
)
from aiida_mlal.ml.text import LONG, printable
from aiida_mlal.ml.text import message as words_of
from aiida_mlal.ml.threads import said_threads

WRITTEN = ("output", "save_potential")
"""Options of tasks that name files which they write."""

PACKAGES = ("aiida-mlal", "ase", "numpy", "safetensors", "torch", "vesin")


def parse(values: Any) -> Task:
    """Build a task from the content of ``task.json``.

    Raises
    ------
    ValueError
        For an unknown task or option, a wrong value, or a newer version of the format.
    """
    if not isinstance(values, Mapping) or "task" not in values:
        raise ValueError(
            f"expected a mapping with 'task', one of {plugins.names('tasks')}, and its options"
        )
    options = {key: value for key, value in values.items() if key not in ("task", "version")}
    if values.get("version", VERSION) != VERSION:
        raise ValueError(
            f"the task has format version {values['version']!r}, this release reads {VERSION}"
        )
    task: Task = build(plugins.find("tasks", str(values["task"])), options)
    return task


def compose(name: str, task: Task) -> dict[str, Any]:
    """Return the content of ``task.json`` for a task: the opposite of ``parse``."""
    return {"task": name, "version": VERSION, **as_dict(task)}


def run_file(path: str | Path) -> int:
    """Run the task in a file, in the folder of the file, and return the exit status.

    ``result.json`` appears beside the file whatever happens, unless the process is killed.
    """
    path = Path(path).absolute()
    name = None
    with working_in(path.parent):
        try:
            values = json.loads(path.read_text())
            name = values.get("task") if isinstance(values, Mapping) else None
        except (OSError, ValueError) as error:
            problem = f"{path.name} cannot be read: {error}"
            result: dict[str, Any] = {"status": INVALID_INPUT, "message": problem}
        else:
            elsewhere = _written_elsewhere(values)
            refused = {"status": INVALID_INPUT, "message": elsewhere}
            result = refused if elsewhere else execute(values)
        write_json(path.with_name(RESULT), {"task": name, "versions": versions(), **result})
    if result["status"] != OK:
        with contextlib.suppress(OSError, ValueError):  # of a terminal that was closed
            print(f"{result['status']}: {result['message']}", file=sys.stderr)
    return 0 if result["status"] == OK else 1


def _written_elsewhere(values: Any) -> str:
    """Say which file would be written elsewhere, if one would: a task may be somebody else's."""
    for option in WRITTEN:
        file = values.get(option) if isinstance(values, Mapping) else None
        if isinstance(file, str) and not is_beside(file):
            return (
                f"{option}: a task in a file writes beside it, expected a name without a folder, "
                f"got {file!r}"
            )
    return ""


def execute(values: Any) -> dict[str, Any]:
    """Run a task in the current folder and return its result, which says how it ended.

    ``status`` is one of ``STATUSES`` and ``message`` explains it in a sentence; a task that ended
    well may have a message too.
    """
    start = time.perf_counter()
    status, message, results = OK, "", {}
    try:
        with stoppable():
            task = parse(values)
            with said_threads() if task.OWN_THREADS else contextlib.nullcontext():
                results = task.run()
    except ValueError as error:
        status, message, results = INVALID_INPUT, words_of(error, LONG), _computed(error)
    except FloatingPointError as error:
        status, message, results = DIVERGED, words_of(error, LONG), _computed(error)
    except MemoryError as error:
        status, message, results = OUT_OF_MEMORY, words_of(error, LONG), _computed(error)
        message = message or "not enough memory"
    except Interrupted as error:
        status, message, results = INTERRUPTED, words_of(error, LONG), _computed(error)
    except plugins.PluginError as error:
        _print_traceback()
        status, message, results = INTERNAL_ERROR, words_of(error, LONG), _computed(error)
    except (Exception, SystemExit, GeneratorExit) as error:
        if not is_of_the_machine(error):
            _print_traceback()
        status = OUT_OF_MEMORY if _is_out_of_memory(error) else INTERNAL_ERROR
        message, results = printable(in_words(error), LONG), _computed(error)
    seconds = round(time.perf_counter() - start, 3)
    message = "; ".join(filter(None, (message, results.get("message", ""))))
    return {**results, "status": status, "message": message, "seconds": seconds}


def versions() -> dict[str, str]:
    """Return the versions of what computes, without importing it."""
    installed = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def _print_traceback() -> None:
    with contextlib.suppress(Exception):  # no standard error, or an error that cannot be shown
        traceback.print_exc()


def _computed(error: BaseException) -> dict[str, Any]:
    """Return the part of the result that a task had when it ended."""
    return dict(getattr(error, "result", {}))


def _is_out_of_memory(error: BaseException) -> bool:
    """Recognise torch's errors by their words: torch need not be there, and has several kinds."""
    text = f"{type(error).__name__} {words_of(error, LONG)}".lower()
    return "outofmemory" in text or "out of memory" in text or "can't allocate memory" in text
