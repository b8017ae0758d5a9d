"""All analyses of a trajectory, as JSON values."""

from dataclasses import dataclass
from typing import Any

from aiida_mlal.ml.analysis.motion import Path, diffusion, paths, vibrations
from aiida_mlal.ml.analysis.rdf import radial_distribution
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import RUN, TEMPERATURE
from aiida_mlal.ml.simulation.recorder import known


@dataclass(frozen=True)
class Analysis:
    """What is known of a run: curves, and the numbers that sum them up."""

    curves: dict[str, Any]
    numbers: dict[str, Any]


def analyse(
    trajectory: Configurations,
    cutoff: float = 6.0,
    n_bins: int = 200,
    skip: float = 0.0,
    longest: float = 1000.0,
) -> list[Analysis]:
    """Analyse each run of a trajectory of molecular dynamics.

    Parameters
    ----------
    cutoff, n_bins
        Of radial distributions, which structures have that are periodic in all directions.
    skip
        Time at the beginning of each run that is left out, in fs.
    longest
        Up to which time velocities are correlated, in fs.
    """
    return [_of(path, cutoff, n_bins, longest) for path in paths(trajectory, skip)]


def _of(path: Path, cutoff: float, n_bins: int, longest: float) -> Analysis:
    frames = path.frames
    moving, states = diffusion(path), vibrations(path, longest)
    curves: dict[str, Any] = {
        "run": int(RUN.of(frames)[0]),
        "mean_square_displacement": {
            element: {"times_fs": one.times, "squares_A2": one.squares}
            for element, one in moving.items()
        },
        "vibrations": {"frequencies_THz": states.frequencies, "density_per_THz": states.density},
    }
    numbers: dict[str, Any] = {
        "run": curves["run"],
        "frames": len(frames),
        "interval_fs": path.interval,
        "temperature_K": float(TEMPERATURE.of(frames).mean()),
        "diffusion_cm2_per_s": {element: known(one.coefficient) for element, one in moving.items()},
        "diffusion_error_cm2_per_s": {element: known(one.error) for element, one in moving.items()},
        "diffusion_exponent": {element: known(one.exponent) for element, one in moving.items()},
    }
    warnings = [_unseen(path, element) for element, one in moving.items() if not one.is_seen]
    if path.left_out >= path.interval:
        warnings.append(
            f"the last {path.left_out:g} fs are left out: they begin with frames that are further "
            f"apart than {path.interval:g} fs, or with a gap"
        )
    if warnings:
        numbers["warnings"] = warnings
    if frames.pbc.all():
        rdf = radial_distribution(frames, cutoff, n_bins)
        curves["radial_distribution"] = {
            "-".join(pair): {
                "distances_A": one.distances, "g": one.g, "coordination": one.coordination,
            }
            for pair, one in rdf.items()
        }  # fmt: skip
        numbers["highest_peak_A"] = {
            "-".join(pair): float(one.distances[one.g.argmax()]) if one.g.any() else None
            for pair, one in rdf.items()
        }
    return Analysis(curves, numbers)


def _unseen(path: Path, element: str) -> str:
    time = path.interval * (len(path.frames) - 1) / 1000
    return (
        f"no diffusion of {element} is seen in {time:g} ps: its coefficient is not above twice its "
        "standard error; a longer run may tell"
    )
