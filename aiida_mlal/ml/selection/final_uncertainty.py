"""The end of every run, and the structures that the potential knows least about."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.selection.base import Choice, Query, Strategy, final, most_uncertain


@dataclass(frozen=True)
class FinalUncertainty(Strategy):
    """Choose the last frame of each run, then the structures of largest uncertainty."""

    wants_final: ClassVar[bool] = True
    wants_uncertainty: ClassVar[bool] = True

    def _choose(self, query: Query, n: int) -> list[Choice]:
        last = final(query, n)
        return [*last, *most_uncertain(query, n - len(last), [choice.index for choice in last])]
