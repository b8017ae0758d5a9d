"""Whether labelled energies change from structure to structure as forces and stresses say."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from aiida_mlal.ml.configurations import Configurations

NEAR, STRAINED = 0.5, 0.08
"""Most that an atom (in Å) and a cell may be away for forces to tell the change of an energy."""

LEAST, MOST = 0.35, 1.3
"""By which factor energies may change as much. Of rattled crystals, slabs and molecules it is 0.4
to 1.1: atoms repel more than they attract, so that the rule says too much over long ways."""

ALIKE = 0.9
"""The correlation from which factors mean something."""

UNLIKE = 0.5
"""Correlation of changes of energies with what forces or stresses say, over short ways, below which
these are of something else. Of crystals in motion, slabs, molecules and relaxations it is 0.8 to
1.0, of forces that are turned, or of other atoms or structures, -0.6 to 0.5."""

MATTERS = 0.3
"""Share, as a root of squares, of the changes from which on something is asked of what is said."""

MOVED = 0.01
"""Way in Å that an atom doesn't go without a force."""

LITTLE = 0.4
"""Way in Å that is short."""

AUDIBLE = 5e-4
"""Changes of energies, in eV/atom, that are not the noise of a code."""

FEW, MANY = 5, 200
"""Fewest pairs of structures that tell it, and how many are enough."""

SHORT = 0.05
"""Way in Å from which on pairs count less: the error of the rule grows with its third power."""

FARTHEST = 20
"""Most places that structures of a pair are from each other in the data set."""

NOTHING = 1e-6
"""Share of the changes of energies that forces which vanish by symmetry may say."""

ERRORS = 3.0
"""Standard errors by which a factor must be off."""


