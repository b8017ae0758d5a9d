"""Standard deviations of the posterior of a Gaussian process."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.gaussian_process import Conditioned, Posterior
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasProcess, require
from aiida_mlal.ml.models.observed import (
    UPPER,
    Observed,
    Observing,
    Process,
    observable,
    observed,
)
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.reference_volumes import ReferenceVolumes
from aiida_mlal.ml.sparse_process import SparseConditioned, SparsePosterior
from aiida_mlal.ml.uncertainty.active_set import fingerprint
from aiida_mlal.ml.uncertainty.amplitude import amplitude
from aiida_mlal.ml.uncertainty.base import Fitted, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.extras import to_bytes, to_tensor, to_text
from aiida_mlal.ml.uncertainty.left_out import scale
from aiida_mlal.ml.uncertainty.repulsion import Repulsion

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions

PREFIX = "gp_std."
"""Before the names of its tensors, among the extras of a potential."""

TOGETHER = 20
"""How many structures are looked at at once where inducing environments stand for the process."""

CARRIED = "the covariances of what a Gaussian process learned from"
"""What potentials carry, in words."""

_READ = WeakIdKeyDictionary()  # factors in extras, and the processes made of them


@dataclass(frozen=True)
class _ProcessStd(Uncertainty):
    """What all have in common.

    The variance of a prediction is that of the prior less what the labels tell (Rasmussen and
    Williams, equation 2.26). It grows up to the variance of the prior with the distance from the
    labelled environments, so that it needs no ``Domain``. Where errors of labelled structures that
    are left out are larger than it, or few structures tell how far energies vary, all are larger by
    the same factor (``left_out``, ``amplitude``). The variance of a repulsion of atoms that are
    nearer than labelled ones is added (``repulsion``).
    """

    has_domain: ClassVar[bool] = False

    def check_model(self, model: "ModelOptions") -> None:
        """Want a Gaussian process."""
        model.require(HasProcess)

    @property
    def provides(self) -> frozenset[str]:
        """The covariances, whichever of them it was trained for."""
        return frozenset({CARRIED})

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Return the structures that were learned from, and the factor of their covariances."""
        if held_out is not None and len(held_out):
            aside = np.isin(configurations.keys, held_out.keys)
            configurations = configurations[np.flatnonzero(~aside)]
        process = require(potential, HasProcess).process()
        with torch.no_grad():
            targets = _beyond(potential, process, configurations)
            posterior = _posterior(process, configurations, targets)
        tensors = {
            "factor": posterior.factor.contiguous(),
            "scale": torch.tensor(max(scale(posterior), amplitude(posterior)), dtype=torch.float64),
            "configurations": to_tensor(configurations.to_bytes()),
            "sizes": torch.tensor([len(configurations)]),
            "fingerprint": to_tensor(fingerprint(potential)),
        }
        about = {
            "n_structures": len(configurations),
            "n_labels": posterior.n_labels,
            "scale": float(tensors["scale"]),
            "force_noise": float(process.noise[1]),
        }
        return Fitted({PREFIX + name: tensor for name, tensor in tensors.items()}, about)

    def believing(self, potential: Potential, structures: Configurations) -> Potential:
        """Return it with the variances that it would have: but for ``scale``, no label counts."""
        (known, _), process = _stored(potential), require(potential, HasProcess).process()
        before, sizes = _structures(potential), _sizes(potential)
        stress = 0.0 if np.isfinite(before.stresses).any() else np.nan
        believed = structures.bare.with_labels(
            np.zeros(len(structures)),
            np.zeros_like(structures.positions),
            np.full_like(structures.cells, stress),
        )
        together = Configurations.concatenate([before, believed])
        with torch.no_grad():
            reference = _reference(process, before[: sizes[0]])
            others = _observed(process, believed, reference=reference)
            factor = known.extended(others.structures, others.noise, others.shared)
        found = copy(potential)
        found.extras = {
            **potential.extras,
            f"{PREFIX}factor": factor.contiguous(),
            f"{PREFIX}configurations": to_tensor(together.to_bytes()),
            f"{PREFIX}sizes": torch.tensor([*sizes, len(believed)]),
        }
        return found

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Tell if a potential carries the covariances."""
        return f"{PREFIX}factor" in potential.extras


@dataclass(frozen=True)
class ProcessForceStd(_ProcessStd):
    """Standard deviation of the force vector of the least known atom.

    The variances of the components of the force are added for each atom.
    """

    kind: ClassVar[str] = "gp_std"
    unit: ClassVar[str] = "eV/Å"

    @property
    def is_of_forces(self) -> bool:
        """It does: energy and stress don't count."""
        return True

    @property
    def with_stress(self) -> Uncertainty:
        """The same for the cell as well."""
        return ProcessCellStd()

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; ``ValueError`` without the covariances."""
        values, per_atom = np.zeros(len(graph.volumes)), np.zeros(len(graph.numbers))
        for one, atoms, variances in _variances(potential, graph):
            per_atom[atoms.numpy(force=True)] = mine = _of_forces(variances, len(atoms))
            values[one] = mine.max()
        return Uncertainties(self.kind, self.unit, values, per_atom)


@dataclass(frozen=True)
class ProcessCellStd(_ProcessStd):
    r"""Standard deviation of the least known force, on an atom or on the cell.

    That on the cell is, with the volume V of n atoms, what the stress does to the face of the
    volume of one of them,

    .. math::

        \sqrt{\textstyle\sum_{jk} \operatorname{Var} \sigma_{jk}}\; (V / n)^{2/3},

    the derivative of the energy of an atom by the change of a length as long as the spacing of
    atoms. A structure that is not periodic in all directions has none.
    """

    kind: ClassVar[str] = "gp_cell_std"
    unit: ClassVar[str] = "eV/Å"

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; ``ValueError`` without the covariances."""
        values, per_atom = np.zeros(len(graph.volumes)), np.zeros(len(graph.numbers))
        volumes: np.ndarray = graph.volumes.double().numpy(force=True)
        for one, atoms, variances in _variances(potential, graph, with_virial=True):
            n, volume = len(atoms), volumes[one]
            per_atom[atoms.numpy(force=True)] = mine = _of_forces(variances, n)
            of_cell = np.sqrt(variances[1 + 3 * n :] @ _TIMES) / volume * (volume / n) ** (2 / 3)
            values[one] = np.fmax(mine.max(), of_cell)
        return Uncertainties(self.kind, self.unit, values, per_atom)


