"""The end of every run, and what is least known if its label is as predicted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, final, largest

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class Believer(Strategy):
    """Choose the last frame of each run, then those that labels of the ones before don't tell of.

    Each further structure is that of the largest uncertainty if those chosen before had labels as
    they are predicted, the "kriging believer" of D. Ginsbourger, R. Le Riche and L. Carraro, in
    Computational Intelligence in Expensive Optimization Problems, Springer (2010), p. 131. It is
    for labels that are computed at once.

    Attributes
    ----------
    n
        Largest number to choose in an iteration.
    least
        Uncertainty, in the units of its measure (eV/Å for ``gp_std``), below which a further
        structure is not worth a label.
    """

    n: int = 2
    least: float = 0.01

    wants_final: ClassVar[bool] = True
    wants_uncertainty: ClassVar[bool] = True
    wants_n: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a limit that is none."""
        super().__post_init__()
        check_positive(self, "least")

    def check_model(self, model: "ModelOptions") -> None:
        """Want a single Gaussian process, whose uncertainty depends on no label's value."""
        from aiida_mlal.ml.models.capabilities import HasProcess, missing  # which needs torch

        if model.ensemble > 1:
            raise missing("ensemble", HasProcess)
        model.require(HasProcess)

    def _choose(self, query: Query, n: int) -> list[Choice]:
        chosen = final(query, n)
        if len(chosen) == n:
            return chosen
        if query.potential is None:
            raise ValueError("the strategy 'believer' needs a potential, and none was given")
        from aiida_mlal.ml.models.capabilities import HasProcess, require  # they need torch
        from aiida_mlal.ml.uncertainty.carried import measure_of, why_none

        require(query.potential, HasProcess).process()
        potential, believed = query.potential, [choice.index for choice in chosen]
        measure = measure_of(potential, query.candidates)
        if measure is None:
            raise ValueError(f"the strategy 'believer' goes by an uncertainty, and {why_none()}")
        while len(chosen) < n:
            if believed:
                potential = measure.believing(potential, query.pool[believed])
            taken = [choice.index for choice in chosen]
            free = np.setdiff1d(query.left, taken)
            values = np.full(len(query.pool), np.nan)
            values[free] = measure.measure(potential, query.pool[free]).values
            best = largest(query, values, 1, measure.kind, taken)[0]
            if not best.score >= self.least:
                break
            chosen.append(best)
            believed = [best.index]
        return chosen
