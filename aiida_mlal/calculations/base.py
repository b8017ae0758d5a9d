"""What every CalcJob of this package does: write a task, run ``mlal`` on it, fetch the files."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.common.datastructures import CalcInfo, CodeInfo
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


class TaskCalculation(CalcJob):
    """Runs one task. What is computed, and with which options, is said in ``ml.tasks``.

    A subclass declares its inputs and outputs, and says how inputs become options and files. Its
    folder can be run again on any machine, without AiiDA, by ``mlal run task.json``.

    Attributes
    ----------
    NAME
        Of the task, in the group ``aiida_mlal.tasks``.
    PARSER
        Entry point of the parser.
    """

    NAME: ClassVar[str]
    PARSER: ClassVar[str] = ""
    CACHE_VERSION = 1

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare what all tasks have in common."""
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
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the task, as JSON values, from the nodes that are given."""

    @classmethod
    @abstractmethod
    def task_files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the node that becomes each file in the folder of the task."""

    @classmethod
    def task(cls, inputs: Mapping[str, Any]) -> Task:
        """Return the task; ``ValueError`` for wrong options."""
        task: Task = build(plugins.find("tasks", cls.NAME), cls.task_options(inputs))
        return task

    @classmethod
    def task_class(cls) -> type[Task]:
        """Return the dataclass of the task."""
        return plugins.find("tasks", cls.NAME)

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the task and list the files."""
        task = compose(self.NAME, self.task(self.inputs))
        with folder.open(TASK, "w") as handle:
            json.dump(task, handle, indent=2, sort_keys=True)
            handle.write("\n")

        code = CodeInfo()
        code.code_uuid = self.inputs.code.uuid
        code.cmdline_params = ["run", TASK]

        info = CalcInfo()
        info.codes_info = [code]
        info.local_copy_list = [
            (node.uuid, node.FILE, name) for name, node in self.task_files(self.inputs).items()
        ]
        task_class = self.task_class()
        info.retrieve_list = [RESULT, PROGRESS, task_class.OUTPUT]
        info.retrieve_list += [(left, ".", left.count("/") + 1) for left in task_class.LEFT]
        return info

    @classmethod
    def _objection(cls, inputs: Mapping[str, Any], ports: PortNamespace) -> str | None:
        """Say what is wrong with the options, if all required ports are given."""
        if any(port.required and name not in inputs for name, port in cls.spec().inputs.items()):
            return None
        try:
            cls.task(inputs)
        except ValueError as error:
            return str(error)
        return None


def plain(inputs: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the values of those inputs that are given: of a Dict its content, of others theirs."""
    return {
        name: inputs[name].get_dict() if isinstance(inputs[name], Dict) else inputs[name].value
        for name in names
        if name in inputs
    }
