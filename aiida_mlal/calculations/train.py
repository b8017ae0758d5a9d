"""Train a potential."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.engine.processes.calcjobs.calcjob import CalcJobProcessSpec
from aiida.orm import Dict, Int, List, to_aiida_type

from aiida_mlal.calculations.base import TaskCalculation, plain
from aiida_mlal.data.content import ContentData
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.potential import PotentialData


class TrainCalculation(TaskCalculation):
    """Trains a potential on labelled structures."""

    NAME: ClassVar[str] = "train"
    PARSER: ClassVar[str] = "mlal.train"
    DATASET: ClassVar[str] = "dataset.safetensors"
    VALIDATION: ClassVar[str] = "validation.safetensors"
    INITIAL: ClassVar[str] = "initial.safetensors"

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:  # type: ignore[override]
        """Declare inputs and outputs."""
        super().define(spec)
        spec.input(
            "dataset",
            valid_type=DatasetData,
            help="Labelled structures; only those whose status is `ok` are learned from.",
        )
        spec.input(
            "model",
            valid_type=Dict,
            serializer=to_aiida_type,
            help='Architecture and its options, such as `{"architecture": "bpnn", "cutoff": 6.0, '
            '"prior": {"architecture": "morse"}, "ensemble": 5}`.',
        )
        spec.input(
            "training",
            valid_type=Dict,
            serializer=to_aiida_type,
            default=lambda: Dict({}),
            help='Options of training, such as `{"epochs": 50, "optimizer": {"name": "lbfgs"}}`.',
        )
        spec.input(
            "uncertainty",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            help="Name and options of a measure: what it has to know of the training set is kept "
            'with the potential. By default that of the model, `{"name": "grade"}` for an `mtp`.',
        )
        spec.input(
            "seed",
            valid_type=Int,
            serializer=to_aiida_type,
            default=lambda: Int(0),
            help="Of first weights, and of everything random in training.",
        )
        spec.input(
            "initial",
            valid_type=PotentialData,
            required=False,
            help="Potential whose weights training begins with, instead of random ones.",
        )
        spec.input(
            "validation",
            valid_type=DatasetData,
            required=False,
            help="Labelled structures that are not learned from: they decide which weights are "
            "kept.",
        )
        spec.input(
            "more_elements",
            valid_type=List,
            serializer=to_aiida_type,
            required=False,
            help="Elements that the potential is to know beside those of the labels.",
        )
        spec.output(
            "potential",
            valid_type=PotentialData,
            help="The trained potential; after an interruption as far as it got.",
        )
        spec.output(
            "results", valid_type=Dict, help="Errors, curves of the loss, numbers of structures."
        )
        spec.default_output_node = "results"

    @classmethod
    def task_options(cls, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return model, training, seed and names of files."""
        more = inputs["more_elements"].get_list() if "more_elements" in inputs else []
        return {
            **plain(inputs, "model", "training", "uncertainty", "seed"),
            **({"more_elements": more} if more else {}),
            "dataset": cls.DATASET,
            "validation": cls.VALIDATION if "validation" in inputs else None,
            "initial": cls.INITIAL if "initial" in inputs else None,
        }

    @classmethod
    def files(cls, inputs: Mapping[str, Any]) -> dict[str, ContentData]:
        """Return the structures, those of validation, and the potential to begin with."""
        names = {"dataset": cls.DATASET, "validation": cls.VALIDATION, "initial": cls.INITIAL}
        return {file: inputs[name] for name, file in names.items() if name in inputs}
