"""A calculator that takes its time, and notes how often it was asked."""

import os
import time
from pathlib import Path

from ase.calculators.emt import EMT


class SlowEMT(EMT):
    """Energies of EMT, each after some seconds."""

    def __init__(self, seconds: float, counts: str) -> None:
        super().__init__()
        self.seconds, self.counts = seconds, Path(counts)

    def calculate(self, *args, **kwargs):
        time.sleep(self.seconds)
        super().calculate(*args, **kwargs)
        with self.counts.open("a") as file:
            file.write(f"{os.getpid()}\n")
