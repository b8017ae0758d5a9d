"""The structures that the members of a committee disagree about most."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aiida_mlal.ml import parts
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, largest


@dataclass(frozen=True)
class QueryByCommittee(Strategy):
    """Choose the structures of largest disagreement, as the committee sees them now.

    Attributes
    ----------
    uncertainty
        How members disagree: ``force_std``, ``force_var`` or ``energy_std``.
    """

    uncertainty: Literal["force_std", "force_var", "energy_std"] = "force_std"

    def _choose(self, query: Query, n: int) -> list[Choice]:
        if query.potential is None:
            raise ValueError("the strategy 'qbc' needs a potential, and none was given")
        measure = parts.make("uncertainties", {"name": self.uncertainty})
        values = np.full(len(query.pool), np.nan)
        found = measure.measure(query.potential, query.pool[query.order])
        values[query.order] = found.values
        return largest(query, values, n, self.uncertainty)
