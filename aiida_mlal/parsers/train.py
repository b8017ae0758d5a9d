"""Parser of training."""

from collections.abc import Iterator, Mapping
from typing import Any

from aiida.orm import Data

from aiida_mlal.data.potential import PotentialData
from aiida_mlal.parsers.base import TaskParser


class TrainParser(TaskParser):
    """Reads the trained potential."""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the potential."""
        yield "potential", PotentialData(self.bytes(file))
