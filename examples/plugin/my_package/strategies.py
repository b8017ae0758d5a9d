"""A query strategy."""

from dataclasses import dataclass

import numpy as np

from aiida_mlal.ml.selection.base import Choice, Query, Strategy, largest


@dataclass(frozen=True)
class LargestForce(Strategy):
    """Choose structures whose predicted forces are largest."""

    def _choose(self, query: Query, n: int) -> list[Choice]:
        if query.potential is None:
            raise ValueError("it needs a potential, and none was given")
        forces = np.linalg.norm(query.potential.predict(query.candidates).forces, axis=1)
        values = np.full(len(query.pool), np.nan)
        values[query.left] = np.maximum.reduceat(forces, query.candidates.offsets[:-1])
        return largest(query, values, n, "predicted force (eV/Å)")