def inconsistencies(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if forces are not the derivatives of the energies.

    Structures near each other in the data set, of the same atoms little apart, tell: by the
    trapezoidal rule the energy changes by the mean force times the displacement, and by the mean
    stress times the strain and the volume. Units that don't belong together, and another sign, are
    factors, of forces and of stresses each: those of a regression in which pairs count less the
    longer their way is. What is no factor, as of forces that are turned, or of other atoms or
    structures, is seen over short ways, where forces and stresses tell of nearly all changes.
    Between a minimum and a saddle point forces say nothing of the energy.
    """
    pairs = _pairs(labelled)
    found = pairs.fit()
    if found is not None and found.explained > ALIKE**2 and (wrong := found.wrong_factors()):
        return wrong
    near = pairs.take(pairs.ways < LITTLE)
    if len(near.ways) < FEW or np.sqrt(np.mean(near.changes**2)) < AUDIBLE:
        return []
    doubtful = near.unlike()
    if not np.any(labelled.forces) and near.displaced.min() > MOVED:
        doubtful = {"forces": 0.0} | doubtful
    if not doubtful:
        return []
    which = " and ".join(f"{name} (correlation {value:.2f})" for name, value in doubtful.items())
    return [
        f"labelled energies of {len(near.ways)} pairs of structures little apart change otherwise "
        f"than {which} say: are these of the same structures, for atoms in the same order, along "
        "the axes of the positions?"
    ]


class _Fit(NamedTuple):
    """By which factors energies change, of what forces and stresses say.

    Attributes
    ----------
    names
        Forces and stresses, where they say anything.
    factors, errors
        Of these, and how far they are known.
    explained
        Share of the changes, squared, that they tell of.
    n_pairs
        Of how many pairs.
    """

    names: Sequence[str]
    factors: Float[np.ndarray, " names"]
    errors: Float[np.ndarray, " names"]
    explained: float
    n_pairs: int

    def wrong_factors(self) -> list[str]:
        """Say, in one sentence or none, which are no factors of right labels."""
        low, high = self.factors - self.errors, self.factors + self.errors
        which = " and ".join(
            f"{factor:.2g} times what {name} say"
            for name, factor, wrong in zip(self.names, self.factors, (high < LEAST) | (low > MOST))
            if wrong
        )
        if not which:
            return []
        return [
            f"labelled energies change by {which}, between {self.n_pairs} pairs of structures: are "
            "their units eV/Å and eV/Å³, and their signs right?"
        ]


class _Pairs(NamedTuple):
    """Pairs of structures, those of longer ways counting less in a fit.

    Attributes
    ----------
    told
        Changes of energies (eV/atom) by forces and by stresses.
    changes
        Those of the labels.
    ways
        Of the atom that goes farthest, in Å, with what the strain moves neighbours by.
    displaced
        The same without it.
    """

    told: Float[np.ndarray, "pairs 2"]
    changes: Float[np.ndarray, " pairs"]
    ways: Float[np.ndarray, " pairs"]
    displaced: Float[np.ndarray, " pairs"]

    def take(self, chosen: Bool[np.ndarray, " pairs"]) -> "_Pairs":
        return _Pairs(*(part[chosen] for part in self))

    def fit(self) -> _Fit | None:
        """Fit factors of forces and of stresses; None if nothing is told, or by too few."""
        told, changed = self._weighted()
        tell = np.linalg.norm(told, axis=0) > NOTHING * np.linalg.norm(changed)
        names, told = np.array(["forces", "stresses"])[tell], told[:, tell]
        if len(told) < max(FEW, told.shape[1] + 1) or not len(names):
            return None
        factors, *_ = np.linalg.lstsq(told, changed, rcond=None)
        rest = float(np.sum((changed - told @ factors) ** 2))
        variance = rest / (len(told) - len(names))
        errors = ERRORS * np.sqrt(variance * np.diag(np.linalg.pinv(told.T @ told)))
        explained = 1 - rest / max(float(changed @ changed), 1e-300)
        return _Fit(names.tolist(), factors, errors, explained, len(told))

    def unlike(self) -> dict[str, float]:
        """Find what energies do not change by, and its correlation, the other's part left out."""
        (told, changed), found = self._weighted(), dict[str, float]()
        for name, mine, other in zip(("forces", "stresses"), told.T, told.T[::-1]):
            square = max(float(other @ other), 1e-300)
            mine, rest = (part - other * (other @ part) / square for part in (mine, changed))
            size, of_rest = float(np.linalg.norm(mine)), float(np.linalg.norm(rest))
            if size < MATTERS * np.linalg.norm(changed):
                continue
            correlation = float(mine @ rest) / max(size * of_rest, 1e-300)
            if correlation < UNLIKE:
                found[name] = correlation
        if not found and (fit := self.fit()) is not None and fit.explained < UNLIKE**2:
            return {" and ".join(fit.names): max(fit.explained, 0.0) ** 0.5}
        return found

    def _weighted(self) -> tuple[Float[np.ndarray, "pairs 2"], Float[np.ndarray, " pairs"]]:
        weights = 1 / np.maximum(self.ways, SHORT) ** 3
        return self.told * weights[:, None], self.changes * weights


def _pairs(labelled: Configurations) -> _Pairs:
    """Tabulate changes of energies between structures that are near each other in the data set."""
    pairs: list[tuple[float, ...]] = []
    for apart in range(1, min(len(labelled), FARTHEST + 1)):
        if len(pairs) >= MANY:
            break
        n = len(labelled) - apart
        for i in range(0, n, -(-n // MANY)):
            if (pair := _changes(labelled[i], labelled[i + apart])) is not None:
                pairs.append(pair)
    rows = np.array(pairs).reshape(-1, 5)
    return _Pairs(rows[:, :2], *rows[:, 2:].T)


def _changes(one: Configurations, other: Configurations) -> tuple[float, ...] | None:
    """Return the change of the energy: by forces, by stresses and by labels; None if unknown.

    All are for an atom, so that large structures count as others do. The last numbers are the way
    of the atom that goes farthest, in Å, with and without what the strain moves neighbours by.
    """
    if not np.array_equal(one.numbers, other.numbers) or not len(one.numbers):
        return None
    if not np.array_equal(one.pbc, other.pbc):
        return None
    strained, cell, stretch = 0.0, other.cells[0], 0.0
    positions = one.positions
    if not np.array_equal(one.cells, other.cells):
        if not one.pbc.all():
            return None
        deformation = np.linalg.solve(one.cells[0], cell)
        strain = (deformation + deformation.T) / 2 - np.eye(3)
        if np.abs(deformation - np.eye(3)).max() > STRAINED:
            return None
        spacing = (abs(np.linalg.det(cell)) / len(positions)) ** (1 / 3)
        stretch = float(np.linalg.norm(strain, 2)) * spacing
        positions = positions @ deformation
        strained = float((_virial(one) + _virial(other)).ravel() @ strain.ravel()) / 2
    apart = other.positions - positions
    if one.pbc.all():
        apart -= np.round(apart @ np.linalg.inv(cell)) @ cell
    way = float(np.linalg.norm(apart, axis=1).max())
    if not way < NEAR:
        return None
    moved = -float((one.forces + other.forces).ravel() @ apart.ravel()) / 2
    change = float(other.energies[0] - one.energies[0])
    if not np.isfinite([moved, strained, change]).all():
        return None
    n = len(apart)
    return moved / n, strained / n, change / n, max(way, stretch), way


def _virial(one: Configurations) -> Float[np.ndarray, "3 3"]:
    virial: np.ndarray = one.stresses[0] * abs(np.linalg.det(one.cells[0]))
    return virial
