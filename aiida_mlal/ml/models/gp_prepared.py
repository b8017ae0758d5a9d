"""Fixed structures for the training of Gaussian processes, described by the kernels in numba."""

from typing import TYPE_CHECKING

import torch

from aiida_mlal.ml.fast.derivatives import derivatives
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.backends import Backend
from aiida_mlal.ml.models.descriptor import Described, without_images
from aiida_mlal.ml.models.prepared import Prepared

if TYPE_CHECKING:
    from aiida_mlal.ml.models.gp import GP


class GPBackend(Backend):
    """Kernels for the symmetry functions and their derivatives; predictions are by torch."""

    potential: "GP"

    def prepare(self, graph: Graph) -> Prepared:
        """Compute the features and their derivatives."""
        functions = self.potential.functions
        if functions is None:
            return super().prepare(graph)
        species = self.potential.species(graph.numbers)
        joined, index = without_images(graph)
        centre, neighbour = graph.pairs.numpy()
        arrays = derivatives(
            *functions,
            species.numpy(),
            centre,
            neighbour,
            graph.vectors.detach().numpy(),
            index.numpy(),
            len(joined.shifts),
        )
        return Described(
            joined, species, *(torch.from_numpy(part).to(graph.vectors) for part in arrays)
        )
