"""The learning curve of a campaign, a row an iteration."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_mlal.ml.frames import UNCERTAINTY
from aiida_mlal.ml.stops.state import State, interrupted, prediction_errors


def row(state: State) -> dict[str, Any]:
    """Return the line of the learning curve for an iteration, as JSON values.

    Returns
    -------
    dict
        ``iteration``; ``labels`` paid so far; ``learnable`` of them; ``statuses`` of the new ones,
        counted; ``errors`` of what the potential predicted for the new ones (see
        ``ml.metrics.errors``); mean and largest ``uncertainty`` of all frames simulated;
        ``converged`` runs and those ``interrupted`` by their guard, of how many ``runs``;
        ``steps_min`` and ``steps_mean``, how many steps the shortest run had, and they on average;
        ``oracle_fmax``, the largest labelled force (eV/Å) at the end of a run;
        ``oracle_smax_GPa``, the largest component of the labelled stress that moves a cell there.
        What is not known is ``None``, as is the latter where no cell moves.
    """
    uncertainty = UNCERTAINTY.of(state.trajectory)
    uncertainty = uncertainty[np.isfinite(uncertainty)]
    good = state.new.learnable
    fmax = [final.fmax for final in state.finals]
    smax = [final.smax_GPa for final in state.finals if final.cell]
    n_steps = [run["steps"] for run in state.runs if "steps" in run]
    return {
        "iteration": state.iteration,
        "labels": state.n_labels,
        "learnable": state.n_learnable,
        "statuses": dict(sorted(Counter(state.new.status.tolist()).items())),
        "errors": prediction_errors(good, good),
        "uncertainty_mean": float(uncertainty.mean()) if len(uncertainty) else None,
        "uncertainty_max": float(uncertainty.max()) if len(uncertainty) else None,
        "runs": len(state.runs),
        "converged": sum(bool(run.get("converged")) for run in state.runs),
        "interrupted": sum(interrupted(run) for run in state.runs),
        "steps_min": min(n_steps) if n_steps else None,
        "steps_mean": float(np.mean(n_steps)) if n_steps else None,
        "oracle_fmax": _worst(fmax),
        "oracle_smax_GPa": _worst(smax),
    }


def _worst(values: Sequence[float]) -> float | None:
    return float(max(values)) if len(values) and np.isfinite(values).all() else None
