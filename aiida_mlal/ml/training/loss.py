"""What is minimised: weighted squares of the errors of energies, forces and stresses."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Prediction
from aiida_mlal.ml.training.options import LossOptions


@dataclass(frozen=True, eq=False)
class Loss:
    r"""The loss of a set of structures, whose missing labels (NaN) count nothing.

    .. math::

        L = \frac{1}{2} \sum_s \left[ w_E \left(\frac{\Delta E_s}{N_s}\right)^2
            + \frac{w_F}{3 N_s} \sum_{i \in s} |\Delta F_i|^2
            + w_S \|\Delta \sigma_s V_s / N_s\|^2 \right]

    A. Khorshidi and A. A. Peterson, Comput. Phys. Commun. 207, 310 (2016), equation 26, with a
    term for the stress. It is half the square of ``residuals``.
    """

    known: Prediction
    weights: Prediction
    targets: Float[Tensor, " residuals"]

    @classmethod
    def of(cls, options: LossOptions, graph: Graph, targets: Prediction) -> "Loss":
        """Return the loss of the structures of a graph."""
        counts = graph.counts.to(targets.energies.dtype)
        weights = Prediction(
            options.energy**0.5 / counts,
            (options.force / 3 / counts[graph.owner, None]).sqrt().expand(-1, 3),
            (options.stress**0.5 * graph.volumes / counts)[:, None, None].expand(-1, 3, 3),
        )
        known = Prediction(
            targets.energies.isfinite() & bool(options.energy),
            targets.forces.isfinite() & bool(options.force),
            targets.stresses.isfinite() & weights.stresses.isfinite() & bool(options.stress),
        )
        unshifted = cls(known, weights, targets.energies.new_zeros(()))
        return cls(known, weights, unshifted.residuals(targets))

    def residuals(self, prediction: Prediction) -> Float[Tensor, "*members residuals"]:
        """Return the weighted errors of all labels that are known."""
        return self.weighted(prediction) - self.targets

    def weighted(self, prediction: Prediction) -> Float[Tensor, "*members residuals"]:
        """Return the predictions of all labels that are known, with their weights."""
        return torch.cat(
            [
                getattr(prediction, name)[..., getattr(self.known, name)]
                * getattr(self.weights, name)[getattr(self.known, name)]
                for name in ("energies", "forces", "stresses")
            ],
            dim=-1,
        )

    def __call__(self, prediction: Prediction) -> Float[Tensor, ""]:
        """Return the loss of a prediction."""
        return self.residuals(prediction).square().sum() / 2
