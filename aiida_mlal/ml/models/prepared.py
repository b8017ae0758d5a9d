"""Fixed structures, for which predictions are made again and again while weights change."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import Prediction


class Prepared:
    """Fixed structures for which a potential predicts again and again while it is trained."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def predict(self, potential: Any) -> Prediction:
        """Predict with the weights that ``potential`` has now, without reference energies."""
        prediction: Prediction = potential.evaluate(self.graph)
        return prediction

    def energies(self, potential: Any) -> Float[Tensor, " structures"]:
        """Predict energies (eV) alone, which costs less than with forces."""
        return self.graph.sum_over_atoms(potential.atomic_energies(self.graph))

    def derivatives(
        self, potential: Any, weights: Sequence[nn.Parameter] | None = None
    ) -> Prediction:
        """Differentiate the prediction by each weight, along a leading axis: its Jacobian.

        Weights stand in the order of ``potential.parameters()``, those that are fixed left out,
        or they are only the ``weights`` that are given.
        """
        if weights is None:
            weights = [w for w in potential.parameters() if w.requires_grad]
        with torch.enable_grad():
            prediction = self.predict(potential)
        return Prediction(
            jacobian(prediction.energies, weights),
            jacobian(prediction.forces, weights),
            jacobian(prediction.stresses, weights),
        )

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "Prepared":
        """Select structures, which may repeat."""
        return Prepared(self.graph.take(structures))


def jacobian(values: Tensor, weights: Sequence[nn.Parameter]) -> Tensor:
    """Differentiate ``values`` by each weight, along a new leading axis."""
    unit = torch.eye(values.numel(), dtype=values.dtype, device=values.device)
    rows = torch.autograd.grad(
        values,
        weights,
        unit.reshape(-1, *values.shape),
        is_grads_batched=True,
        retain_graph=True,
        materialize_grads=True,
    )
    n = values.numel()  # rows of weights that do not matter come as a bare zero
    full = [row.expand(n, *weight.shape).reshape(n, -1) for row, weight in zip(rows, weights)]
    return torch.cat(full, dim=1).T.reshape(-1, *values.shape)
