"""Parser of properties."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from aiida.orm import ArrayData, Data

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.tasks.properties import Properties
from aiida_mlal.parsers.base import TaskParser

(CURVES,) = Properties.LEFT


class PropertiesParser(TaskParser):
    """Reads the structures that were computed, and the curves."""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield structures and curves."""
        yield "structures", DatasetData(Configurations.from_bytes(self.bytes(file)))
        if CURVES in self.names:
            curves = json.loads(self.bytes(CURVES))
            node = ArrayData()
            for name, values in curves.items():
                node.set_array(re.sub(r"\W", "_", name), np.array(values, float))
            if curves:
                yield "curves", node
