"""What every CalcJob of this package does: write a task, run ``mlal`` on it, fetch the files."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from aiida.common.datastructures import CalcInfo, CodeInfo, CodeRunMode
from aiida.common.folders import Folder
from aiida.engine import CalcJob
from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import Dict

from aiida_mlal.calculations.codes import code_validator
from aiida_mlal.data.content import ContentData
from aiida_mlal.ml import plugins
from aiida_mlal.ml.options import build
from aiida_mlal.ml.tasks.base import PROGRESS, RESULT, TASK, Task
from aiida_mlal.ml.tasks.runner import compose


class MlalCalculation(CalcJob):
    """Runs the command ``mlal`` on tasks, one after the other.

    A subclass declares its inputs and outputs, and says how inputs become tasks and files. Its
    folder can be run again on any machine, without AiiDA, by ``mlal run`` for each task.

    Attributes
    ----------
    PARSER
        Entry point of the parser.
    """

    PARSER: ClassVar[str] = ""
    CACHE_VERSION = 1

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare what all calculations have in common."""
        super().define(spec)
        spec.inputs["code"].help = "The command `mlal`."
        spec.inputs["code"].validator = code_validator("mlal")
        usual = spec.inputs.validator

        def validate(inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
            return (usual(inputs, ports) if usual else None) or cls._objection(inputs, ports)

        spec.inputs.validator = validate  # type: ignore[assignment]

        options: Any = spec.inputs.get_port("metadata.options")
        options["parser_name"].default = cls.PARSER
        options["resources"].default = {"num_machines": 1, "num_mpiprocs_per_machine": 1}
        options["withmpi"].default = False
        options["input_filename"].default = TASK
        options["output_filename"].default = RESULT

        spec.exit_code(
            300,
            "ERROR_NO_RESULT",
            message="The job wrote no result; its standard error ends: {stderr}",
            invalidates_cache=True,
        )
        spec.exit_code(310, "ERROR_INVALID_INPUT", message="Options or files do not fit: {message}")
        spec.exit_code(
            311,
            "ERROR_INTERNAL",
            message="An error inside of the task: {message}",
            invalidates_cache=True,
        )
        spec.exit_code(
            320,
            "ERROR_OUT_OF_MEMORY",
            message="The task needs more memory than there is: {message}",
            invalidates_cache=True,
        )
        spec.exit_code(
            330,
            "ERROR_MISSING_OUTPUT",
            message="The task ended well but there is no file {file}.",
            invalidates_cache=True,
        )
        spec.exit_code(
            331,
            "ERROR_INVALID_OUTPUT",
            message="The file {file} is not what it should be: {message}",
            invalidates_cache=True,
        )
        spec.exit_code(410, "ERROR_DIVERGED", message="The numbers grew beyond bounds: {message}")
        spec.exit_code(
            420,
            "ERROR_INTERRUPTED",
            message="The task was told to stop before its end: {message}",
            invalidates_cache=True,
        )

    @classmethod
    @abstractmethod
    def tasks(cls, inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the content of each task's file, by its path in the folder of the job.

        Raises
        ------
        ValueError
            For wrong options.
        """

    @classmethod
    @abstractmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the node that becomes each file, by its path in the folder of the job."""

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the tasks and list the files."""
        info = CalcInfo()
        info.codes_info, info.codes_run_mode = [], CodeRunMode.SERIAL
        info.retrieve_list = []
        for path, task in self.tasks(self.inputs).items():
            there = Path(path).parent
            folder.get_subfolder(there, create=True)
            with folder.open(path, "w") as handle:
                json.dump(task, handle, indent=2, sort_keys=True)
                handle.write("\n")
            code = CodeInfo()
            code.code_uuid = self.inputs.code.uuid
            code.cmdline_params = ["run", path]
            info.codes_info.append(code)
            kind: type[Task] = plugins.find("tasks", task["task"])
            for name in (RESULT, PROGRESS, kind.OUTPUT, *kind.LEFT):
                left = there / name
                info.retrieve_list.append((str(left), ".", len(left.parts)))
        info.local_copy_list = [
            (node.uuid, node.FILE, path) for path, node in self.files(self.inputs).items()
        ]
        return info

    @classmethod
    def _objection(cls, inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
        """Say what is wrong with the options, if all required ports are given."""
        if not _is_complete(inputs, cls.spec().inputs):
            return None
        try:
            cls.tasks(inputs)
        except ValueError as error:
            return str(error)
        return None


class TaskCalculation(MlalCalculation):
    """Runs one task. What is computed, and with which options, is said in ``ml.tasks``.

    Attributes
    ----------
    NAME
        Of the task, in the group ``aiida_mlal.tasks``.
    """

    NAME: ClassVar[str]

    @classmethod
    @abstractmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the task, as JSON values, from the nodes that are given."""

    @classmethod
    def task_class(cls) -> type[Task]:
        """Return the dataclass of the task."""
        return plugins.find("tasks", cls.NAME)

    @classmethod
    def tasks(cls, inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the one task."""
        return {TASK: cls.task(inputs)}

    @classmethod
    def task(cls, inputs: Mapping[str, Any], **made: str) -> dict[str, Any]:
        """Return the content of the task's file.

        Parameters
        ----------
        inputs
            All that the options are made of.
        made
            Options that name files which are made in the same job.

        Raises
        ------
        ValueError
            For wrong options.
        """
        options = {**cls.task_options(inputs), **made}
        return compose(cls.NAME, build(cls.task_class(), options))


def _is_complete(inputs: Mapping[str, Any], ports: PortNamespace) -> bool:
    """Whether all required ports are given, also those of namespaces."""
    for name, port in ports.items():
        if name not in inputs:
            if port.required:
                return False
        elif isinstance(port, PortNamespace) and not _is_complete(inputs[name], port):
            return False
    return True


def plain(inputs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Convert the inputs that are given to JSON values."""
    return {
        name: inputs[name].get_dict() if isinstance(inputs[name], Dict) else inputs[name].value
        for name in names
        if name in inputs
    }
