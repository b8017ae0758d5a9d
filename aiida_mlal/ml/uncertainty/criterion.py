"""Options of optimal experimental design: which labels, and how gains are reduced."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aiida_mlal.ml.uncertainty.information import RIDGE

Quantity = Literal["energy", "atoms", "forces"]
"""Energies of structures, energies of their atoms as if they could be learned, or forces."""


@dataclass(frozen=True)
class Criterion:
    """Options that the measure and the strategy ``oed`` have in common.

    Attributes
    ----------
    quantity
        ``energy`` (QS1 of the paper), ``forces`` (QS2), or ``both``: their sum (QS3).
    beta
        Factor of the forces in the sum; 1.5 for the ethanol of the paper, 4.6 for its ice.
    reduce
        Whether a structure counts as the mean of its force components or as the largest of them.
    threshold
        What is 1: the ``median`` or the ``mean`` over the training set; null for bare values,
        which have an upper limit.
    ridge
        What is added to the diagonal of an information matrix that is made, in units of its mean.
    """

    quantity: Literal["energy", "forces", "both"] = "energy"
    beta: float = 1.0
    reduce: Literal["mean", "max"] = "mean"
    threshold: Literal["median", "mean"] | None = "median"
    ridge: float = RIDGE

    def __post_init__(self) -> None:
        """Refuse a ridge or a weight below 0."""
        for name in ("beta", "ridge"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"expected {name} of 0 or more, got {getattr(self, name)}")

    @property
    def parts(self) -> dict[Quantity, float]:
        """The quantities whose gains are added, and their weights."""
        every: dict[str, dict[Quantity, float]] = {
            "energy": {"energy": 1.0},
            "forces": {"forces": 1.0},
            "both": {"energy": 1.0, "forces": self.beta},
        }
        return every[self.quantity]

    @property
    def column(self) -> int:
        """Where what ``reduce`` says stands beside the other."""
        return 0 if self.reduce == "mean" else 1
