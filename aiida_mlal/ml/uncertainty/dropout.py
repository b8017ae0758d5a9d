"""Monte Carlo dropout of the last hidden layer, in closed form."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasLastLayer, require
from aiida_mlal.ml.uncertainty.base import Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.design import sensitivities
from aiida_mlal.ml.uncertainty.reduction import largest

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class _Dropout(Uncertainty):
    r"""Standard deviation over all ways to leave out nodes, for all atoms the same ones.

    Each node of the last hidden layer is left out with a probability p, and the others are made
    larger by 1 / (1 - p). The energy is linear in them, so nothing has to be drawn: its variance
    is :math:`p / (1 - p) \sum_j (w_j g_j)^2` with the last weights w and the derivatives g of the
    energy by them. This is Monte Carlo dropout (Y. Gal and Z. Ghahramani, ICML 2016) of one layer
    with infinitely many draws; networks here are not trained with it.

    Attributes
    ----------
    rate
        The probability p.
    """

    rate: float = 0.1

    with_volume: ClassVar[tuple[str, ...]] = ("dropout_energy",)
    quantity: ClassVar[Literal["energy", "forces"]]

    def __post_init__(self) -> None:
        """Refuse to leave out nothing or everything."""
        if not 0 < self.rate < 1:
            raise ValueError(f"expected a rate between 0 and 1, got {self.rate}")

    def check_model(self, model: "ModelOptions") -> None:
        """Want a network."""
        model.require(HasLastLayer)

    def _variances(self, potential: Potential, graph: Graph) -> np.ndarray:
        sensitivity = sensitivities(potential, graph, self.quantity)
        weights = require(potential, HasLastLayer).last_weights().detach().cpu().double().numpy()
        odds = self.rate / (1 - self.rate)
        variances: np.ndarray = odds * ((sensitivity * weights) ** 2).sum(axis=-1)
        return variances


@dataclass(frozen=True)
class DropoutEnergy(_Dropout):
    """Standard deviation of the energy, divided by the number of atoms."""

    kind: ClassVar[str] = "dropout_energy"
    unit: ClassVar[str] = "eV/atom"
    quantity: ClassVar[Literal["energy", "forces"]] = "energy"

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; a potential without a last layer raises ``ValueError``."""
        counts: np.ndarray = graph.counts.cpu().numpy()
        values = np.sqrt(self._variances(potential, graph)) / np.maximum(counts, 1)
        return Uncertainties(self.kind, self.unit, values)


@dataclass(frozen=True)
class DropoutForce(_Dropout):
    """Standard deviation of the force vector of the least known atom."""

    kind: ClassVar[str] = "dropout_force"
    unit: ClassVar[str] = "eV/Å"
    quantity: ClassVar[Literal["energy", "forces"]] = "forces"

    @property
    def is_of_forces(self) -> bool:
        """Forces alone: energy and stress don't count."""
        return True

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; a potential without a last layer raises ``ValueError``."""
        per_atom = np.sqrt(self._variances(potential, graph).sum(axis=1))
        values = largest(per_atom, graph.owner.cpu().numpy(), len(graph.volumes))
        return Uncertainties(self.kind, self.unit, values, per_atom)
