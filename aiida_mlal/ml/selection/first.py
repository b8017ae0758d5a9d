"""The first structures of a pool."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.selection.base import Choice, Query, Strategy


@dataclass(frozen=True)
class First(Strategy):
    """Choose the first structures in the order of the pool, such as the first end of a path."""

    wants_potential: ClassVar[bool] = False

    def _choose(self, query: Query, n: int) -> list[Choice]:
        return [
            Choice(int(i), float(query.scores[i]), f"number {place} of the pool")
            for place, i in enumerate(query.left[:n], start=1)
        ]
