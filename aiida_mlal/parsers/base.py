"""What every parser of this package does."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from aiida.engine import ExitCode
from aiida.orm import CalcJobNode, Data, Dict
from aiida.parsers import Parser

from aiida_mlal.calculations.base import TaskCalculation
from aiida_mlal.data.content import storable
from aiida_mlal.ml.tasks.base import (
    DIVERGED,
    INTERNAL_ERROR,
    INTERRUPTED,
    INVALID_INPUT,
    OK,
    OUT_OF_MEMORY,
    RESULT,
)
from aiida_mlal.ml.text import LONG, printable

EXIT_CODES = {
    INVALID_INPUT: "ERROR_INVALID_INPUT",
    INTERNAL_ERROR: "ERROR_INTERNAL",
    OUT_OF_MEMORY: "ERROR_OUT_OF_MEMORY",
    DIVERGED: "ERROR_DIVERGED",
    INTERRUPTED: "ERROR_INTERRUPTED",
}
"""Exit code of each way in which a task can end badly."""

SPECIFIC = {INVALID_INPUT, DIVERGED}
"""What a task knows better than the scheduler: the other errors may be what the scheduler did."""


class TaskParser(Parser):
    """Attaches what a task computed, even if it ended badly, and then chooses the exit code.

    The scheduler is believed first: that the time was over is the cause, that the task was
    interrupted its consequence. Then counts what the task says, and last which files are there.

    Attributes
    ----------
    RESULTS
        Label of the output that is what the task says of itself; empty if there is none.

    Parameters
    ----------
    node
        The job.
    calculation
        That of the task; by default that of the job. A job of several has a parser for each.
    folder
        Where the task ran, within that of the job.
    """

    RESULTS: ClassVar[str] = "results"
    CACHE_VERSION = 1

    def __init__(
        self,
        node: CalcJobNode,
        calculation: type[TaskCalculation] | None = None,
        folder: str = "",
    ) -> None:
        super().__init__(node)
        process_class: Any = node.process_class
        self._calculation: type[TaskCalculation] = calculation or process_class
        self._folder = PurePosixPath(folder)

    @abstractmethod
    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield labels and nodes of the outputs.

        Parameters
        ----------
        result
            What the task says of itself.
        file
            Name of its output file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged.
        """

    def parse(self, **kwargs: Any) -> ExitCode | None:
        """Attach the outputs and return how the job ended."""
        scheduler = self._scheduler()
        try:
            result = self._result()
        except FileNotFoundError:
            left = self._left()
            if left is not None:
                self._attach(left)
                message = f"it was killed; its standard error ends: {self._stderr()}"
                return scheduler or self._exit("ERROR_INTERRUPTED", message=message)
            return scheduler or self._exit("ERROR_NO_RESULT", stderr=self._stderr())
        except ValueError as error:
            return scheduler or self._exit("ERROR_INVALID_OUTPUT", file=RESULT, message=f"{error}")

        status, message = result["status"], result.get("message", "")
        left = None if status == OK else self._left()
        problem = self._attach({**(left or {}), **result})
        if status in SPECIFIC:
            return self._exit(EXIT_CODES[status], message=message)
        if status != OK:
            self.logger.warning(f"the task ended as {status}: {message}")
            return scheduler or self._exit(EXIT_CODES[status], message=message)
        if problem is None and scheduler is not None:
            self.logger.warning(f"the results are complete in spite of: {scheduler.message}")
        if message:
            self.logger.warning(message)
        if problem is None:
            return ExitCode(0)
        return scheduler or problem

    def left(self) -> Mapping[str, Any] | None:
        """Read partial results of a task that was killed; None if it left none."""
        return None

    def _left(self) -> Mapping[str, Any] | None:
        try:
            return self.left()
        except ValueError as error:  # a damaged file
            self.logger.warning(f"what the task left cannot be read: {error}")
            return None

    @property
    def names(self) -> set[str]:
        """Those of the files and folders that were retrieved."""
        return set(self.names_in("."))

    def names_in(self, folder: str) -> list[str]:
        """Return the names in a folder that was retrieved; ``[]`` if there is none."""
        path, repository = self._folder / folder, self.retrieved.base.repository
        if path == PurePosixPath():
            return repository.list_object_names()
        there = path.name in repository.list_object_names(str(path.parent))
        return repository.list_object_names(str(path)) if there else []

    def bytes(self, name: str) -> bytes:
        """Return the content of a retrieved file."""
        path = str(self._folder / name)
        content: bytes = self.retrieved.base.repository.get_object_content(path, mode="rb")
        return content

    def _attach(self, result: Mapping[str, Any]) -> ExitCode | None:
        if self.RESULTS:
            self.out(self.RESULTS, Dict(storable(result)))
        file = self._calculation.task_class().OUTPUT
        try:
            for label, node in self.read(result, file):
                self.out(label, node)
        except (FileNotFoundError, IsADirectoryError):
            return self._exit("ERROR_MISSING_OUTPUT", file=file)
        except (KeyError, TypeError, ValueError) as error:
            return self._exit("ERROR_INVALID_OUTPUT", file=file, message=f"{error}")
        return None

    def _result(self) -> dict[str, Any]:
        result = json.loads(self.bytes(RESULT))
        if not isinstance(result, Mapping) or result.get("status") not in (OK, *EXIT_CODES):
            raise ValueError("it does not say how the task ended")
        name = self._calculation.NAME
        if result.get("task") != name:
            raise ValueError(f"it is of the task {result.get('task')!r}, not {name!r}")
        message = printable(str(result.get("message", "")), LONG)
        return {**result, "message": message}

    def _scheduler(self) -> ExitCode | None:
        status = self.node.exit_status
        return ExitCode(status, self.node.exit_message) if status else None

    def _stderr(self) -> str:
        text = (self.node.get_scheduler_stderr() or "").strip()
        return printable(" / ".join(text.splitlines()[-3:])) or "(it is empty)"

    def _exit(self, label: str, **words: str) -> ExitCode:
        code: ExitCode = getattr(self.exit_codes, label)
        return code.format(**{key: printable(word, LONG) for key, word in words.items()})
