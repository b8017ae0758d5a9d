"""Parser of simulations."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiida.orm import Data

from aiida_mlal.data.content import storable
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.state import StateData
from aiida_mlal.ml.configurations import Configurations, save_together
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
            yield "trajectory", DatasetData(self.bytes(file))
        else:
            yield "trajectory", DatasetData(self._joined(Simulate.FRAMES))

    def _joined(self, folder: str) -> bytes:
        """Return a file of the frames in all files of a folder that a killed job left."""
        parts = sorted(self.names_in(folder))
        with TemporaryDirectory() as there:
            path = Path(there) / Simulate.OUTPUT
            save_together(path, [partial(self._frames, f"{folder}/{part}") for part in parts])
            return path.read_bytes()

    def _frames(self, name: str) -> Configurations:
        return Configurations.from_bytes(self.bytes(name))

    def left(self) -> Mapping[str, Any] | None:
        """Return the runs that were over at the last checkpoint, if there was one."""
        if Simulate.STATE not in self.names:
            return None
        runs = list(Checkpoint.from_bytes(self.bytes(Simulate.STATE)).runs)
        return {"task": "simulate", "status": INTERRUPTED, "runs": storable(runs)}
