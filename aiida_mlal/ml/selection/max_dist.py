"""The structures farthest from all others."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.by_features import ByFeatures


@dataclass(frozen=True)
class MaxDist(ByFeatures):
    """Choose the structure farthest from all that are labelled or chosen, again and again.

    Farthest-point sampling; without labelled structures it begins with the longest row.
    """

    wanted: ClassVar[str] = "squared distance"

    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return the rows that are farthest from their nearest centre."""
        from aiida_mlal.ml.fast.centres import Clusters, grow  # numba is slow to import

        def farthest(now: Clusters) -> int:
            return int(np.where(now.free, now.distances, -1.0).argmax())

        return grow(pool, train, n, farthest)
