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
    term for the stress.
    """

    options: LossOptions
    counts: Float[Tensor, " structures"]
    owner: Tensor
    volumes: Float[Tensor, " structures"]
    targets: Prediction

    @classmethod
    def of(cls, options: LossOptions, graph: Graph, targets: Prediction) -> "Loss":
        """Return the loss of the structures of a graph."""
        counts = torch.bincount(graph.owner, minlength=len(graph.volumes)).to(graph.vectors.dtype)
        return cls(options, counts, graph.owner, graph.volumes, targets)

    def __call__(self, prediction: Prediction) -> Float[Tensor, ""]:
        """Return the loss of a prediction."""
        energy = (prediction.energies - self.targets.energies) / self.counts
        loss = self.options.energy * _squares(energy, self.targets.energies)
        if self.options.force:
            error = (prediction.forces - self.targets.forces) / self.counts[self.owner, None].sqrt()
            loss = loss + self.options.force / 3 * _squares(error, self.targets.forces)
        if self.options.stress:
            share = (self.volumes / self.counts)[:, None, None]
            error = (prediction.stresses - self.targets.stresses) * share
            loss = loss + self.options.stress * _squares(error, self.targets.stresses * share)
        return loss / 2


def _squares(errors: Tensor, targets: Tensor) -> Tensor:
    known = targets.isfinite()
    return torch.where(known, errors, 0.0).square().sum()
