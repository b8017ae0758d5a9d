"""Compute extrapolation grades of structures."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import Dict, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData


class GradeCalculation(TaskCalculation):
    """Computes extrapolation grades of structures, or of each atom in them."""

    NAME: ClassVar[str] = "grade"
    PARSER: ClassVar[str] = "mlal.grade"
    POTENTIAL: ClassVar[str] = "potential.safetensors"
    DATASET: ClassVar[str] = "dataset.safetensors"
    TRAIN: ClassVar[str] = "train.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input("potential", valid_type=PotentialData, help="What may extrapolate.")
        spec.input("dataset", valid_type=DatasetData, help="The structures.")
        spec.input(
            "train",
            valid_type=DatasetData,
            required=False,
            help="Its training set, where it carries no active set, or another is wanted.",
        )
        spec.input(
            "grades",
            valid_type=Dict,
            serializer=to_aiida_type,
            default=lambda: Dict({}),
            help="Options: `mode`, and of an active set that is made `threshold` and `start`.",
        )
        spec.output(
            "graded",
            valid_type=DatasetData,
            help="The structures with `grade` in `info`, and whether they are `outside` of all "
            "that the active set spans; in the mode `neighbourhood` also with `grade` in `arrays`.",
        )
        spec.output("results", valid_type=Dict, help="The largest grade, and how full the set is.")
        spec.default_output_node = "results"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options and names of files."""
        names = {"potential": cls.POTENTIAL, "dataset": cls.DATASET}
        train = cls.TRAIN if "train" in inputs else None
        return {**plain(inputs, "grades").get("grades", {}), **names, "train": train}

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the potential, the structures and the training set if there is one."""
        names = {"potential": cls.POTENTIAL, "dataset": cls.DATASET, "train": cls.TRAIN}
        return {file: inputs[name] for name, file in names.items() if name in inputs}
