"""Parser of simulations."""

from collections.abc import Iterator, Mapping
from typing import Any

from aiida.orm import Data

from aiida_mlal.data.content import storable
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.state import StateData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.state import Checkpoint
from aiida_mlal.ml.tasks.base import INTERRUPTED
from aiida_mlal.ml.tasks.simulate import Simulate
from aiida_mlal.parsers.base import TaskParser


class SimulateParser(TaskParser):
    """Reads the trajectory, and where to go on after an interruption."""

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield frames and state."""
        names = self.names
        if Simulate.STATE in names:
            yield "state", StateData(self.bytes(Simulate.STATE))
        if file in names or Simulate.STATE not in names:
            yield "trajectory", DatasetData(Configurations.from_bytes(self.bytes(file)))
            return
        folder = Simulate.FRAMES
        parts = []
        if folder in names:
            parts = sorted(self.retrieved.base.repository.list_object_names(folder))
        frames = [Configurations.from_bytes(self.bytes(f"{folder}/{part}")) for part in parts]
        yield "trajectory", DatasetData(Configurations.concatenate(frames))

    def left(self) -> Mapping[str, Any] | None:
        """Return the runs that were over at the last checkpoint, if there was one."""
        if Simulate.STATE not in self.names:
            return None
        runs = list(Checkpoint.from_bytes(self.bytes(Simulate.STATE)).runs)
        return {"task": "simulate", "status": INTERRUPTED, "runs": storable(runs)}
