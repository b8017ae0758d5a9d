"""Compare a potential with labels."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import Dict

from aiida_mlal.calculations.base import TaskCalculation
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
        spec.output(
            "predictions", valid_type=DatasetData, help="The structures with what was predicted."
        )
        spec.output("results", valid_type=Dict, help="Errors of energies, forces and stresses.")
        spec.default_output_node = "results"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return names of files: there is nothing to choose."""
        return {"potential": cls.POTENTIAL, "dataset": cls.DATASET}

    @classmethod
    def task_files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the potential and the structures."""
        return {cls.POTENTIAL: inputs["potential"], cls.DATASET: inputs["dataset"]}
