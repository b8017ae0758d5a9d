"""Random choice."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.selection.base import Choice, Query, Strategy, at_random


@dataclass(frozen=True)
class Random(Strategy):
    """Choose at random, every structure with the same probability."""

    wants_potential: ClassVar[bool] = False

    def _choose(self, query: Query, n: int) -> list[Choice]:
        return at_random(query, n)
