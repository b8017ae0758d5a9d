"""Whether labelled energies change from structure to structure as forces and stresses say."""

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations

NEAR, STRAINED = 0.5, 0.03
"""Most that an atom (in Å) and a cell may be away for forces to tell the change of an energy."""

LEAST, MOST = 0.35, 1.3
"""By which factor energies may change as much. Of rattled crystals, slabs and molecules it is 0.4
to 1.1: atoms repel more than they attract, so that the rule says too much over long ways."""

ALIKE = 0.9
"""The correlation from which the factor means something."""

FEW = 5
"""Fewest pairs of structures that tell it."""


def inconsistencies(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if forces are not the derivatives of the energies.

    Structures that follow each other, of the same atoms little apart, tell: by the trapezoidal rule
    the energy changes by the mean force times the displacement, and by the mean stress times the
    strain and the volume. Units that don't belong together, and another sign, are a factor.
    """
    pairs = [_changes(labelled[i], labelled[i + 1]) for i in range(len(labelled) - 1)]
    told, found = np.array([pair for pair in pairs if pair is not None]).reshape(-1, 2).T
    size = float(np.linalg.norm(told) * np.linalg.norm(found))
    if len(told) < FEW or not size or abs(told @ found) < ALIKE * size:
        return []
    factor = float(told @ found / (told @ told))
    if LEAST < factor < MOST:
        return []
    return [
        f"labelled energies change by {factor:.2g} times what forces and stresses say, between "
        f"{len(told)} pairs of structures: are their units eV/Å and eV/Å³, and their signs right?"
    ]


def _changes(one: Configurations, other: Configurations) -> tuple[float, float] | None:
    """Return by how much the energy changes, by forces and by labels; None if that cannot be told.

    Both are for an atom, so that large structures count as others do.
    """
    if not np.array_equal(one.numbers, other.numbers) or not len(one.numbers):
        return None
    if not np.array_equal(one.pbc, other.pbc):
        return None
    work, cell = 0.0, other.cells[0]
    positions = one.positions
    if not np.array_equal(one.cells, other.cells):
        if not one.pbc.all():
            return None
        deformation = np.linalg.solve(one.cells[0], cell)
        strain = (deformation + deformation.T) / 2 - np.eye(3)
        if np.abs(deformation - np.eye(3)).max() > STRAINED:
            return None
        positions = positions @ deformation
        work = float((_virial(one) + _virial(other)).ravel() @ strain.ravel()) / 2
    apart = other.positions - positions
    if one.pbc.all():
        apart -= np.round(apart @ np.linalg.inv(cell)) @ cell
    if not np.linalg.norm(apart, axis=1).max() < NEAR:
        return None
    work -= float((one.forces + other.forces).ravel() @ apart.ravel()) / 2
    change = float(other.energies[0] - one.energies[0])
    if not np.isfinite([work, change]).all():
        return None
    return work / len(apart), change / len(apart)


def _virial(one: Configurations) -> Float[np.ndarray, "3 3"]:
    found: np.ndarray = one.stresses[0] * abs(np.linalg.det(one.cells[0]))
    return found
