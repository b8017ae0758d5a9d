"""Parser of selections."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiida.orm import Data

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.selection import SelectionData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.parsers.base import TaskParser


class SelectParser(TaskParser):
    """Reads what was chosen, and the structures if there are any."""

    RESULTS: ClassVar[str] = ""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the decision, and the chosen structures."""
        if "selected" not in result:
            return  # the task ended before it came to a decision
        selection = SelectionData(result)
        yield "selection", selection
        chosen = Configurations.from_bytes(self.bytes(file))
        if chosen.keys != [item["key"] for item in selection.selected]:
            raise ValueError("its structures are not those of the decision")
        if len(chosen):
            yield "selected", DatasetData(chosen)
