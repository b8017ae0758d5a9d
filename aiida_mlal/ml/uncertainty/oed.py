"""Last-layer variance as optimal experimental design sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasLastLayer
from aiida_mlal.ml.uncertainty.base import Fitted, Uncertainties, Uncertainty
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
    035009 (2021), equation 14. Bare values (``threshold`` null) are these, from 0 to 1, or to
    :math:`1 + \beta` for both quantities. Otherwise it is the informativeness of section 3.3:
    structures above 1 are informative. There it is :math:`s / s_\mathrm{th}` of such a value s and
    its mean or median over the training set; as a training structure has :math:`u \le 1`, this
    ends at 2 where labels are fewer than weights. Here it is the ratio of their odds,

    .. math::

        I = o / o_\mathrm{th}, \quad o = s / (b - s)

    with the largest value b that there can be (1, or :math:`1 + \beta`), and the mean or median
    :math:`o_\mathrm{th}` of o over the training set. It has the same order, is above 1 for the
    same structures (with the median), is the same where s is small, and has no upper limit; for
    energies it is :math:`u / u_\mathrm{th}`.

    The potential must carry the information matrix, as those do that were trained with this as
    the option ``uncertainty``.
    """

    kind: ClassVar[str] = "oed"
    unit: ClassVar[str] = "1"
    is_variance: ClassVar[bool] = True
    with_volume: ClassVar[tuple[str, ...]] = ("last_layer_energy",)

    @property
    def largest(self) -> float:
        """Bare values end where there is nothing left to learn."""
        return sum(self.parts.values()) if self.threshold is None else np.inf

    @property
    def is_of_forces(self) -> bool:
        """Whether variances of energies are left out."""
        return "energy" not in self.parts

    def check_model(self, model: "ModelOptions") -> None:
        """Want a network."""
        model.require(HasLastLayer)

    @property
    def provides(self) -> frozenset[str]:
        """The information matrices."""
        return frozenset(map(MATRIX.format, {*self.parts, "atoms"}))

    @property
    def requires(self) -> frozenset[str]:
        """Those that are looked at: of atoms where energies are asked for."""
        return (
            self.provides if "energy" in self.parts else frozenset(map(MATRIX.format, self.parts))
        )

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Compute the information matrices of a training set, that of atomic energies too."""
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
        """Tell if a potential carries information matrices."""
        return any(Design.is_in(potential, quantity, "oed") for quantity in ("energy", "forces"))

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Compute the gains; ``ValueError`` for a potential without information matrices.

        Those of atoms are of their forces if these alone are asked for, else as if atomic energies
        were labels; where there is a threshold, in units of the mean or median of the gains of the
        atoms of training structures.
        """
        designs = {quantity: Design.stored(potential, quantity) for quantity in self.parts}
        atoms = designs
        if "energy" in designs:
            atoms = {"atoms": Design.stored(potential, "atoms")}
        values, per_atom = self.gains(potential, graph, {**designs, **atoms})
        return Uncertainties(
            self.kind, self.unit, self.scores(values, designs), self.scores(per_atom, atoms)
        )

    def gains(
        self, potential: Potential, graph: Graph, designs: Mapping[Quantity, Design]
    ) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " atoms"]]:
        """Compute the gains (equation 14) of the labels of each structure, and of each atom.

        The latter are of atomic energies, if there is a design of these, else of forces.
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

    def scores(
        self, gains: Float[np.ndarray, " values"], designs: Mapping[Quantity, Design]
    ) -> Float[np.ndarray, " values"]:
        """Compute the informativeness of gains; without a threshold the gains themselves."""
        if self.threshold is None:
            return gains
        bound = sum(self._weights[quantity] for quantity in designs)
        train = _odds(self._train(designs), bound)
        limit = train.mean() if self.threshold == "mean" else np.median(train)
        with np.errstate(divide="ignore"):
            informativeness: np.ndarray = _odds(gains, bound) / limit
        return informativeness

    def thresholds(self, designs: Mapping[Quantity, Design]) -> dict[str, float]:
        """Return mean and median of the gains over the training set."""
        train = self._train(designs)
        return {"mean": float(train.mean()), "median": float(np.median(train))}

    def _train(self, designs: Mapping[Quantity, Design]) -> Float[np.ndarray, " train"]:
        parts = [self._weights[q] * design.gains[:, self.column] for q, design in designs.items()]
        total: np.ndarray = np.sum(parts, axis=0)
        return total

    @property
    def _weights(self) -> dict[Quantity, float]:
        return {"atoms": 1.0, **self.parts}


def _odds(gains: Float[np.ndarray, " values"], bound: float) -> Float[np.ndarray, " values"]:
    return gains / (bound - gains)
