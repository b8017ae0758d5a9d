"""The end of every run, and others at random."""

from dataclasses import dataclass
from typing import ClassVar

from aiida_mlal.ml.selection.base import Choice, Query, Strategy, at_random, final


@dataclass(frozen=True)
class Final(Strategy):
    """Choose the last frame of each run, then others at random.

    What the last frames teach is where the runs should have ended, and their labels say whether
    they did: the "quasi-random" query of Shuaibi et al., Mach. Learn.: Sci. Technol. 2, 025007
    (2021).
    """

    wants_final: ClassVar[bool] = True
    wants_potential: ClassVar[bool] = False

    def _choose(self, query: Query, n: int) -> list[Choice]:
        last = final(query, n)
        return [*last, *at_random(query, n - len(last), [choice.index for choice in last])]
