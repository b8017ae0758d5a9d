"""Calcfunctions of online campaigns: beginnings and ends of runs that continue."""

from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Bool, Data, Dict, Str

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import LEARNED
from aiida_mlal.ml.simulation.stopped import stopped
from aiida_mlal.workflows.simulation.base import plan_of


@calcfunction
def begin_runs(
    structures: DatasetData, simulating: Str, simulation: Dict, learned: Bool
) -> dict[str, Data]:
    """Split structures into the initial structures of each run: ``run_000`` and so on.

    There is ``keep_state`` too, since each will have to go on.

    Parameters
    ----------
    learned
        Whether all of them are labelled and learned before the runs begin.
    """
    plan = plan_of(simulating.value, simulation.get_dict())
    groups = plan.groups(structures.configurations)
    begun = (group.with_columns({LEARNED: learned.value}) for group in groups)
    initial = {f"run_{i:03d}": DatasetData(group) for i, group in enumerate(begun)}
    return {**initial, "keep_state": Bool(True)}


@calcfunction
def gather_runs(**runs: Any) -> dict[str, Data]:
    """Join the last frames of all runs in one trajectory, and their results.

    Parameters
    ----------
    runs
        ``trajectory`` and ``results`` of each.
    """
    frames, ends = [], []
    for number, name in enumerate(sorted(runs)):
        (run,) = runs[name]["results"]["runs"]
        frames.append(stopped(runs[name]["trajectory"].configurations, run, number))
        ends.append(run)
    return {
        "trajectory": DatasetData(Configurations.concatenate(frames)),
        "results": Dict({"runs": ends}),
    }
