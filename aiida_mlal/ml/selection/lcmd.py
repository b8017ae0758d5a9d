"""Largest-cluster maximum-distance selection."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.by_features import ByFeatures


@dataclass(frozen=True)
class LCMD(ByFeatures):
    """Choose far-away structures, but only where the pool is crowded.

    Every structure of the pool belongs to its nearest centre, and a cluster weighs as much as the
    squared distances of its members together. Each step takes the farthest member of the
    heaviest cluster and makes it a new centre. The labelled structures are the first centres;
    without them it begins with the longest row.

    D. Holzmüller et al., J. Mach. Learn. Res. 24, 164 (2023), there called LCMD-TP.
    """

    wanted: ClassVar[str] = "squared distance"

    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return the rows that are farthest in their clusters."""
        from aiida_mlal.ml.fast.centres import (  # numba is slow to import
            Clusters,
            farthest_of_heaviest,
            grow,
        )

        def rule(now: Clusters) -> int:
            return int(farthest_of_heaviest(now.distances, now.centres, now.free, now.n_centres))

        return grow(pool, train, n, rule)
