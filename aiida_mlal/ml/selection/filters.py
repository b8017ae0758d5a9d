"""What is not worth a label: impossible structures, and those that are known already."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii
from jaxtyping import Bool, Float

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import CANDIDATE, PREDICTED_ENERGY, PREDICTED_FORCES
from aiida_mlal.ml.neighbours import closest_approach, complete_cell, edge_vectors, neighbours

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential

SMALL = 64
"""Most atoms of a molecule all of whose distances are computed."""

SAME = 1e-6
"""Largest displacement in Å of structures that are the same but for rounding."""


@dataclass(frozen=True)
class Rejection:
    """A structure that passed no filter, why in words, and if so, that it is a duplicate."""

    index: int
    reason: str
    duplicate: bool


@dataclass(frozen=True)
class Filters:
    """Limits outside which a structure is not labelled; ``None`` switches a filter off.

    Attributes
    ----------
    min_distance
        Smallest distance of two atoms, in units of the sum of their covalent radii.
    min_distance_angstrom
        The same in Å.
    max_force
        Largest predicted force on an atom in eV/Å.
    duplicate
        Two structures are the same if no atom is displaced by more than this, in Å. Atoms are
        compared in their order, cells by their vectors.
    """

    min_distance: float | None = 0.5
    min_distance_angstrom: float | None = None
    max_force: float | None = None
    duplicate: float | None = 1e-3

    def __post_init__(self) -> None:
        """Refuse limits that are not above 0."""
        for name in ("min_distance", "min_distance_angstrom", "max_force", "duplicate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: expected a number above 0 or null, got {value}")

    @classmethod
    def off(cls) -> "Filters":
        """Return filters that take out only what has no features at all."""
        return cls(min_distance=None, duplicate=None)

    def reject(
        self,
        pool: Configurations,
        train: Configurations,
        finals: Iterable[int] = (),
        potential: "Potential | None" = None,
    ) -> list[Rejection]:
        """Return the structures of a pool that are not worth a label.

        These are also those that a simulation did not mark as a ``candidate``, since it was
        certain enough of them, unless they are in ``finals``.
        Structures in ``finals`` are duplicates only of exactly the same structure, whatever the
        tolerance; of the others, the first one of a set of duplicates is kept.
        """
        finals = sorted(finals)
        rejected = {r.index: r for r in _certain(pool, set(finals))}
        rejected |= {r.index: r for r in self._impossible(pool, potential)}
        order = [*finals, *np.setdiff1d(np.arange(len(pool)), finals).tolist()]
        order = [i for i in order if i not in rejected]
        if self.duplicate is not None:
            rejected |= {r.index: r for r in self._duplicates(pool, train, order, set(finals))}
        return [rejected[i] for i in sorted(rejected)]

    def _impossible(
        self, pool: Configurations, potential: "Potential | None"
    ) -> Iterator[Rejection]:
        finite = _finite(pool)
        forces = self._predicted_forces(pool, potential, finite)
        apart = _apart(pool, self.min_distance or 0.0, self.min_distance_angstrom or 0.0)
        for i in range(len(pool)):
            if not finite[i]:
                yield Rejection(i, "positions, cell or predictions are not finite", False)
                continue
            problem = "" if apart[i] else self._too_close(pool[i])
            if not problem and self.max_force is not None and not forces[i] <= self.max_force:
                problem = f"predicted force {forces[i]:.4g} eV/Å is above {self.max_force:g} eV/Å"
            if problem:
                yield Rejection(i, problem, False)

    def _too_close(self, one: Configurations) -> str:
        geometry = one.positions, one.cells[0], one.pbc[0]
        if self.min_distance is not None:
            closest = closest_approach(one.numbers, *geometry)
            if closest < self.min_distance:
                return (
                    f"two atoms are at {closest:.3g} of the sum of their covalent radii, "
                    f"below {self.min_distance:g}"
                )
        if self.min_distance_angstrom is not None:
            pairs, shifts = neighbours(*geometry, self.min_distance_angstrom)
            if pairs.shape[1]:
                distances = np.linalg.norm(edge_vectors(*geometry[:2], pairs, shifts), axis=1)
                return (
                    f"two atoms are {distances.min():.3g} Å apart, "
                    f"below {self.min_distance_angstrom:g} Å"
                )
        return ""

    def _predicted_forces(
        self,
        pool: Configurations,
        potential: "Potential | None",
        finite: Bool[np.ndarray, " pool"],
    ) -> Float[np.ndarray, " pool"]:
        """Return the largest predicted force of each structure, where the filter needs it."""
        largest = np.full(len(pool), np.nan)
        if self.max_force is None:
            return largest
        if PREDICTED_FORCES.is_in(pool):
            asked, forces = pool, _or_labelled(PREDICTED_FORCES.of(pool), pool.forces)
            which = np.arange(len(pool))
        elif potential is not None:
            which = np.flatnonzero(finite)
            asked = potential.predict(pool[which])
            forces = asked.forces
        else:
            raise ValueError(
                "filters.max_force: the structures of the pool carry no 'predicted_forces', and "
                "no potential was given that could tell them"
            )
        largest[which] = 0.0
        np.maximum.at(largest, which[asked.owner], np.linalg.norm(forces, axis=1))
        return largest

    def _duplicates(
        self, pool: Configurations, train: Configurations, order: list[int], finals: set[int]
    ) -> Iterator[Rejection]:
        known, kept, status = Twins(), Twins(), train.status
        for label, one in enumerate(train):
            known.add(label, one)
        for i in order:
            tolerance = SAME if i in finals else self.duplicate or 0.0
            one = pool[i]
            twin = known.find(one, tolerance)
            if twin is not None:
                what = "labelled" if status[twin] == OK else f"tried ({status[twin]})"
                yield Rejection(i, f"{what} already: structure {twin} of train", True)
                continue
            twin = kept.find(one, tolerance)
            if twin is not None:
                yield Rejection(i, f"duplicate of structure {twin} of the pool", True)
                continue
            kept.add(i, one)


class Twins:
    """Known structures, searched for one that differs by small displacements only."""

    def __init__(self) -> None:
        self._groups: dict[tuple[bytes, bytes], _Group] = {}

    def add(self, label: int, one: Configurations) -> None:
        """Remember a structure (a batch of one) under a label."""
        self._group(one).add(label, one)

    def find(self, one: Configurations, tolerance: float) -> int | None:
        """Return the label of the first structure within ``tolerance`` (Å), if there is one."""
        return self._group(one).find(one, tolerance)

    def _group(self, one: Configurations) -> "_Group":
        key = one.numbers.tobytes(), one.pbc.tobytes()
        return self._groups.setdefault(key, _Group(len(one.numbers)))


class _Group:
    """Structures of the same atoms in the same order."""

    def __init__(self, n_atoms: int) -> None:
        self._labels: list[int] = []
        self._positions = np.zeros((0, n_atoms, 3))
        self._cells = np.zeros((0, 3, 3))

    def add(self, label: int, one: Configurations) -> None:
        n = len(self._labels)
        if n == len(self._positions):  # room for as many again
            self._positions = np.concatenate([self._positions, np.zeros_like(self._positions)])
            self._positions = np.concatenate([self._positions, one.positions[None]])
            self._cells = np.concatenate([self._cells, np.zeros_like(self._cells), one.cells])
        self._positions[n], self._cells[n] = one.positions, one.cells[0]
        self._labels.append(label)

    def find(self, one: Configurations, tolerance: float) -> int | None:
        n = len(self._labels)
        positions, cell, pbc = one.positions, one.cells[0], one.pbc[0]
        if not n or not len(positions):
            return None
        complete = complete_cell(cell, pbc)
        inverse = np.linalg.pinv(complete) if pbc.any() else None

        def displacements(others: np.ndarray, here: np.ndarray) -> np.ndarray:
            apart = others - here
            if inverse is not None:
                apart -= np.where(pbc, np.round(apart @ inverse), 0.0) @ complete
            return np.asarray(np.linalg.norm(apart, axis=-1))

        # one atom rules out most structures; take one that moves
        moving = int(displacements(self._positions[n - 1], positions).argmax())
        near = displacements(self._positions[:n, moving], positions[moving]) <= tolerance
        near &= np.abs(self._cells[:n] - cell).max(axis=(1, 2)) <= tolerance
        for i in np.flatnonzero(near):
            if displacements(self._positions[i], positions).max() <= tolerance:
                return self._labels[i]
        return None


def _apart(
    pool: Configurations, of_radii: float, angstrom: float
) -> Bool[np.ndarray, " structures"]:
    """Mark molecules that surely have no atoms nearer than this; of others it is not known.

    Molecules of one size are looked at together, as there may be very many in a pool.
    """
    are_apart = np.zeros(len(pool), bool)
    radii = covalent_radii[pool.numbers]
    small = ~pool.pbc.any(axis=1) & (pool.counts <= SMALL)
    for n in np.unique(pool.counts[small]):
        upper = np.triu_indices(n, 1)
        members = np.flatnonzero(small & (pool.counts == n))
        for some in np.array_split(members, len(members) // 1000 + 1):
            atoms = pool.offsets[some][:, None] + np.arange(n)
            positions, sizes = pool.positions[atoms], radii[atoms]
            distances = np.linalg.norm(positions[:, upper[0]] - positions[:, upper[1]], axis=2)
            limits = of_radii * (sizes[:, upper[0]] + sizes[:, upper[1]])
            are_apart[some] = (distances > np.maximum(limits, angstrom) * (1 + 1e-9)).all(axis=1)
    return are_apart


def _certain(pool: Configurations, finals: set[int]) -> Iterator[Rejection]:
    for i, candidate in enumerate(CANDIDATE.of(pool)):
        if not candidate and i not in finals:
            yield Rejection(i, "below the uncertainty from which the guard selects", False)


def _finite(pool: Configurations) -> Bool[np.ndarray, " pool"]:
    good = np.isfinite(pool.cells).all(axis=(1, 2))
    good[pool.owner[~np.isfinite(pool.positions).all(axis=1)]] = False
    if PREDICTED_ENERGY.is_in(pool):
        good &= np.isfinite(_or_labelled(PREDICTED_ENERGY.of(pool), pool.energies))
    if PREDICTED_FORCES.is_in(pool):
        forces = _or_labelled(PREDICTED_FORCES.of(pool), pool.forces)
        good[pool.owner[~np.isfinite(forces).all(axis=1)]] = False
    return good


def _or_labelled(predicted: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Take labels where nothing is predicted, as for the first structures of a campaign."""
    return np.where(np.isfinite(predicted), predicted, labelled)
