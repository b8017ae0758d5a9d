"""Averages over the steps of molecular dynamics, accumulated in constant memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Averages:
    """Sums over the steps of a run.

    Attributes
    ----------
    n
        Number of steps.
    last
        Time (ps), temperature (K), pressure (GPa) and conserved quantity (eV) of the last step.
    first
        The conserved quantity at the first step.
    """

    n: int = 0
    last: tuple[float, float, float, float] = (np.nan,) * 4
    first: float = np.nan
    temperature: float = 0.0
    pressure: float = 0.0
    t: float = 0.0
    t2: float = 0.0
    e: float = 0.0
    e2: float = 0.0
    te: float = 0.0

    def add(self, time: float, temperature: float, pressure: float, conserved: float) -> None:
        """Take the values of a step."""
        if not self.n:
            self.first = conserved
        change = conserved - self.first
        self.n += 1
        self.last = time, temperature, pressure, conserved
        self.temperature += temperature
        self.pressure += pressure
        self.t += time
        self.t2 += time * time
        self.e += change
        self.e2 += change * change
        self.te += time * change

    def results(self, n_atoms: int) -> dict[str, Any]:
        """Return means and last values as JSON values, None in place of what is not a number.

        ``drift_eV_per_atom_ps`` is the slope of a straight line through the conserved quantity,
        ``scatter_eV_per_atom`` the standard deviation from it.
        """
        if not self.n:
            return {}
        time, temperature, pressure, conserved = self.last
        spread = self.t2 - self.t * self.t / self.n
        common = self.te - self.t * self.e / self.n
        slope = common / spread if spread > 0 else np.nan
        rest = (self.e2 - self.e * self.e / self.n - slope * common) / self.n
        return {
            "time_ps": _number(time),
            "temperature_K": _pair(self.temperature / self.n, temperature),
            "pressure_GPa": _pair(self.pressure / self.n, pressure),
            "conserved_eV": {"first": _number(self.first), "last": _number(conserved)},
            "drift_eV_per_atom_ps": _number(slope / n_atoms),
            "scatter_eV_per_atom": _number(np.sqrt(max(0.0, rest)) / n_atoms),
        }

    def remember(self) -> Mapping[str, Any]:
        """Return the sums."""
        return dict(vars(self))

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the sums; what is no number raises ``TypeError``."""
        for name, value in memory.items():
            setattr(self, name, type(getattr(self, name))(value))


def _pair(mean: float, last: float) -> dict[str, float | None]:
    return {"mean": _number(mean), "last": _number(last)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
