"""The spread of a committee."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential, Prediction
from aiida_mlal.ml.uncertainty.base import Uncertainties, Uncertainty


@dataclass(frozen=True)
class Committee(Uncertainty):
    """How far the members of a committee are from their mean.

    Variances are those of the members themselves (divided by their number, not by one less).
    """

    def of(
        self, potential: Potential, graph: Graph, committee: Prediction | None = None
    ) -> Uncertainties:
        """Return the spread; a potential that is no committee raises ``ValueError``."""
        if committee is None:
            with torch.no_grad():
                committee = potential.committee(graph)
        if len(committee.energies) < 2:
            raise ValueError(
                f"the uncertainty {self.kind!r} is the spread of a committee, and this potential "
                "has one member: train with the model option 'ensemble' of 2 or more"
            )
        values, per_atom = self._spread(committee.detach(), graph)
        return Uncertainties(
            self.kind,
            self.unit,
            values.double().cpu().numpy(),
            None if per_atom is None else per_atom.double().cpu().numpy(),
        )

    @abstractmethod
    def _spread(
        self, committee: Prediction, graph: Graph
    ) -> tuple[Float[Tensor, " structures"], Float[Tensor, " atoms"] | None]:
        """Return the spread for each structure, and for each atom if there is one."""


@dataclass(frozen=True)
class ForceStd(Committee):
    r"""Standard deviation of the force vector of the least known atom.

    For atom :math:`i` and members :math:`m`,
    :math:`\sigma_i^2 = \langle |F_{im} - \langle F_i \rangle|^2 \rangle`, the sum of the variances
    of the three components, so that it does not depend on the axes. It is at most
    :math:`\sqrt 3` times the standard deviation of the worst component.
    """

    kind: ClassVar[str] = "force_std"
    unit: ClassVar[str] = "eV/Å"

    def _spread(
        self, committee: Prediction, graph: Graph
    ) -> tuple[Float[Tensor, " structures"], Float[Tensor, " atoms"] | None]:
        per_atom = committee.forces.var(0, correction=0).sum(-1).sqrt()
        return largest(per_atom, graph), per_atom


@dataclass(frozen=True)
class ForceVariance(Committee):
    """Largest variance of a component of a force.

    What Shuaibi et al., Mach. Learn.: Sci. Technol. 2, 025007 (2021), compare with their
    tolerances (which they give in eV/Å). It depends on the axes; ``ForceStd`` does not.
    """

    kind: ClassVar[str] = "force_var"
    unit: ClassVar[str] = "(eV/Å)^2"

    def _spread(
        self, committee: Prediction, graph: Graph
    ) -> tuple[Float[Tensor, " structures"], Float[Tensor, " atoms"] | None]:
        per_atom = committee.forces.var(0, correction=0).amax(-1)
        return largest(per_atom, graph), per_atom


@dataclass(frozen=True)
class EnergyStd(Committee):
    """Standard deviation of the energy, divided by the number of atoms."""

    kind: ClassVar[str] = "energy_std"
    unit: ClassVar[str] = "eV/atom"

    def _spread(
        self, committee: Prediction, graph: Graph
    ) -> tuple[Float[Tensor, " structures"], Float[Tensor, " atoms"] | None]:
        counts = graph.sum_over_atoms(torch.ones_like(graph.owner, dtype=committee.energies.dtype))
        return committee.energies.std(0, correction=0) / counts, None


def largest(per_atom: Float[Tensor, " atoms"], graph: Graph) -> Float[Tensor, " structures"]:
    """Return the largest of the values of the atoms of each structure."""
    zero = per_atom.new_zeros(len(graph.volumes))
    return zero.scatter_reduce(0, graph.owner, per_atom, "amax")
