"""Compare a potential with labels."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import Bool, Dict, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData


class EvaluateCalculation(TaskCalculation):
    """Predicts energies, forces and stresses, and says how far they are from the labels."""

    NAME: ClassVar[str] = "evaluate"
    PARSER: ClassVar[str] = "mlal.evaluate"
    POTENTIAL: ClassVar[str] = "potential.safetensors"
    DATASET: ClassVar[str] = "dataset.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("potential", valid_type=PotentialData, help="What is to be judged.")
        spec.input("dataset", valid_type=DatasetData, help="Structures, with labels or without.")
        spec.input(
            "uncertainty",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help='Name and options of a measure, such as `{"name": "force_std"}`, to be compared '
            "with the errors; the predictions have it as well.",
        )
        spec.input(
            "keep_predictions",
            valid_type=Bool,
            serializer=to_aiida_type,
            default=lambda: Bool(True),
            help="Whether there is more to come of it than the results.",
        )
        spec.output(
            "predictions",
            valid_type=DatasetData,
            required=False,
            help="The structures with what was predicted.",
        )
        spec.output("results", valid_type=Dict, help="Errors of energies, forces and stresses.")
        spec.default_output_node = "results"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the measure, and names of files."""
        files = {"potential": cls.POTENTIAL, "dataset": cls.DATASET}
        nothing = {} if inputs.get("keep_predictions", True) else {"output": None}
        return {**plain(inputs, "uncertainty"), **files, **nothing}

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the potential and the structures."""
        return {cls.POTENTIAL: inputs["potential"], cls.DATASET: inputs["dataset"]}
