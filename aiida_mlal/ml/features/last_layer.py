"""What enters the last layer of a network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiida_mlal.ml.features.base import FeatureMap

if TYPE_CHECKING:
    from torch import Tensor

    from aiida_mlal.ml.graph import Graph
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class LastLayer(FeatureMap):
    """Derivatives of the energy by the weights of the last layer: its latent space."""

    def check_model(self, model: "ModelOptions") -> None:
        """Want a network."""
        from aiida_mlal.ml.models.capabilities import HasLastLayer  # torch is slow to import

        model.require(HasLastLayer)

    def sums(self, potential: "Potential", graph: "Graph") -> "Tensor":
        """Return the row of each structure; ``ValueError`` if there is no last layer."""
        import torch

        from aiida_mlal.ml.models.capabilities import HasLastLayer, require

        with torch.inference_mode():
            return graph.sum_over_atoms(require(potential, HasLastLayer).last_layer(graph))
