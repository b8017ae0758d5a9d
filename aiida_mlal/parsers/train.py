"""Parser of training."""

from collections.abc import Iterator, Mapping
from typing import Any

from aiida.orm import Data

from aiida_mlal.data.potential import PotentialData
from aiida_mlal.ml.tasks.base import INTERRUPTED
from aiida_mlal.ml.tasks.train import Train
from aiida_mlal.parsers.base import TaskParser

(BEGUN,) = Train.LEFT


class TrainParser(TaskParser):
    """Reads the trained potential."""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the potential."""
        yield "potential", PotentialData(self.bytes(BEGUN if BEGUN in self.names else file))

    def left(self) -> Mapping[str, Any] | None:
        """Read the progress of a training that was killed, if it had written its weights."""
        names = self.names
        there = [name for name in (BEGUN, Train.OUTPUT) if name in names]
        if not there:
            return None
        trained = PotentialData(self.bytes(there[0])).base.attributes.get("training")
        return {"task": "train", "status": INTERRUPTED, "epochs": trained.get("epochs", 0)}
