"""Last-layer variance as optimal experimental design sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential, Prediction
from aiida_mlal.ml.uncertainty.base import Fitted, GraphMeasure, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.criterion import Criterion, Quantity
from aiida_mlal.ml.uncertainty.design import MATRIX, Design, over_structures, sensitivities
from aiida_mlal.ml.uncertainty.information import gain

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class OED(Criterion, Uncertainty):
    r"""By how much a label would reduce the variance of a network.

    With the derivatives g of what is predicted by the weights of the last layer and their
    information matrix :math:`\tilde A` over the training set, it is :math:`u / (1 + u)` of
    :math:`u = g^T \tilde A^{-1} g`: V. Zaverkin and J. Kästner, Mach. Learn.: Sci. Technol. 2,
    035009 (2021), equation 14. In units of its mean or median over the training set it is the
    informativeness of the paper: structures above 1 are informative.

    The potential must carry the information matrix, as those do that were trained with this as
    the option ``uncertainty``.
    """

    kind: ClassVar[str] = "oed"
    unit: ClassVar[str] = "1"
    is_variance: ClassVar[bool] = True

    def check_model(self, model: "ModelOptions") -> None:
        """Want a network."""
        model.check_able("last_layer")

    @property
    def carried(self) -> frozenset[str]:
        """The information matrices."""
        return frozenset(map(MATRIX.format, {*self.parts, "atoms"}))

    @property
    def needed(self) -> frozenset[str]:
        """Those that are looked at: of atoms where energies are asked for."""
        return self.carried if "energy" in self.parts else frozenset(map(MATRIX.format, self.parts))

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Return the information matrices of a training set, those of the atoms as well."""
        needed: list[Quantity] = sorted({*self.parts, "atoms"})
        designs = {q: Design.of(potential, configurations, q, self.ridge) for q in needed}
        extras = {k: v for design in designs.values() for k, v in design.tensors("oed").items()}
        about = {
            "quantity": self.quantity,
            "n_structures": len(configurations),
            "n_weights": len(designs["atoms"].information.matrix),
            **self.thresholds({q: designs[q] for q in self.parts}),
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
        limit = self.limit(designs)
        if "energy" in designs:
            designs["atoms"] = Design.stored(potential, "atoms")
        values, per_atom = self.gains(potential, graph, designs)
        if "energy" in designs:
            per_atom = per_atom / self.limit({"atoms": designs["atoms"]})
        else:
            per_atom = per_atom / limit
        return Uncertainties(self.kind, self.unit, values / limit, per_atom)

    def of_graph(self, potential: Potential) -> GraphMeasure:
        """Return what needs no prediction."""
        return partial(self.of, potential)

    def gains(
        self, potential: Potential, graph: Graph, designs: Mapping[Quantity, Design]
    ) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " atoms"]]:
        """Return what is compared: of each structure, and of each atom.

        Of atoms it is that of their energies, if there is a design of these, or of their forces.
        """
        owner: np.ndarray = graph.owner.cpu().numpy()
        values, per_atom = np.zeros(len(graph.volumes)), np.zeros(len(owner))
        if "forces" in designs:
            rows = sensitivities(potential, graph, "forces")
            gains = gain(designs["forces"].information.variances(rows))
            per_atom = (gains.mean(axis=1), gains.max(axis=1))[self.column]
            values += (
                self.parts["forces"] * over_structures(gains, owner, len(values))[:, self.column]
            )
        if "energy" in designs:
            sites = sensitivities(potential, graph, "atoms")
            sums = np.zeros((len(values), sites.shape[1]))
            np.add.at(sums, owner, sites)
            values += gain(designs["energy"].information.variances(sums))
            if "atoms" in designs:
                per_atom = gain(designs["atoms"].information.variances(sites))
        return values, per_atom

    def limit(self, designs: Mapping[Quantity, Design]) -> float:
        """Return the value that counts as 1."""
        return 1.0 if self.threshold is None else self.thresholds(designs)[self.threshold]

    def thresholds(self, designs: Mapping[Quantity, Design]) -> dict[str, float]:
        """Return mean and median over the training set."""
        weights: dict[Quantity, float] = {"atoms": 1.0, **self.parts}
        train: Float[np.ndarray, " train"] = np.sum(
            [weights[q] * design.gains[:, self.column] for q, design in designs.items()], axis=0
        )
        return {"mean": float(train.mean()), "median": float(np.median(train))}
