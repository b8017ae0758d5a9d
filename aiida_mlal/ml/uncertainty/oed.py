"""Last-layer variance as optimal experimental design sees it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential, Prediction
from aiida_mlal.ml.uncertainty.base import Fitted, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.design import Design, Quantity, over_structures, sensitivities
from aiida_mlal.ml.uncertainty.information import RIDGE, gain


@dataclass(frozen=True)
class OED(Uncertainty):
    r"""By how much a label would reduce the variance of a network.

    With the derivatives g of what is predicted by the weights of the last layer and their
    information matrix :math:`\tilde A` over the training set, it is :math:`u / (1 + u)` of
    :math:`u = g^T \tilde A^{-1} g`: V. Zaverkin and J. Kästner, Mach. Learn.: Sci. Technol. 2,
    035009 (2021), equation 14. In units of its mean or median over the training set it is the
    informativeness of the paper: structures above 1 are informative.

    The potential must carry the information matrix, as those do that were trained with this as
    the option ``uncertainty``.

    Attributes
    ----------
    quantity
        ``energy`` (QS1 of the paper), ``forces`` (QS2), or ``both``: their sum (QS3).
    beta
        Factor of the forces in the sum; 1.5 for the ethanol of the paper, 4.6 for its ice.
    reduce
        Whether a structure counts as the mean of its force components or as the largest of them.
    threshold
        What is 1: the ``median`` or the ``mean`` over the training set; null for bare values.
    ridge
        What is added to the diagonal of the matrix, in units of its mean; of one that is made.
    """

    kind: ClassVar[str] = "oed"
    unit: ClassVar[str] = "1"

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

    def fitted(self, potential: Potential, configurations: Configurations) -> Fitted:
        """Return the information matrices of a training set, those of the atoms as well."""
        needed: list[Quantity] = sorted({*self.parts, "atoms"})
        designs = {q: Design.of(potential, configurations, q, self.ridge) for q in needed}
        extras = {k: v for design in designs.values() for k, v in design.tensors("oed").items()}
        about = {
            "quantity": self.quantity,
            "n_structures": len(configurations),
            "n_weights": len(designs["atoms"].information.matrix),
            **self._thresholds({q: designs[q] for q in self.parts}),
        }
        return Fitted(extras, about)

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Return whether a potential carries information matrices."""
        return any(Design.is_in(potential, quantity, "oed") for quantity in ("energy", "forces"))

    def of(
        self, potential: Potential, graph: Graph, committee: Prediction | None = None
    ) -> Uncertainties:
        """Return the gains; a potential without information matrices raises ``ValueError``.

        Those of the atoms are those of their forces if these alone were asked for, otherwise as
        if atomic energies were labels; in units of what the atoms of training structures have on
        average, of its mean or median as well.
        """
        designs = {quantity: Design.stored(potential, quantity) for quantity in self.parts}
        n, column = len(graph.volumes), 0 if self.reduce == "mean" else 1
        owner: np.ndarray = graph.owner.cpu().numpy()
        values, per_atom = np.zeros(n), np.zeros(len(owner))
        if "energy" in designs:
            sites, atoms = (
                sensitivities(potential, graph, "atoms"),
                Design.stored(potential, "atoms"),
            )
            sums = np.zeros((n, sites.shape[1]))
            np.add.at(sums, owner, sites)
            values += gain(designs["energy"].information.variances(sums))
            per_atom = gain(atoms.information.variances(sites)) / self.limit({"atoms": atoms})
        if "forces" in designs:
            rows = sensitivities(potential, graph, "forces")
            gains = gain(designs["forces"].information.variances(rows))
            values += self.parts["forces"] * over_structures(gains, owner, n)[:, column]
            if "energy" not in designs:
                each = gains.mean(axis=1) if column == 0 else gains.max(axis=1)
                per_atom = each / self.limit(designs)
        return Uncertainties(self.kind, self.unit, values / self.limit(designs), per_atom)

    def limit(self, designs: dict[Quantity, Design]) -> float:
        """Return the value that counts as 1."""
        if self.threshold is None:
            return 1.0
        return self._thresholds(designs)[self.threshold]

    def _thresholds(self, designs: dict[Quantity, Design]) -> dict[str, float]:
        column, weights = 0 if self.reduce == "mean" else 1, {"atoms": 1.0, **self.parts}
        train: Float[np.ndarray, " train"] = np.sum(
            [weights[q] * design.gains[:, column] for q, design in designs.items()], axis=0
        )
        return {"mean": float(train.mean()), "median": float(np.median(train))}
