"""Rows of the design matrix: derivatives of energies, forces, stresses by the parameters."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.watching import in_parts


@dataclass(frozen=True)
class SelectionWeights:
    """What the rows of an active set are made of, as MLIP-3 names it.

    Energies of configurations, or of atoms (``site_en_weight``, the neighbourhood mode), forces
    and stresses; rows of configurations are divided by the number of atoms to the power of
    ``weight_scaling`` / 2.
    """

    energy_weight: float = 1.0
    force_weight: float = 0.0
    stress_weight: float = 0.0
    site_en_weight: float = 0.0
    weight_scaling: int = 2

    def __post_init__(self) -> None:
        """Refuse weights that leave no rows."""
        weights = (self.energy_weight, self.force_weight, self.stress_weight, self.site_en_weight)
        if not all(np.isfinite(weights)) or min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"expected weights of 0 or more, and one above 0, got {weights}")

    @property
    def mode(self) -> str:
        """``neighbourhood`` where atoms have rows of their own, else ``configuration``."""
        return "neighbourhood" if self.site_en_weight else "configuration"

    @property
    def simple(self) -> bool:
        """Whether rows are sums of derivatives of atomic energies, without forces and stresses."""
        return not (self.force_weight or self.stress_weight)

    def scale(self, n_atoms: int) -> float:
        """Compute the factor of rows that are sums over so many atoms."""
        return float(max(n_atoms, 1) ** (-self.weight_scaling / 2))

    def of_sites(self, sites: Float[np.ndarray, "atoms parameters"]) -> np.ndarray:
        """Make the rows of one structure of the parameter gradients of its atomic energies."""
        parts = []
        if self.energy_weight:
            parts.append(
                self.energy_weight * self.scale(len(sites)) * sites.sum(axis=0, keepdims=True)
            )
        if self.site_en_weight:
            parts.append(self.site_en_weight * sites)
        return np.concatenate(parts) if parts else sites[:0]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of some structures, one structure after the other.

    Attributes
    ----------
    values
        The rows.
    owners
        The structure of each.
    equations
        Which of the rows of its structure each is.
    atoms
        The atom of a row of the neighbourhood mode; -1 for other rows.
    """

    values: Float[np.ndarray, "rows parameters"]
    owners: Int[np.ndarray, " rows"]
    equations: Int[np.ndarray, " rows"]
    atoms: Int[np.ndarray, " rows"]


def rows_of(potential: Potential, graph: Graph, weights: SelectionWeights) -> Rows:
    """Compute the rows of all equations of the structures of a graph.

    For a structure: its energy, the energies of its atoms, the components of its forces, the nine
    of its virial, as far as these have weights (and there is a virial).
    """
    counts = graph.counts.tolist()
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    with_sites = bool(weights.energy_weight or weights.site_en_weight)
    sites = _numpy(potential.parameter_gradients(graph)) if with_sites else None
    forces = virials = None
    if not weights.simple:
        derivatives = potential.prepare(graph).derivatives(potential)
        forces = _numpy(derivatives.forces.movedim(0, -1))
        virials = _numpy((derivatives.stresses * graph.volumes[:, None, None]).movedim(0, -1))
    nothing = np.zeros((0, n_parameters(potential)))
    parts, atoms = [nothing], [np.zeros(0, int)]
    for i, n in enumerate(counts):
        mine, scale = slice(offsets[i], offsets[i + 1]), weights.scale(n)
        blocks = [nothing if sites is None else weights.of_sites(sites[mine])]
        if forces is not None and weights.force_weight:
            blocks.append(weights.force_weight * forces[mine].reshape(3 * n, -1))
        if virials is not None and weights.stress_weight and np.isfinite(virials[i]).all():
            blocks.append(weights.stress_weight * scale * virials[i].reshape(9, -1))
        parts.append(np.concatenate(blocks))
        atom = np.full(len(parts[-1]), -1)
        if weights.site_en_weight:
            first = 1 if weights.energy_weight else 0
            atom[first : first + n] = np.arange(offsets[i], offsets[i + 1])
        atoms.append(atom)
    sizes = [len(part) for part in parts[1:]]
    return Rows(
        np.concatenate(parts),
        np.repeat(np.arange(len(sizes)), sizes),
        np.concatenate([np.arange(size) for size in [0, *sizes]]),
        np.concatenate(atoms),
    )


def batches(
    potential: Potential,
    configurations: Configurations,
    weights: SelectionWeights,
    size: int = 10_000,
) -> Iterator[Rows]:
    """Yield the rows of structures in batches of about ``size`` rows."""
    parts: list[Rows] = []
    for part in _chunks(potential, configurations, weights):
        parts.append(part)
        if sum(len(p.owners) for p in parts) >= size:
            yield _together(parts)
            parts = []
    if parts:
        yield _together(parts)


def _chunks(
    potential: Potential,
    configurations: Configurations,
    weights: SelectionWeights,
    n_atoms: int = 1000,
) -> Iterator[Rows]:
    """Yield the rows of so few structures at a time that their graph is small."""
    for part in in_parts(configurations.slices(n_atoms), "structures graded"):
        graph = potential.graph(configurations[part])
        rows = rows_of(potential, graph, weights)
        atoms = np.where(rows.atoms >= 0, rows.atoms + configurations.offsets[part.start], -1)
        yield Rows(rows.values, rows.owners + part.start, rows.equations, atoms)


def _together(parts: list[Rows]) -> Rows:
    names = ("values", "owners", "equations", "atoms")
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def n_parameters(potential: Potential) -> int:
    """Count the parameters of a potential that are not fixed: the length of its rows."""
    return sum(p.numel() for p in potential.parameters() if p.requires_grad)


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().cpu().double().numpy()
    return array
