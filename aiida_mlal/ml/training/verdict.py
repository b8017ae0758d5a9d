"""Whether a training failed: how much of what there was to learn a potential explains."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Prediction
from aiida_mlal.ml.training.problem import Problem

NOISE = {"energy": 1e-3, "force": 1e-2, "stress": 1e-3}
"""Errors in eV/atom, eV/Å and eV/Å³ within which labels count as reproduced, however little they
vary among themselves."""


@dataclass(frozen=True)
class Verdict:
    r"""How the labels that were learned from are reproduced.

    Attributes
    ----------
    loss
        With the weights that were kept, without penalties of the optimizer.
    constant
        Without any interaction: with the energies of the elements that fit best, and neither
        forces nor stresses. :math:`1 -` ``loss`` / ``constant`` is the share of the variance of the
        labels that is explained, in the weights of the loss.
    noise
        If each label was missed by ``NOISE``.
    """

    loss: float
    constant: float
    noise: float

    @classmethod
    def of(cls, problem: Problem) -> "Verdict":
        """Judge a potential by its structures; what it costs is a prediction."""
        with torch.no_grad():
            loss = float(problem.loss())
        graph, targets = problem.prepared.graph, problem.targets
        constant = float(problem.measure(_constant(problem)))
        counts = graph.counts.to(targets.energies.dtype)
        errors = Prediction(
            NOISE["energy"] * counts,
            torch.full_like(targets.forces, NOISE["force"]),
            torch.full_like(targets.stresses, NOISE["stress"]),
        )
        noise = float(problem.measure.weighted(errors).square().sum() / 2)
        return cls(loss, constant, noise)

    @property
    def unexplained(self) -> float:
        """The share of the variance of the labels that is not explained; 0 if it is noise."""
        if self.loss <= self.noise:
            return 0.0
        return self.loss / self.constant if self.constant > 0 else 1.0


def _constant(problem: Problem) -> Prediction:
    """Return the energies that elements without interaction have in the fit, and no forces."""
    graph, targets = problem.prepared.graph, problem.targets
    composition = problem.potential.composition(graph)
    energies = targets.energies.double().numpy(force=True)
    known = np.isfinite(energies)
    weight = problem.measure.weights.energies.double().numpy(force=True)[known, None]
    counts = composition.sum(axis=1)
    mean = energies[known].sum() / max(counts[known].sum(), 1.0)
    rest = energies - mean * counts
    found = np.linalg.lstsq(weight * composition[known], weight[:, 0] * rest[known], rcond=1e-10)[0]
    fitted = torch.from_numpy(mean * counts + composition @ found).to(targets.energies)
    return Prediction(fitted, torch.zeros_like(targets.forces), torch.zeros_like(targets.stresses))


def without_neighbours(graph: Graph) -> list[int]:
    """Return the atomic numbers of which no atom has a neighbour within the cutoff."""
    near: Float[Tensor, " numbers"] = graph.numbers[graph.pairs[0]].unique()
    everything = set(graph.numbers.unique().tolist())
    return sorted(everything - set(near.tolist()))
