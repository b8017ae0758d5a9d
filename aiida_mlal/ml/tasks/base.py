"""What every task is: options that validate themselves, and work that ends in files."""

import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aiida_mlal.ml.stopping import check_stop
from aiida_mlal.ml.watching import tell
from aiida_mlal.ml.wholefile import write_whole

VERSION = 1
"""Version of the format of ``task.json``."""

TASK, RESULT, PROGRESS = "task.json", "result.json", "progress.json"

OK = "ok"
INVALID_INPUT, DIVERGED, OUT_OF_MEMORY = "invalid_input", "diverged", "out_of_memory"
INTERRUPTED, INTERNAL_ERROR = "interrupted", "internal_error"
STATUSES = (OK, INVALID_INPUT, DIVERGED, OUT_OF_MEMORY, INTERRUPTED, INTERNAL_ERROR)
"""How a task can end."""


class Task(ABC):
    """Something to compute. A subclass is a frozen dataclass, its fields the options in JSON.

    Options that name files are relative to the folder where the task runs. Building a task
    checks everything that can be known without the files, so that a mistake is found before
    anything is submitted.

    Attributes
    ----------
    OUTPUT
        Name of the file that the task writes unless told otherwise.
    LEFT
        Names and patterns of what else there is if the task did not come to its end.
    OWN_THREADS
        Whether torch and BLAS have the threads that ``said_threads`` gives them, so that results
        do not depend on the machine. Not where another code computes.
    """

    OUTPUT: ClassVar[str]
    LEFT: ClassVar[tuple[str, ...]] = ()
    OWN_THREADS: ClassVar[bool] = True

    @abstractmethod
    def run(self) -> dict[str, Any]:
        """Do the work in the current folder, write the files, return what goes to the result.

        Raises
        ------
        ValueError
            For files or options that do not fit each other.
        FloatingPointError
            If the numbers grew beyond all bounds.
        Interrupted
            If the task was told to stop. Its attribute ``result``, as that of any error, says what
            was computed until then.
        """


class Progress:
    """Tells how far a long task is, and writes it to ``progress.json`` now and then.

    Parameters
    ----------
    what
        What is counted, such as ``epochs``.
    done, total
        Names of the values that say how many are done, of how many.
    every
        Time in s between two states of the file.
    path
        The file.
    """

    def __init__(
        self,
        what: str,
        done: str,
        total: str,
        every: float = 5.0,
        path: str | Path = PROGRESS,
    ) -> None:
        self._what, self._counts = what, (done, total)
        self._every, self._path, self._last = every, Path(path).absolute(), -np.inf

    def __call__(self, **values: Any) -> None:
        """Report some values; most calls return at once, and none fails what it reports of.

        Raises
        ------
        Interrupted
            If the task was told to stop, and something kept that from reaching it.
        """
        check_stop()
        others = {name: value for name, value in values.items() if name not in self._counts}
        done, total = (values.get(name) for name in self._counts)
        if done is not None:
            tell(self._what, done, total, **others)
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            with contextlib.suppress(OSError, ValueError):  # a full disk
                write_json(self._path, {"time": time.time(), **values})


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write JSON so that a reader never sees half a file."""
    write_whole(path, (json.dumps(plain(values), indent=2, allow_nan=False) + "\n").encode())


def plain(value: Any) -> Any:
    """Return ``value`` as what JSON knows; a number that is not finite becomes ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
