"""What a potential describes the surroundings of atoms by."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiida_mlal.ml.features.base import FeatureMap

if TYPE_CHECKING:
    from torch import Tensor

    from aiida_mlal.ml.graph import Graph
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class Descriptor(FeatureMap):
    """Descriptors of the atoms, such as symmetry functions, before any network.

    Attributes
    ----------
    by_element
        Whether atoms of each element have columns of their own.
    """

    by_element: bool = True

    def check_model(self, model: "ModelOptions") -> None:
        """Want descriptors of atoms."""
        from aiida_mlal.ml.models.capabilities import HasDescriptors  # torch is slow to import

        model.require(HasDescriptors)

    def sums(self, potential: "Potential", graph: "Graph") -> "Tensor":
        """Return the row of each structure; ``ValueError`` if there are no descriptors."""
        import torch

        from aiida_mlal.ml.models.capabilities import HasDescriptors, require

        with torch.inference_mode():
            features = require(potential, HasDescriptors).features(graph)
            if self.by_element:
                kinds = torch.nn.functional.one_hot(
                    potential.species(graph.numbers), len(potential.elements)
                )
                features = (kinds[:, :, None] * features[:, None, :]).flatten(1)
            return graph.sum_over_atoms(features)
