"""Diffusion and vibrations, from trajectories of molecular dynamics."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses, chemical_symbols
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN, TIME, VELOCITIES

CM2_PER_S = 0.1
"""1 Å²/fs in cm²/s."""
PER_CM = 33.35640951981521
"""1 THz in cm⁻¹."""


@dataclass(frozen=True, eq=False)
class Path:
    """Frames of a run at equal intervals of time.

    Attributes
    ----------
    interval
        Between frames, in fs.
    left_out
        Time at the end of the run without frames at this interval, in fs.
    """

    frames: Configurations
    interval: float
    left_out: float = 0.0

    @property
    def elements(self) -> list[str]:
        """Of each atom."""
        return [chemical_symbols[z] for z in self.frames[0].numbers]

    @property
    def masses(self) -> Float[np.ndarray, " atoms"]:
        """Of each atom, in amu."""
        first = self.frames[0]
        masses: np.ndarray = first.arrays.get("masses", atomic_masses[first.numbers])
        return masses

    def of_atoms(self, values: np.ndarray) -> Float[np.ndarray, "frames atoms 3"]:
        """Return values of atoms of all frames as those of each frame."""
        return values.reshape(len(self.frames), -1, 3)


ONE_AFTER_THE_OTHER = (
    "runs that are written one after the other have to be told apart by their key 'run' (`mlal "
    "convert SECOND FIRST --append` numbers them), and a run and its continuation have to be "
    "joined (`mlal simulate --begun ... --earlier ...`)"
)
"""How to make a trajectory of several files."""


def paths(trajectory: Configurations, skip: float = 0.0) -> list[Path]:
    """Return the runs of a trajectory, without frames that are out of step.

    Parameters
    ----------
    skip
        Time at the beginning of each run that is left out, in fs.

    Raises
    ------
    ValueError
        For frames without ``time``, runs of fewer than three frames, and frames of other atoms in
        the same run.
    """
    if not 0 <= skip < np.inf:
        raise ValueError(f"expected a time of 0 fs or more to skip, got {skip}")
    times, runs = TIME.of(trajectory), RUN.of(trajectory)
    if not np.isfinite(times).all():
        raise ValueError("expected frames of molecular dynamics, that have a 'time'")
    all_paths = []
    for run in np.unique(runs):
        mine = np.flatnonzero((runs == run) & (times >= skip))
        if len(mine) < 3:
            since = f" from {skip:g} fs on" if skip else ""
            raise ValueError(f"run {run} has {len(mine)} frames{since}, expected 3 or more")
        gaps = np.diff(times[mine])
        if not (gaps > 0).all():
            i, j = mine[int(np.argmin(gaps > 0)) :][:2].tolist()
            raise ValueError(
                f"time goes from {times[i]:g} fs in frame {i} to {times[j]:g} fs in frame {j}, "
                f"both of run {run}: {ONE_AFTER_THE_OTHER}"
            )
        interval = Counter(gaps.round(9).tolist()).most_common(1)[0][0]
        turns = (times[mine] - times[mine[0]]) / interval
        kept = mine[np.abs(turns - turns.round()) < 1e-6]
        whole = np.flatnonzero(np.diff(times[kept]) > 1.5 * interval)
        kept = kept[: whole[0] + 1] if len(whole) else kept
        if len(kept) < 3:
            raise ValueError(
                f"run {run} begins with {len(kept)} frames {interval:g} fs apart, as most of its "
                "frames are, expected 3 or more: leave out what has another interval ('skip')"
            )
        frames = trajectory[kept]
        n = int(frames.counts[0])
        if (frames.counts != n).any() or (frames.numbers.reshape(-1, n) != frames[0].numbers).any():
            raise ValueError(f"run {run} has frames of other atoms, or in another order")
        all_paths.append(Path(frames, interval, float(times[mine[-1]] - times[kept[-1]])))
    return all_paths


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Mean square displacement of the atoms of an element.

    Attributes
    ----------
    times
        In fs.
    squares
        Mean square displacements in Å², over beginnings and those atoms that are not fixed.
    coefficient
        Of self-diffusion in cm²/s: the slope between a tenth and a half of the time, divided by
        twice the number of directions that an atom is free to move in, by 6 if nothing is fixed.
    error
        Its standard error in cm²/s, from the scatter of the coefficients of single atoms, which
        are taken for independent; NaN for a single one.
    exponent
        Power of the time that the squares grow with there: 1 where atoms diffuse, so that the
        coefficient means something; 0 where they vibrate, 2 where they fly freely.
    """

    times: Float[np.ndarray, " times"]
    squares: Float[np.ndarray, " times"]
    coefficient: float
    error: float
    exponent: float

    @property
    def is_seen(self) -> bool:
        """Whether the coefficient is above twice its standard error."""
        return self.coefficient > 2 * self.error


