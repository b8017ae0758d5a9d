"""The structures whose descriptors are unlike those that are labelled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.by_features import ByFeatures


@dataclass(frozen=True)
class FeatureDistance(ByFeatures):
    """Choose the structures farthest from what is labelled, each as if it were the only choice.

    Without labelled structures the longest rows are chosen.

    Attributes
    ----------
    neighbours
        Over how many of the nearest labelled structures the distance is averaged; 10 in
        J. P. Janet et al., Chem. Sci. 10, 7913 (2019).
    """

    features: Mapping[str, Any] = field(
        default_factory=lambda: {"name": "descriptor", "per_atom": True}
    )
    neighbours: int = 1

    wanted: ClassVar[str] = "distance"

    def __post_init__(self) -> None:
        """Refuse to look at no neighbour."""
        super().__post_init__()
        if self.neighbours < 1:
            raise ValueError(f"expected neighbours above 0, got {self.neighbours}")

    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return the rows that are farthest from those of the training set."""
        if len(train):
            distances = mean_distances(pool, train, min(self.neighbours, len(train)))
        else:
            distances = np.linalg.norm(pool, axis=1)
        best = np.argsort(-distances, kind="stable")[:n]
        return best, distances[best]


def mean_distances(
    pool: Float[np.ndarray, "pool features"], train: Float[np.ndarray, "train features"], k: int
) -> Float[np.ndarray, " pool"]:
    """Return the mean distance of each row from the ``k`` nearest of the training set."""
    means, squares = np.zeros(len(pool)), np.einsum("ij,ij->i", train, train)
    rows = max(1, 2**22 // len(train))
    for start in range(0, len(pool), rows):
        some = pool[start : start + rows]
        near = np.argpartition(squares - 2 * some @ train.T, k - 1, axis=1)[:, :k]
        apart = np.stack([some - train[near[:, i]] for i in range(k)])
        means[start : start + rows] = np.linalg.norm(apart, axis=2).mean(axis=0)
    return means
