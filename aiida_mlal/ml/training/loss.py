"""What is minimised: weighted squares of the errors of energies, forces and stresses."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training.options import LossOptions

POWERS = {
    "per_atom": (2, 1, 3),
    "molecules": (0, 0, 1),
    "structures": (2, 1, 1),
    "vibrations": (1, 0, 1),
}
"""Of the number of atoms, that squared errors are divided by: those of energies and virials, those
of forces; and what the latter are divided by besides."""

KINDS = ("energies", "forces", "stresses")
"""In the order of the residuals."""


@dataclass(frozen=True, eq=False)
class Loss:
    r"""The loss of a set of structures, whose missing labels (NaN) count nothing.

    .. math::

        L = \frac{1}{2} \sum_s \left[ w_E \left(\frac{\Delta E_s}{N_s}\right)^2
            + \frac{w_F}{3 N_s} \sum_{i \in s} |\Delta F_i|^2
            + w_S \|\Delta \sigma_s V_s / N_s\|^2 \right]

    A. Khorshidi and A. A. Peterson, Comput. Phys. Commun. 207, 310 (2016), equation 26, with a
    term for the stress. It is half the square of ``residuals``. This is the scaling ``per_atom``;
    the others are half the equations 7 (``molecules``), 11 (``structures``) and 12
    (``vibrations``) of I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021):

    .. math::

        L = \frac{1}{2} \sum_s \left[ \frac{w_E}{N_s^p} \Delta E_s^2
            + \frac{w_F}{N_s^q} \sum_{i \in s} |\Delta F_i|^2
            + \frac{w_S}{N_s^p} \|\Delta \sigma_s V_s\|^2 \right]

    with :math:`(p, q)` of (0, 0), (2, 1) and (1, 0).
    """

    known: Prediction
    weights: Prediction
    targets: Float[Tensor, " residuals"]

    @classmethod
    def of(cls, options: LossOptions, graph: Graph, targets: Prediction) -> "Loss":
        """Return the loss of the structures of a graph."""
        counts = graph.counts.to(targets.energies.dtype)
        whole, force, components = POWERS[options.scaling]
        by_atom = (options.force / components / counts[graph.owner, None] ** force).sqrt()
        by_volume = (options.stress / counts**whole).sqrt() * graph.volumes
        weights = Prediction(
            (options.energy / counts**whole).sqrt(),
            by_atom.expand(-1, 3),
            by_volume[:, None, None].expand(-1, 3, 3),
        )
        known = Prediction(
            targets.energies.isfinite() & bool(options.energy),
            targets.forces.isfinite() & bool(options.force),
            targets.stresses.isfinite() & weights.stresses.isfinite() & bool(options.stress),
        )
        without = cls(known, weights, targets.energies.new_zeros(0))
        return cls(known, weights, without.weighted(targets))

    @property
    def only_energies(self) -> bool:
        """Whether neither forces nor stresses count."""
        return not bool(self.known.forces.any() or self.known.stresses.any())

    @property
    def kinds(self) -> dict[str, slice]:
        """The slices of the residuals that belong to energies, forces and stresses."""
        ends = np.cumsum([0, *(int(getattr(self.known, name).sum()) for name in KINDS)])
        return {name: slice(*pair) for name, pair in zip(KINDS, pairwise(ends.tolist()))}

    def residuals(self, prediction: Prediction) -> Float[Tensor, "*members residuals"]:
        """Return the weighted errors of all labels that are known."""
        return self.weighted(prediction) - self.targets

    def weighted(self, prediction: Prediction) -> Float[Tensor, "*members residuals"]:
        """Return the predictions of all labels that are known, with their weights."""
        return torch.cat(
            [
                getattr(prediction, name)[..., getattr(self.known, name)]
                * getattr(self.weights, name)[getattr(self.known, name)]
                for name in KINDS
            ],
            dim=-1,
        )

    def __call__(self, prediction: Prediction) -> Float[Tensor, ""]:
        """Return the loss of a prediction."""
        return self.residuals(prediction).square().sum() / 2
