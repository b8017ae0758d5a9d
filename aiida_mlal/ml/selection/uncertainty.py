"""The structures that the potential knows least about."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.frames import UNCERTAINTY
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, most_uncertain


@dataclass(frozen=True)
class MostUncertain(Strategy):
    """Choose the structures of largest uncertainty; of equal ones the earlier."""

    wants_uncertainty: ClassVar[bool] = True
    score: ClassVar[str] = UNCERTAINTY.name

    def _choose(self, query: Query, n: int) -> list[Choice]:
        return most_uncertain(query, n)
