"""The structures that a network sees as unlike those that are labelled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiida_mlal.ml.selection.feature_distance import FeatureDistance


@dataclass(frozen=True)
class LatentDistance(FeatureDistance):
    """Choose the structures farthest from what is labelled in the last hidden layer.

    The latent distance of J. P. Janet et al., Chem. Sci. 10, 7913 (2019).
    """

    features: Mapping[str, Any] = field(
        default_factory=lambda: {"name": "last_layer", "per_atom": True}
    )
