"""The spread of a committee."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int

from aiida_mlal.ml.engines.base import Evaluation
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.uncertainty.base import Bound, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.reduction import largest

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True)
class Committee(Uncertainty):
    """Spread of the members of a committee about their mean.

    Variances are those of the members themselves (divided by their number, not by one less).
    """

    with_volume: ClassVar[tuple[str, ...]] = ("energy_std",)

    def check_model(self, model: "ModelOptions") -> None:
        """Want two members or more."""
        self._check_size(model.ensemble)

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Compute the spread; ``ValueError`` for no committee, or one of equal members."""
        _check_distinct(potential)
        with torch.no_grad():
            prediction = potential.committee(graph)
        owner: np.ndarray = graph.owner.cpu().numpy()
        return self._measure(
            prediction.energies.double().cpu().numpy(),
            prediction.forces.double().cpu().numpy(),
            owner,
        )

    def bind(self, potential: Potential) -> Bound:
        """Measure the spread of ``Evaluation.members``."""
        _check_distinct(potential)

        def measure(seen: Evaluation) -> Uncertainties:
            owner = np.zeros(len(seen.forces), int)
            return self._measure(seen.members.energies[:, None], seen.members.forces, owner)

        return Bound(measure)

    def _measure(
        self,
        energies: Float[np.ndarray, "members structures"],
        forces: Float[np.ndarray, "members atoms 3"],
        owner: Int[np.ndarray, " atoms"],
    ) -> Uncertainties:
        self._check_size(len(energies))
        return Uncertainties(self.kind, self.unit, *self._spread(energies, forces, owner))

    def _check_size(self, n_members: int) -> None:
        if n_members < 2:
            raise ValueError(
                f"the uncertainty {self.kind!r} is the spread of a committee, and this potential "
                "has one member: train with the model option 'ensemble' of 2 or more"
            )

    @abstractmethod
    def _spread(
        self,
        energies: Float[np.ndarray, "members structures"],
        forces: Float[np.ndarray, "members atoms 3"],
        owner: Int[np.ndarray, " atoms"],
    ) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " atoms"] | None]:
        """Compute the spread for each structure, and for each atom if it has one.

        ``owner`` is the structure of each atom.
        """


def equal_members(potential: Potential) -> list[str]:
    """Say, in one sentence or none, if all members of a committee have the same weights.

    Their spread is zero everywhere, and says nothing of errors.
    """
    for part in potential.modules():
        members = part.members if isinstance(part, Potential) else []
        if len(members) > 1 and all(_equal(members[0], one) for one in members[1:]):
            return [
                f"all {len(members)} members of the committee are the same, so that they agree "
                "whatever their error: train them from different weights, or with the training "
                "option 'bootstrap'"
            ]
    return []


def _check_distinct(potential: Potential) -> None:
    for problem in equal_members(potential):
        raise ValueError(problem)


def _equal(one: Potential, other: Potential) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    same = mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
    return same and one.config() == other.config()


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

    @property
    def is_of_forces(self) -> bool:
        """Forces alone: energy and stress don't count."""
        return True

    def _spread(
        self,
        energies: Float[np.ndarray, "members structures"],
        forces: Float[np.ndarray, "members atoms 3"],
        owner: Int[np.ndarray, " atoms"],
    ) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " atoms"] | None]:
        per_atom = np.sqrt(_variance(forces).sum(axis=-1))
        return largest(per_atom, owner, energies.shape[1]), per_atom


@dataclass(frozen=True)
class ForceVariance(Committee):
    """Largest variance of a component of a force.

    What Shuaibi et al., Mach. Learn.: Sci. Technol. 2, 025007 (2021), compare with their
    tolerances (which they give in eV/Å). It depends on the axes; ``ForceStd`` does not.
    """

    kind: ClassVar[str] = "force_var"
    unit: ClassVar[str] = "(eV/Å)^2"
    is_variance: ClassVar[bool] = True

    @property
    def is_of_forces(self) -> bool:
        """Forces alone: energy and stress don't count."""
        return True

    def _spread(
        self,
        energies: Float[np.ndarray, "members structures"],
        forces: Float[np.ndarray, "members atoms 3"],
        owner: Int[np.ndarray, " atoms"],
    ) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " atoms"] | None]:
        per_atom = _variance(forces).max(axis=-1)
        return largest(per_atom, owner, energies.shape[1]), per_atom


@dataclass(frozen=True)
class EnergyStd(Committee):
    """Standard deviation of the energy, divided by the number of atoms."""

    kind: ClassVar[str] = "energy_std"
    unit: ClassVar[str] = "eV/atom"

    def _spread(
        self,
        energies: Float[np.ndarray, "members structures"],
        forces: Float[np.ndarray, "members atoms 3"],
        owner: Int[np.ndarray, " atoms"],
    ) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " atoms"] | None]:
        counts = np.maximum(np.bincount(owner, minlength=energies.shape[1]), 1)
        return np.sqrt(_variance(energies)) / counts, None


def _variance(values: Float[np.ndarray, "members ..."]) -> Float[np.ndarray, "..."]:
    apart = values - values.sum(axis=0) / len(values)
    variance: np.ndarray = (apart * apart).sum(axis=0) / len(values)
    return variance
