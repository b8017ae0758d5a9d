"""What is said of simulations that nothing kept from where their potential extrapolates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aiida_mlal.ml.configurations import Configurations

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty


def remarks(
    potential: "Potential",
    measure: "Uncertainty | None",
    ends: Configurations,
    uncertainties: Sequence[float | None],
    where: str,
) -> list[str]:
    """Say in which runs predictions cannot be relied upon.

    Parameters
    ----------
    measure
        What was measured; None if nothing was.
    ends
        The last structures of all runs, whose surroundings are compared with those learned.
    uncertainties
        What counts of each run, such as the largest value.
    where
        Where in a run that was: ``in`` or ``at the end of``.
    """
    from aiida_mlal.ml.uncertainty.doubts import doubts

    said = []
    values = np.array([np.nan if value is None else value for value in uncertainties])
    if measure is not None and (bad := values >= measure.unreliable).any():
        worst = int(np.nanargmax(values))
        unit = "" if measure.unit == "1" else f" {measure.unit}"
        said.append(
            f"the uncertainty {measure.kind!r} is {values[worst]:.3g}{unit} {where} run {worst}, "
            f"and {measure.unreliable:g} or more {where} {int(bad.sum())} of {len(values)}: "
            "predictions there cannot be relied upon, and nothing ended a run ('break' of the "
            "guard does)"
        )
    if len(ends) and (doubt := doubts(potential, ends)):
        said.append(f"at the end of runs: {doubt}")
    return said
