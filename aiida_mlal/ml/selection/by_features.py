"""What all strategies have in common that look at features of structures."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml import plugins
from aiida_mlal.ml.features.base import FeatureMap
from aiida_mlal.ml.selection.base import Choice, Query, Strategy, by_content
from aiida_mlal.ml.selection.transforms import posterior, scaled

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class ByFeatures(Strategy):
    r"""Chooses by rows of features: those of candidates, and of what is labelled already.

    Attributes
    ----------
    features
        Name and options of the feature map: ``gradient``, ``last_layer`` or ``descriptor``.
    sigma
        Noise of a Gaussian process that has learned the labelled structures, in units of the
        length of their features: features are then such that products are its covariances. With
        null they are only moved and scaled.
    """

    features: Mapping[str, Any] = field(default_factory=lambda: {"name": "gradient"})
    sigma: float | None = None

    wanted: ClassVar[str]
    """What the score of a choice is, in words."""

    def __post_init__(self) -> None:
        """Let the feature map judge its options, and refuse a noise of nothing."""
        super().__post_init__()
        plugins.make("features", self.features, "features")
        if self.sigma is not None and not self.sigma > 0:
            raise ValueError(f"expected sigma above 0 or null, got {self.sigma}")

    def check_model(self, model: "ModelOptions") -> None:
        """Let the feature map judge the model."""
        plugins.make("features", self.features, "features").check_model(model)

    def _choose(self, query: Query, n: int) -> list[Choice]:
        pool, train = self.rows(query)
        indices, scores = self.pick(pool, train, n, query.rng())
        return [
            Choice(int(query.order[i]), float(score), f"{self.wanted} {score:.4g}, choice {rank}")
            for rank, (i, score) in enumerate(zip(indices, scores), start=1)
        ]

    def rows(
        self, query: Query
    ) -> tuple[Float[np.ndarray, "left features"], Float[np.ndarray, "train features"]]:
        """Return the features of candidates in ``query.order``, and of the training set.

        They are in single precision, and computed in parts: no more than they is in memory.
        """
        if query.potential is None:
            name = plugins.name_of("strategies", type(self))
            raise ValueError(f"the strategy {name!r} needs a potential, and none was given")
        maker: FeatureMap = plugins.make("features", self.features, "features")
        labelled = query.train[by_content(query.train.keys)]
        train = maker.matrix(query.potential, labelled)
        transform = scaled(train) if self.sigma is None else posterior(train, self.sigma)
        pool = np.zeros((0, 0), np.float32)
        for part, some in query.parts(maker.batch):
            rows = transform(maker.matrix(query.potential, some))
            if not part.start:
                pool = np.empty((len(query.order), rows.shape[1]), np.float32)
            pool[part] = rows
        if not len(train):  # there is no other scale
            length = float(np.sqrt(np.einsum("ij,ij->i", pool, pool).mean()))
            pool /= length or 1.0
            return pool, np.zeros((0, pool.shape[1]), np.float32)
        return pool, transform(train)

    @abstractmethod
    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return ``n`` rows of the pool, most wanted first, and the score of each."""
