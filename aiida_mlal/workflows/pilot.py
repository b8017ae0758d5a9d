"""Simulations by a model that needs no labels, which go ahead of the first ones.

A relaxation by a foundation model costs no label, and ends nearer to the minimum of the labels than
it began.
"""

from collections.abc import Mapping
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, Str

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml import stops
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.options import within
from aiida_mlal.ml.simulation.base import INTERRUPTED, Image, Plan
from aiida_mlal.ml.simulation.guard import UNPHYSICAL
from aiida_mlal.workflows.simulation.base import plan_of

WATCHED = "uncertainty", "select", "break", "break_share", "trust"
"""Options of a guard that are about a potential which has learned, and knows how sure it is."""


@calcfunction
def unwatched(simulation: Dict) -> Dict:
    """Return the simulation without limits that are about potentials that learn."""
    options = simulation.get_dict()
    guard = {key: one for key, one in options.get("guard", {}).items() if key not in WATCHED}
    return Dict({**options, "guard": guard})


@calcfunction
def after_pilot(
    simulating: Str,
    simulation: Dict,
    structures: DatasetData,
    trajectory: DatasetData,
    results: Dict,
) -> DatasetData:
    """Return the structures, those that were relaxed as they were at last.

    What ended in something unphysical stays as it was given.
    """
    begun, runs = structures.configurations, results.get_dict()["runs"]
    state = stops.State(
        0, 0, trajectory.configurations, Configurations.empty(), Configurations.empty(), runs
    )
    good = {
        Image(end.run, end.image): end.predicted
        for end in state.ends
        if runs[end.run]["reason"] not in (UNPHYSICAL, INTERRUPTED)
    }
    images = plan_of(simulating.value, simulation.get_dict()).minimised(begun)
    ends = [good.get(image, begun[i]) if image else begun[i] for i, image in enumerate(images)]
    return DatasetData(Configurations.concatenate([end.bare for end in ends]))


def check_pilot(model: Mapping[str, Any], simulation: Plan, start: Configurations) -> None:
    """Raise ``ValueError`` for a model that has to learn first, and where nothing is relaxed."""
    from aiida_mlal.ml.models.factory import ModelOptions

    with within("pilot"):
        options = ModelOptions.parse(model)
        options.check(start.elements)
        if options.learners:
            raise ValueError(
                "expected a model that has nothing to learn, such as 'sevennet', got "
                f"{options.learners[0]!r}"
            )
        if not any(simulation.minimised(start)):
            raise ValueError(
                "it relaxes the structures that are given, and this simulation relaxes none"
            )
