"""Averages over the steps of molecular dynamics, accumulated in constant memory."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ase.units import _amu

from aiida_mlal.ml.simulation.blocks import Blocks


class Sample(NamedTuple):
    """What is averaged over steps.

    Attributes
    ----------
    temperature
        In K.
    pressure
        In GPa, NaN where no stress is known.
    potential
        The potential energy in eV.
    volume
        Of the cell in Å³, NaN where it is not periodic in all directions.
    """

    temperature: float
    pressure: float
    potential: float
    volume: float


class Averages:
    """Sums over the steps of a run.

    Parameters
    ----------
    timestep
        In ps.
    equilibration
        Time in ps at the beginning that means leave out; None to find it.

    Attributes
    ----------
    n
        Number of steps.
    last
        The last sample.
    conserved
        The conserved quantity in eV of the last step.
    """

    def __init__(self, timestep: float, equilibration: float | None = None) -> None:
        self._timestep, self._equilibration = timestep, equilibration
        self._blocks, self._begin = Blocks(len(Sample._fields)), np.nan
        self.n, self.last, self.conserved = 0, Sample(*[np.nan] * 4), np.nan
        self._sums = {"first": np.nan, "time": 0.0} | dict.fromkeys(_MOMENTS, 0.0)

    def add(self, step: int, sample: Sample, conserved: float) -> None:
        """Take the values of a step."""
        time, sums = step * self._timestep, self._sums
        if not self.n:
            sums["first"] = conserved
        change = conserved - sums["first"]
        self.n += 1
        self.last, self.conserved, sums["time"] = sample, conserved, time
        for name, value in zip(
            _MOMENTS, (time, time * time, change, change * change, time * change)
        ):
            sums[name] += value
        if self._equilibration is None or time > self._equilibration - self._timestep / 2:
            self._begin = self._begin if self._blocks.n_samples else time
            self._blocks.add(np.array(sample))

    def restart(self) -> None:
        """Leave what was averaged until now out of the means, as that of another potential."""
        self._blocks = Blocks(len(Sample._fields))

    def results(self, masses: np.ndarray, moves_cell: bool) -> dict[str, Any]:
        """Return means and last values as JSON values, None in place of what is not a number.

        ``averaged`` says from when to when means are, and whether what comes before it was found
        to be enough for equilibration; None where that wasn't to be found. ``standard_error`` of a
        mean is by blocking. ``drift_eV_per_atom_ps`` is the slope of a straight line through the
        conserved quantity of all steps, ``scatter_eV_per_atom`` the standard deviation from it.

        Parameters
        ----------
        masses
            Of the atoms, in amu.
        moves_cell
            Whether there is a mean volume.
        """
        if not self.n:
            return {}
        t, t2, e, e2, te = (self._sums[name] for name in _MOMENTS)
        spread, common = t2 - t * t / self.n, te - t * e / self.n
        slope = common / spread if spread > 0 else np.nan
        rest = (e2 - e * e / self.n - slope * common) / self.n
        time, n_atoms = self._sums["time"], len(masses)
        searched = self._equilibration is None
        with np.errstate(all="ignore"):  # of runs that went beyond bounds
            first, equilibrated = self._blocks.stationary() if searched else (0, None)
            means, errors = Sample(*self._blocks.means(first)), Sample(*self._blocks.errors(first))
        told = {
            "temperature_K": _told(means.temperature, errors.temperature, self.last.temperature),
            "pressure_GPa": _told(means.pressure, errors.pressure, self.last.pressure),
            "potential_eV": _told(means.potential, errors.potential, self.last.potential),
        }
        if moves_cell and np.isfinite(self.last.volume):
            told["volume_A3"] = _told(means.volume, errors.volume, self.last.volume)
            mass = float(masses.sum()) * _amu * 1e27  # of 1 Å3 at 1 g/cm3 in amu
            told["density_g_cm3"] = _told(
                mass / means.volume,
                mass / means.volume**2 * errors.volume,
                mass / self.last.volume,
            )
        return {
            "time_ps": _number(time),
            "averaged": {
                "from_ps": _number(self._begin + first * self._timestep),
                "to_ps": _number(time),
                "equilibrated": equilibrated,
            },
            **told,
            "conserved_eV": {
                "first": _number(self._sums["first"]),
                "last": _number(self.conserved),
            },
            "drift_eV_per_atom_ps": _number(slope / n_atoms),
            "scatter_eV_per_atom": _number(np.sqrt(max(0.0, rest)) / n_atoms),
        }

    def remember(self) -> Mapping[str, Any]:
        """Return the sums."""
        return {
            "n": self.n,
            "last": list(self.last),
            "conserved": self.conserved,
            "begin": self._begin,
            "sums": dict(self._sums),
            "blocks": self._blocks.remember(),
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the sums; what is none raises ``LookupError`` or ``TypeError``."""
        self.n, self.conserved = memory["n"], memory["conserved"]
        self.last, self._begin = Sample(*memory["last"]), memory["begin"]
        self._sums = {name: float(memory["sums"][name]) for name in self._sums}
        self._blocks.recall(memory["blocks"])


_MOMENTS = ("t", "t2", "e", "e2", "te")
"""Sums over the time in ps, and the change of the conserved quantity in eV."""


def _told(mean: float, error: float, last: float) -> dict[str, float | None]:
    return {"mean": _number(mean), "standard_error": _number(error), "last": _number(last)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