def diffusion(path: Path) -> dict[str, Diffusion]:
    """Return mean square displacements for each element that has atoms that are free to move.

    They are relative to the centre of mass in those directions in which nothing is fixed: where
    something is, it is the place that others move about. Positions must not have been put back into
    the cell, as those of ``md`` are not.

    Raises
    ------
    ValueError
        Where they have been, so that atoms jump by a lattice vector.
    """
    positions, masses = path.of_atoms(path.frames.positions), path.masses
    _check_unwrapped(path, positions)
    fixed, elements = path.frames[0].fixed, np.array(path.elements)
    centre = np.einsum("fax,a->fx", positions, masses) / masses.sum()
    away = positions - np.where(fixed.any(axis=0), 0.0, centre)[:, None]
    n, free = len(away), 3 - fixed.sum(axis=1)
    times = path.interval * np.arange(n)
    coefficients = {}
    for element in sorted(set(elements[free > 0])):
        mine = (elements == element) & (free > 0)
        squares = _squares(away[:, mine])
        some, n_atoms = slice(max(1, n // 10), max(3, n // 2 + 1)), squares.shape[1]
        slopes = np.polyfit(times[some], squares[some], 1)[0] if n > 3 else np.full(n_atoms, np.nan)
        each = slopes / (2 * free[mine]) * CM2_PER_S
        error = each.std(ddof=1) / np.sqrt(n_atoms) if n_atoms > 1 else np.nan
        means = squares.mean(axis=1)
        power = np.nan
        if n > 3 and (means[some] > 1e-12).all():
            power = np.polyfit(np.log(times[some]), np.log(means[some]), 1)[0]
        coefficients[element] = Diffusion(
            times, means, float(each.mean()), float(error), float(power)
        )
    return coefficients


def _check_unwrapped(path: Path, positions: Float[np.ndarray, "frames atoms 3"]) -> None:
    """Refuse jumps that are nearly a lattice vector along which the structure is periodic."""
    frames = path.frames
    for i, (cell, pbc) in enumerate(zip(frames.cells[1:], frames.pbc[1:])):
        lattice = cell[pbc]
        if not len(lattice):
            continue
        jumps = positions[i + 1] - positions[i]
        left = jumps - np.round(jumps @ np.linalg.pinv(lattice)) @ lattice
        wrapped = np.linalg.norm(left, axis=1) < np.linalg.norm(jumps, axis=1) / 3
        if wrapped.any():
            raise ValueError(
                f"atom {int(wrapped.argmax())} jumps by a lattice vector from frame {i} to the "
                "next: expected positions that have not been put back into the cell"
            )


def _squares(
    positions: Float[np.ndarray, "frames atoms 3"],
) -> Float[np.ndarray, "frames atoms"]:
    """Return square displacements, averaged over all beginnings, by Fourier transforms.

    The algorithm of Calandrini et al., Collection SFN 12, 201 (2011), section 4.2.
    """
    n = len(positions)
    squares = (positions**2).sum(axis=2)
    overlap = _correlation(positions).sum(axis=2)
    both = 2 * squares.sum(axis=0)
    sums = np.zeros(squares.shape)
    for step in range(n):
        if step:
            both = both - squares[step - 1] - squares[n - step]
        sums[step] = (both - 2 * overlap[step]) / (n - step)
    return sums


def _correlation(values: np.ndarray) -> np.ndarray:
    """Return the sums of products of values that are 0, 1, ... frames apart."""
    n = len(values)
    spectrum = np.fft.rfft(values, 2 * n, axis=0)
    correlation: np.ndarray = np.fft.irfft(spectrum * spectrum.conj(), 2 * n, axis=0)[:n]
    return correlation


@dataclass(frozen=True, eq=False)
class Vibrations:
    """Vibrational density of states.

    Attributes
    ----------
    frequencies
        In THz.
    density
        Per THz; its integral is 1.
    """

    frequencies: Float[np.ndarray, " frequencies"]
    density: Float[np.ndarray, " frequencies"]

    @property
    def wavenumbers(self) -> Float[np.ndarray, " frequencies"]:
        """Frequencies in cm⁻¹."""
        return self.frequencies * PER_CM


def vibrations(path: Path, longest: float = 1000.0) -> Vibrations:
    """Return the spectrum of the mass-weighted autocorrelation of velocities.

    Parameters
    ----------
    longest
        Time up to which velocities are correlated, in fs, which decides how fine the spectrum is.
        It is cut off smoothly (Hann).

    Raises
    ------
    ValueError
        For frames without velocities.
    """
    if not 0 < longest < np.inf:
        raise ValueError(f"expected a longest time above 0 fs, got {longest}")
    velocities = path.of_atoms(VELOCITIES.of(path.frames))
    if not np.isfinite(velocities).all():
        raise ValueError("expected frames of molecular dynamics, that have 'velocities'")
    n = len(velocities)
    weighted = velocities * np.sqrt(path.masses)[:, None]
    lags = min(n, max(3, int(longest / path.interval) + 1))
    correlation = _correlation(weighted).sum(axis=(1, 2))[:lags] / (n - np.arange(lags))
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(lags) / lags)
    damped = correlation * window
    even = np.concatenate([damped, [0.0], damped[:0:-1]])
    density = np.maximum(np.fft.rfft(even).real, 0.0)
    frequencies = np.fft.rfftfreq(len(even), path.interval) * 1000
    return Vibrations(frequencies, density / np.trapezoid(density, frequencies))
