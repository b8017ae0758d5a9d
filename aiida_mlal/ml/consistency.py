"""Whether labelled energies change from structure to structure as forces and stresses say."""

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations

NEAR, STRAINED = 0.5, 0.08
"""Most that an atom (in Å) and a cell may be away for forces to tell the change of an energy."""

LEAST, MOST = 0.35, 1.3
"""By which factor energies may change as much. Of rattled crystals, slabs and molecules it is 0.4
to 1.1: atoms repel more than they attract, so that the rule says too much over long ways."""

ALIKE = 0.9
"""The correlation from which factors mean something."""

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
    longer their way is. Between a minimum and a saddle point forces say nothing of the energy.
    """
    told, changed = _pairs(labelled)
    tell = np.linalg.norm(told, axis=0) > NOTHING * np.linalg.norm(changed)
    names, told = np.array(["forces", "stresses"])[tell], told[:, tell]
    if len(told) < max(FEW, told.shape[1] + 1) or not len(names):
        return []
    factors, *_ = np.linalg.lstsq(told, changed, rcond=None)
    rest = float(np.sum((changed - told @ factors) ** 2))
    if not 1 - rest / max(float(changed @ changed), 1e-300) > ALIKE**2:
        return []
    variance = rest / (len(told) - len(names))
    errors = ERRORS * np.sqrt(variance * np.diag(np.linalg.pinv(told.T @ told)))
    wrong = (factors + errors < LEAST) | (factors - errors > MOST)
    if not wrong.any():
        return []
    which = " and ".join(
        f"{factor:.2g} times what {name} say" for name, factor in zip(names[wrong], factors[wrong])
    )
    return [
        f"labelled energies change by {which}, between {len(told)} pairs of structures: are their "
        "units eV/Å and eV/Å³, and their signs right?"
    ]


def _pairs(
    labelled: Configurations,
) -> tuple[Float[np.ndarray, "pairs 2"], Float[np.ndarray, " pairs"]]:
    """Tabulate energy changes (eV/atom) by forces and stresses, and those of the labels, weighted.

    See ``_changes``.
    """
    pairs: list[tuple[float, float, float, float]] = []
    for apart in range(1, min(len(labelled), FARTHEST + 1)):
        if len(pairs) >= MANY:
            break
        n = len(labelled) - apart
        for i in range(0, n, -(-n // MANY)):
            if (pair := _changes(labelled[i], labelled[i + apart])) is not None:
                pairs.append(pair)
    rows = np.array(pairs).reshape(-1, 4)
    rows[:, :3] /= np.maximum(rows[:, 3:], SHORT) ** 3
    return rows[:, :2], rows[:, 2]


def _changes(
    one: Configurations, other: Configurations
) -> tuple[float, float, float, float] | None:
    """Return the change of the energy: by forces, by stresses and by labels; None if unknown.

    All are for an atom, so that large structures count as others do. The last number is the way of
    the atom that goes farthest, in Å, with what the strain moves neighbours by.
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
    return moved / n, strained / n, change / n, max(way, stretch)


def _virial(one: Configurations) -> Float[np.ndarray, "3 3"]:
    virial: np.ndarray = one.stresses[0] * abs(np.linalg.det(one.cells[0]))
    return virial
