"""Whether a training failed: how much of what there was to learn a potential explains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.training.problem import Problem

NOISE = {"energy": 1e-3, "force": 1e-2, "stress": 1e-3}
"""Errors in eV/atom, eV/Å and eV/Å³ within which labels count as reproduced, however little they
vary among themselves."""

SMALL = {"energy": 0.1, "force": 0.1, "stress": 0.01}
"""Labels of one kind that vary by less, in the same units, are judged as if they varied by so
much: a few labels of nearly the same structure are all alike."""

MISSED = 0.25
"""The share of the variance of one kind of labels from which on that kind was not learned: errors
of half of their standard deviation."""


class Share(NamedTuple):
    """How much of the variance of some labels is left.

    Attributes
    ----------
    left
        The share, from 0; above 1 where the elements alone do better.
    kind
        Of which labels: ``labels`` for all together.
    """

    left: float
    kind: str


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
    kinds
        The same of energies, forces and stresses alone, where there are any.
    """

    loss: float
    constant: float
    noise: float
    kinds: Mapping[str, "Verdict"] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: Problem) -> "Verdict":
        """Judge a potential by its structures; what it costs is a prediction."""
        measure, counts = problem.measure, problem.prepared.graph.counts
        errors = problem.residuals()
        constant = measure.residuals(_constant(problem))
        noise, small = (
            measure.weighted(
                Prediction(
                    sizes["energy"] * counts.to(errors.dtype),
                    torch.full_like(problem.targets.forces, sizes["force"]),
                    torch.full_like(problem.targets.stresses, sizes["stress"]),
                )
            )
            for sizes in (NOISE, SMALL)
        )
        kinds = {
            kind: cls(
                _half(errors[part]),
                max(_half(constant[part]), _half(small[part])),
                _half(noise[part]),
            )
            for kind, part in measure.kinds.items()
            if part.stop > part.start
        }
        return cls(_half(errors), _half(constant), _half(noise), kinds)

    @property
    def unexplained(self) -> Share:
        """What is left of the variance of all labels, or of the kind that was not learned.

        A kind that counts little in the loss may be missed while the others are learned, so that
        each is looked at: of one of which more than ``MISSED`` is left nothing was learned.
        """
        worst = max((Share(v._left, kind) for kind, v in self.kinds.items()), default=None)
        everything = Share(self._left, "labels")
        return worst if worst and worst.left > max(MISSED, everything.left) else everything

    @property
    def _left(self) -> float:
        """The share of the variance that is not explained; 0 if it is noise."""
        if self.loss <= self.noise:
            return 0.0
        return self.loss / self.constant if self.constant > 0 else 1.0


def _half(residuals: Float[Tensor, " residuals"]) -> float:
    return float(residuals.square().sum() / 2)


def _constant(problem: Problem) -> Prediction:
    """Predict by energies of atoms without interaction, fitted to the labels; no forces."""
    graph, targets = problem.prepared.graph, problem.targets
    composition = problem.potential.composition(graph)
    energies = targets.energies.double().numpy(force=True)
    known = np.isfinite(energies)
    weight = problem.measure.weights.energies.double().numpy(force=True)[known, None]
    counts = composition.sum(axis=1)
    mean = energies[known].sum() / max(counts[known].sum(), 1.0)
    rest = energies - mean * counts
    matrix, right = weight * composition[known], weight[:, 0] * rest[known]
    of_elements = np.linalg.lstsq(matrix, right, rcond=1e-10)[0]
    fitted = torch.from_numpy(mean * counts + composition @ of_elements).to(targets.energies)
    return Prediction(fitted, torch.zeros_like(targets.forces), torch.zeros_like(targets.stresses))


def without_neighbours(graph: Graph) -> list[int]:
    """Return the atomic numbers of which no atom has a neighbour within the cutoff."""
    near: Float[Tensor, " numbers"] = graph.numbers[graph.pairs[0]].unique()
    everything = set(graph.numbers.unique().tolist())
    return sorted(everything - set(near.tolist()))
