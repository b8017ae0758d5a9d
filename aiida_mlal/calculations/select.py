"""Choose which structures are labelled next."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import ArrayData, Dict, Int, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData
from aiida_mlal.data.selection import SelectionData


class SelectCalculation(TaskCalculation):
    """Runs filters and a query strategy over a pool of candidates."""

    NAME: ClassVar[str] = "select"
    PARSER: ClassVar[str] = "mlal.select"
    POTENTIAL: ClassVar[str] = "potential.safetensors"
    POOL: ClassVar[str] = "pool.safetensors"
    TRAIN: ClassVar[str] = "train.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input(
            "potential",
            valid_type=PotentialData,
            required=False,
            help="For strategies that need what the pool does not carry.",
        )
        spec.input("pool", valid_type=DatasetData, help="The candidates.")
        spec.input(
            "train",
            valid_type=DatasetData,
            required=False,
            help="What is labelled already, if anything is.",
        )
        spec.input(
            "query",
            valid_type=Dict,
            serializer=to_aiida_type,
            help='Name and options of the strategy, such as `{"name": "final", "n": 2}`.',
        )
        spec.input(
            "filters",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help='What is not worth a label, such as `{"max_force": 20.0}`. By default the usual '
            "limits, or none where the strategy wants none.",
        )
        spec.input(
            "seed",
            valid_type=Int,
            serializer=to_aiida_type,
            default=lambda: Int(0),
            help="Of everything random in the choice.",
        )
        spec.input(
            "taken",
            valid_type=ArrayData,
            serializer=to_aiida_type,
            required=False,
            help="Array of the places in the pool of what was chosen before, and is no candidate.",
        )
        spec.output(
            "selected",
            valid_type=DatasetData,
            required=False,
            help="The chosen structures, most wanted first; absent if there are none.",
        )
        spec.output(
            "selection", valid_type=SelectionData, help="What was chosen and refused, and why."
        )

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return strategy, filters, seed and names of files."""
        given = plain(inputs, "query", "filters", "seed")
        if "taken" in inputs:
            given["taken"] = inputs["taken"].get_array().tolist()
        return {
            "strategy": given.pop("query"),
            **given,
            "pool": cls.POOL,
            "train": cls.TRAIN if "train" in inputs else None,
            "potential": cls.POTENTIAL if "potential" in inputs else None,
        }

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return candidates, and labelled structures and a potential if there are any."""
        names = {"pool": cls.POOL, "train": cls.TRAIN, "potential": cls.POTENTIAL}
        return {file: inputs[name] for name, file in names.items() if name in inputs}
