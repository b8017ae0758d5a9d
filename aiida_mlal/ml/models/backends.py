"""What computes many structures at once: torch, or kernels where a model has them for a device.

A model names its backends in ``Potential.backends`` and knows nothing else of devices and engines.
"""

import warnings
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.capabilities import HasLastLayer, require
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential


class Backend:
    """Torch, which computes a potential by its definition on any device.

    Kernels derive from it, and override what they compute.

    Attributes
    ----------
    name
        Of what makes predictions, as results call it.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, potential: Any) -> None:
        self.potential = potential

    @classmethod
    def suits(cls, potential: Any) -> bool:
        """Tell if it computes a potential of these options, in this precision."""
        return True

    def interaction(self, graph: Graph) -> Prediction:
        """Predict without reference energies; no derivatives by the weights are wanted."""
        prediction: Prediction = self.potential.interaction(graph)
        return prediction

    def prepare(self, graph: Graph) -> Prepared:
        """Compute, once, what the predictions for fixed structures need and no weight changes."""
        prepared: Prepared = self.potential.prepare_in_torch(graph)
        return prepared

    def last_layer_tangents(
        self, graph: Graph, along: Float[Tensor, "directions edges 3"]
    ) -> Float[Tensor, "directions atoms weights"]:
        """Differentiate ``last_layer`` along displacements (Å) of the edges: forward mode."""
        network = require(self.potential, HasLastLayer)

        def tangent(direction: Tensor) -> Tensor:
            by_direction: Tensor = torch.func.jvp(
                lambda vectors: network.last_layer(replace(graph, vectors=vectors)),
                (graph.vectors,),
                (direction,),
            )[1]
            return by_direction

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch warns of what it does
            tangents: Tensor = torch.func.vmap(tangent)(along)
        return tangents


def backend(potential: "Potential") -> Backend:
    """Choose what computes a potential where its weights are: kernels, if it has such, or torch."""
    name = potential.backends.get(potential.device.type)
    kernels = Backend if name is None else _load(name)
    return kernels(potential) if kernels.suits(potential) else Backend(potential)


@cache
def _load(name: str) -> type[Backend]:
    loaded: type[Backend] = EntryPoint("backend", name, "").load()
    return loaded
