"""Last-layer variance as the standard deviation of a prediction."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasLastLayer
from aiida_mlal.ml.uncertainty.base import Fitted, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.design import MATRIX, Design, sensitivities
from aiida_mlal.ml.uncertainty.information import RIDGE
from aiida_mlal.ml.uncertainty.reduction import largest

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


class _LastLayer(Uncertainty):
    """What both have in common; the fields of a subclass are the options."""

    ridge: float
    quantity: ClassVar[Literal["energy", "forces"]]
    with_volume: ClassVar[tuple[str, ...]] = ("last_layer_energy",)

    def __post_init__(self) -> None:
        """Refuse a ridge below 0."""
        if not self.ridge >= 0:
            raise ValueError(f"expected a ridge of 0 or more, got {self.ridge}")

    def check_model(self, model: "ModelOptions") -> None:
        """Want a network."""
        model.require(HasLastLayer)

    @property
    def provides(self) -> frozenset[str]:
        """The information matrix."""
        return frozenset({MATRIX.format(self.quantity)})

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Compute the information matrix of a training set, and its residual errors."""
        design = Design.of(potential, configurations, self.quantity, self.ridge)
        about = {"n_structures": len(configurations), "n_weights": len(design.information.matrix)}
        return Fitted(design.tensors("last_layer"), {**about, "loss": design.loss})

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Tell if a potential carries an information matrix that was made for this."""
        return Design.is_in(potential, cls.quantity, "last_layer")

    def _design(self, potential: Potential) -> Design:
        design = Design.stored(potential, self.quantity)
        if not np.isfinite(design.loss):
            raise ValueError(
                f"the uncertainty {self.kind!r} is in units of errors, and the training set of the "
                "information matrix had no labels to compare with"
            )
        return design


@dataclass(frozen=True)
class LastLayerEnergy(_LastLayer):
    r"""Standard deviation of the energy, divided by the number of atoms.

    :math:`\sigma^2 = \alpha^2 g^T (\sum g g^T + \lambda I)^{-1} g` with the derivatives g of the
    energy by the weights of the last layer: F. Bigi, S. Chong, M. Ceriotti and F. Grasselli,
    Mach. Learn.: Sci. Technol. 5, 045018 (2024). :math:`\alpha^2` makes it right for the training
    set on average, which is too small for others: see ``calibration``.

    Attributes
    ----------
    ridge
        :math:`\lambda` in units of the mean of the diagonal, of a matrix that is made.
    """

    kind: ClassVar[str] = "last_layer_energy"
    unit: ClassVar[str] = "eV/atom"
    quantity: ClassVar[Literal["energy", "forces"]] = "energy"

    ridge: float = RIDGE

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; ``ValueError`` without an information matrix."""
        design = self._design(potential)
        rows = sensitivities(potential, graph, "energy")
        deviations = np.sqrt(design.loss * design.information.variances(rows))
        counts: np.ndarray = graph.counts.cpu().numpy()
        return Uncertainties(self.kind, self.unit, deviations / np.maximum(counts, 1))


@dataclass(frozen=True)
class LastLayerForce(_LastLayer):
    r"""Standard deviation of the force vector of the least known atom.

    Like ``LastLayerEnergy`` with the derivatives of the components of forces, whose variances are
    added for each atom.

    Attributes
    ----------
    ridge
        :math:`\lambda` in units of the mean of the diagonal, of a matrix that is made.
    """

    kind: ClassVar[str] = "last_layer_force"
    unit: ClassVar[str] = "eV/Å"
    quantity: ClassVar[Literal["energy", "forces"]] = "forces"

    ridge: float = RIDGE

    @property
    def is_of_forces(self) -> bool:
        """It does: energy and stress don't count."""
        return True

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; ``ValueError`` without an information matrix."""
        design = self._design(potential)
        rows = sensitivities(potential, graph, "forces")
        per_atom = np.sqrt(design.loss * design.information.variances(rows).sum(axis=1))
        values = largest(per_atom, graph.owner.cpu().numpy(), len(graph.volumes))
        return Uncertainties(self.kind, self.unit, values, per_atom)