@dataclass(frozen=True)
class ProcessEnergyStd(_ProcessStd):
    """Standard deviation of the energy, divided by the number of atoms."""

    kind: ClassVar[str] = "gp_energy_std"
    unit: ClassVar[str] = "eV/atom"

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return standard deviations; ``ValueError`` without the covariances."""
        values = np.zeros(len(graph.volumes))
        for one, atoms, variances in _variances(potential, graph):
            values[one] = np.sqrt(variances[0]) / len(atoms)
        return Uncertainties(self.kind, self.unit, values)


_TIMES = np.array([1.0, 2.0, 2.0, 1.0, 2.0, 1.0])
"""Multiplicity in a symmetric matrix of each component that ``UPPER`` names."""


def _of_forces(
    variances: Float[np.ndarray, " queries"], n_atoms: int
) -> Float[np.ndarray, " atoms"]:
    """Return the standard deviations of force vectors."""
    deviations: np.ndarray = np.sqrt(variances[1 : 1 + 3 * n_atoms].reshape(-1, 3).sum(axis=1))
    return deviations


def _variances(
    potential: Potential, graph: Graph, with_virial: bool = False
) -> Iterator[tuple[int, Tensor, Float[np.ndarray, " queries"]]]:
    """Yield the place of each structure, its atoms, and variances of what is ``observable``."""
    (known, repulsion), process = _stored(potential), require(potential, HasProcess).process()
    scaled = float(potential.extras[f"{PREFIX}scale"]) ** 2
    graph = graph.within(process.cutoff)
    described = process.describe(graph)
    nearer = repulsion.of(graph, potential.species(graph.numbers))
    with torch.no_grad():
        for one, atoms, query in observable(described, with_virial):
            of_pairs = [nearer.energies[one : one + 1], nearer.forces[atoms].flatten()]
            if with_virial:
                of_pairs.append(nearer.virials[one].flatten()[UPPER])
            of_process = scaled * known.variances(query).clamp(min=0)
            yield one, atoms, (of_process + torch.cat(of_pairs).square()).numpy(force=True)


def _stored(potential: Potential) -> tuple[Conditioned | SparseConditioned, Repulsion]:
    """Read the covariances that a potential carries, and how near atoms were in the labels."""
    extras = potential.extras
    if f"{PREFIX}factor" not in extras:
        raise ValueError(
            f"the potential does not carry {CARRIED}: train it with {{'name': 'gp_std'}} as the "
            "option 'uncertainty'"
        )
    factor = extras[f"{PREFIX}factor"]
    if factor not in _READ:
        about = to_text(extras[f"{PREFIX}fingerprint"])
        if about != fingerprint(potential):
            raise ValueError(
                "the covariances are of other weights than those of the potential: make them "
                "again from the training set"
            )
        process = require(potential, HasProcess).process()
        structures, inducing = _structures(potential), process.inducing
        with torch.no_grad():
            graph = process.graph(structures)
            species = potential.species(graph.numbers)
            nearer = Repulsion.beyond(potential.elements, graph, species)
            known: Conditioned | SparseConditioned
            if inducing is None:
                sizes = _sizes(potential)
                reference = _reference(process, structures[: sizes[0]])
                seen = [
                    _observed(process, structures[end - size : end], reference=reference)
                    for size, end in zip(sizes, np.cumsum(sizes))
                ]
                shared = torch.cat([part.shared for part in seen])
                observations = [one for part in seen for one in part.structures]
                known = Conditioned(observations, process.prior, shared, factor)
            else:
                known = SparseConditioned(inducing, process.prior, factor)
        _READ[factor] = known, nearer
    found: tuple[Conditioned | SparseConditioned, Repulsion] = _READ[factor]
    return found


def _structures(potential: Potential) -> Configurations:
    """Read the structures that a potential learned from."""
    return Configurations.from_bytes(to_bytes(potential.extras[f"{PREFIX}configurations"]))


def _sizes(potential: Potential) -> list[int]:
    """Read how many structures were learned from, and then believed one time after another.

    Observations of those known are in an order of their compositions, and others come after them.
    """
    sizes: list[int] = potential.extras[f"{PREFIX}sizes"].tolist()
    return sizes


def _reference(process: Process, structures: Configurations) -> ReferenceVolumes:
    """Return the volumes at which the energies of the labels are believed."""
    return ReferenceVolumes.of(process.graph(structures), _labels(structures))


def _posterior(
    process: Process, structures: Configurations, targets: Configurations
) -> Posterior | SparsePosterior:
    """Condition a process on targets, by inducing environments if it has some."""
    if (inducing := process.inducing) is None:
        return Posterior(*_observed(process, structures, targets), process.prior)
    reference = _reference(process, targets)

    def parts() -> Iterator[Observed]:
        for first in range(0, len(structures), TOGETHER):
            some = slice(first, first + TOGETHER)
            yield _observed(process, structures[some], targets[some], reference)

    return SparsePosterior(inducing, Observing(parts), process.prior)


def _observed(
    process: Process,
    structures: Configurations,
    targets: Configurations | None = None,
    reference: ReferenceVolumes | None = None,
) -> Observed:
    """Arrange observations of structures: their labels, or other targets if given."""
    graph = process.graph(structures)
    values = _labels(structures if targets is None else targets)
    relative = process.relative(graph, values)
    return observed(process.describe(graph), relative, process.noise, reference)


def _beyond(potential: Potential, process: Process, structures: Configurations) -> Configurations:
    """Return structures with what the process learned of their labels, beyond any prior."""
    whole, mine = potential.predict(structures), process.predict(structures)
    return structures.with_labels(
        structures.energies - whole.energies + mine.energies,
        structures.forces - whole.forces + mine.forces,
        structures.stresses - whole.stresses + mine.stresses,
    )


def _labels(structures: Configurations) -> Prediction:
    return Prediction(
        *(
            torch.tensor(values)
            for values in (structures.energies, structures.forces, structures.stresses)
        )
    )
