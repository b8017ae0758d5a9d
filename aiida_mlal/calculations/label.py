"""Label structures with an ASE calculator."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import Dict, Float, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.numbers import to_float


class LabelCalculation(TaskCalculation):
    """Computes energies, forces and stresses of structures.

    A structure whose label failed stays in its place, and its status says so. Labels are kept in
    whatever way the job ends: those that it did not come to are ``unlabelled`` then.
    """

    NAME: ClassVar[str] = "label"
    PARSER: ClassVar[str] = "mlal.label.ase"
    DATASET: ClassVar[str] = "dataset.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("dataset", valid_type=DatasetData, help="The structures.")
        spec.input(
            "calculator",
            valid_type=Dict,
            serializer=to_aiida_type,
            help='Name and options of the calculator, such as `{"name": "emt"}`.',
        )
        spec.input(
            "limits",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help="What a label must satisfy to be learned from.",
        )
        spec.input(
            "timeout",
            valid_type=Float,
            serializer=to_float,
            required=False,
            validator=_above_zero,
            help="Time in s that the label of one structure may take; by default any.",
        )
        spec.output(
            "dataset",
            valid_type=DatasetData,
            help="The same structures in the same order, with labels where there are any.",
        )
        spec.output("description", valid_type=Dict, help="What made the labels, and how it went.")
        spec.default_output_node = "description"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return calculator, limits, timeout and the name of the file."""
        return {**plain(inputs, "calculator", "limits", "timeout"), "dataset": cls.DATASET}

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the structures."""
        return {cls.DATASET: inputs["dataset"]}


def _above_zero(node: Float | None, _: Any) -> str | None:
    if node is not None and not node.value > 0:
        return f"expected a timeout above 0 s, got {node.value:g}"
    return None
