"""Properties of structures, computed again where a job was interrupted."""

from typing import Any, ClassVar

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

    def go_on_from(self, node: CalcJobNode) -> bool:
        """Begin again: what a job computed is not continued."""
        return False
