"""Parser of extrapolation grades."""

from collections.abc import Iterator, Mapping
from typing import Any

from aiida.orm import Data

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.parsers.base import TaskParser


class GradeParser(TaskParser):
    """Reads the grades."""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the structures with their grades."""
        yield "graded", DatasetData(Configurations.from_bytes(self.bytes(file)))
