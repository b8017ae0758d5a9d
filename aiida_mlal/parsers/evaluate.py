"""Parser of evaluations."""

from collections.abc import Iterator, Mapping
from typing import Any

from aiida.orm import Data

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.parsers.base import TaskParser


class EvaluateParser(TaskParser):
    """Reads the predictions, if they are to be kept."""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the structures with predictions."""
        inputs = self.node.inputs
        if "keep_predictions" not in inputs or inputs.keep_predictions.value:
            yield "predictions", DatasetData(Configurations.from_bytes(self.bytes(file)))
