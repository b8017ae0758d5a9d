"""What the WorkChains have in common that restart a calculation until it comes to an end."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aiida.engine import (
    BaseRestartWorkChain,
    ExitCode,
    ProcessHandlerReport,
    process_handler,
    while_,
)
from aiida.orm import CalcJobNode

from aiida_mlal.calculations.base import TaskCalculation

WALLTIME, NODE_FAILURE = 120, 140
"""Exit codes of schedulers after which a calculation may go on."""

INTERRUPTIONS = [
    TaskCalculation.exit_codes.ERROR_INTERRUPTED,
    TaskCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_WALLTIME,
    TaskCalculation.exit_codes.ERROR_SCHEDULER_NODE_FAILURE,
]


class TaskBaseWorkChain(BaseRestartWorkChain):
    """Runs a task again where that may help, and says what is wrong where it cannot.

    Attributes
    ----------
    NAMESPACE
        Of the inputs of the calculation.
    OUTSIDE
        Those of them that are inputs of the WorkChain itself, by the same name.
    """

    NAMESPACE: ClassVar[str]
    OUTSIDE: ClassVar[tuple[str, ...]] = ()
    _process_class: type[TaskCalculation]

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs, outputs, the outline and exit codes."""
        super().define(spec)
        spec.expose_inputs(cls._process_class, namespace=cls.NAMESPACE, exclude=cls.OUTSIDE)
        spec.expose_outputs(cls._process_class)
        step: Any = cls
        spec.outline(
            step.setup,
            while_(step.should_run_process)(step.run_process, step.inspect_process),
            step.results,
        )
        spec.exit_code(310, "ERROR_INVALID_INPUT", message="{message}")
        spec.exit_code(311, "ERROR_INTERNAL", message="{message}")
        spec.exit_code(320, "ERROR_OUT_OF_MEMORY", message="{message}")
        spec.exit_code(410, "ERROR_DIVERGED", message="{message}")
        spec.exit_code(
            430,
            "ERROR_NO_PROGRESS",
            message="The calculation was stopped by its time limit before it had anything to "
            "continue from: give it more time.",
        )

    def setup(self) -> None:
        """Take the inputs of the calculation."""
        super().setup()
        self.ctx.inputs = self.exposed_inputs(self._process_class, self.NAMESPACE)
        given = {name: self.inputs[name] for name in self.OUTSIDE if name in self.inputs}
        self.ctx.inputs.update(given)

    def give_up(self, label: str, node: CalcJobNode) -> ProcessHandlerReport:
        """End with the message of the calculation: to run it again would not help."""
        code: ExitCode = getattr(self.exit_codes, label)
        self.report(f"{self.ctx.process_name}<{node.pk}>: {node.exit_message}")
        return ProcessHandlerReport(True, code.format(message=node.exit_message or ""))

    def doubts(self, results: Mapping[str, Any]) -> Sequence[str]:
        """Return what is to be told of results that are good: the message of the task."""
        return list(filter(None, [results.get("message")]))

    @process_handler(priority=100)
    def say_what_is_doubtful(self, node: CalcJobNode) -> None:
        """Report what a task had to say, which otherwise only the log of its job has."""
        if node.is_finished_ok:
            for doubt in self.doubts(node.outputs.results.get_dict()):
                self.report(f"{self.ctx.process_name}<{node.pk}>: {doubt}")

    @process_handler(priority=600, exit_codes=[TaskCalculation.exit_codes.ERROR_INVALID_INPUT])
    def handle_invalid_input(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Stop: the same options and files will not fit next time."""
        return self.give_up("ERROR_INVALID_INPUT", node)

    @process_handler(priority=595, exit_codes=[TaskCalculation.exit_codes.ERROR_INTERNAL])
    def handle_internal_error(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Stop: the same error comes again, in a plugin or in the task itself."""
        return self.give_up("ERROR_INTERNAL", node)

    @process_handler(
        priority=590,
        exit_codes=[
            TaskCalculation.exit_codes.ERROR_OUT_OF_MEMORY,
            TaskCalculation.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY,
        ],
    )
    def handle_out_of_memory(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Stop: more memory, or a smaller model or batch, is for the user to decide."""
        return self.give_up("ERROR_OUT_OF_MEMORY", node)

    @process_handler(priority=400, exit_codes=INTERRUPTIONS)
    def handle_interrupted(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on from what was computed, or begin again if something else than time was short."""
        if self.go_on_from(node):
            return ProcessHandlerReport(True)
        if node.exit_status == WALLTIME:
            return ProcessHandlerReport(True, self.exit_codes.ERROR_NO_PROGRESS)
        self.report(f"{self.ctx.process_name}<{node.pk}> had computed nothing yet: begin again")
        return ProcessHandlerReport(True)

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Change the inputs so that the work of ``node`` is not done again, if it left some."""
        raise NotImplementedError
