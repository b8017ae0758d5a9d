"""Parser of labels."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiida.orm import Data

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.parsers.base import TaskParser


class LabelParser(TaskParser):
    """Reads the labels, and notes that they come from this calculation."""

    RESULTS: ClassVar[str] = "description"

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the structures with labels."""
        labelled = Configurations.from_bytes(self.bytes(file))
        if labelled.keys != self.node.inputs.dataset.configurations.keys:
            raise ValueError("its structures are not those that were to be labelled")
        sources = [self.node.uuid if status != UNLABELLED else "" for status in labelled.status]
        yield "dataset", DatasetData(labelled, sources)
