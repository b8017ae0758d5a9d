"""Properties of structures, computed again where a job was interrupted."""

from typing import Any, ClassVar

from aiida.engine import process_handler
from aiida.orm import CalcJobNode

from aiida_mlal.calculations.properties import PropertiesCalculation
from aiida_mlal.workflows.restart import TaskBaseWorkChain


class PropertiesWorkChain(TaskBaseWorkChain):
    """Computes properties with a potential, with a calculator of ASE, or with one beside the other.

    Numbers are in `results`, with 95 % intervals where the potential is a committee; structures
    that were computed for them in `structures`, to be graded or labelled.
    """

    NAMESPACE: ClassVar[str] = "compute"
    OUTSIDE: ClassVar[tuple[str, ...]] = (
        "potential", "structures", "properties", "calculator", "relaxation",
    )  # fmt: skip
    _process_class = PropertiesCalculation

    @classmethod
    def define(cls, spec: Any) -> None:
        """Take what is computed as inputs of its own."""
        super().define(spec)
        spec.expose_inputs(PropertiesCalculation, include=cls.OUTSIDE)

    @process_handler(priority=100)
    def say_what_is_doubtful(self, node: CalcJobNode) -> None:
        """Report structures that are no minima, unstable crystals, symmetry that is lost."""
        if node.is_finished_ok and node.outputs.results["message"]:
            self.report(f"properties<{node.pk}>: {node.outputs.results['message']}")

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Begin again: what a job computed is not continued."""
        return False
