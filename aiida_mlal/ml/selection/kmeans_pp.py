"""Structures drawn like the first centres of k-means++."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.by_features import ByFeatures


@dataclass(frozen=True)
class KMeansPP(ByFeatures):
    """Draw structures with a probability that grows with the distance from all others.

    It is the squared distance from the nearest structure that is labelled or chosen, as in the
    start of k-means++: D. Arthur and S. Vassilvitskii, SODA 2007. Without labelled structures the
    first one is drawn by the length of its row.
    """

    wanted: ClassVar[str] = "squared distance"

    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return rows that are drawn one after the other."""
        from aiida_mlal.ml.fast.centres import Clusters, grow  # numba is slow to import

        def draw(now: Clusters) -> int:
            weights = np.where(now.free, now.distances.astype(float), 0.0)
            if not weights.any():  # all that is left is known
                weights = now.free.astype(float)
            sums = weights.cumsum()
            drawn = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
            return min(drawn, int(np.flatnonzero(weights)[-1]))

        return grow(pool, train, n, draw)
