"""Constraints of ASE that keep atoms from moving along x, y or z."""

from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixScaled,
)
from jaxtyping import Bool


def of_ase(atoms: Atoms) -> tuple[Bool[np.ndarray, "atoms 3"], str]:
    """Return the components that constraints fix, and the names of constraints of other kinds.

    Raises
    ------
    ValueError
        For constraints of atoms that there are not.
    """
    fixed, others = np.zeros((len(atoms), 3), bool), []
    for constraint in atoms.constraints:
        along = _fixed_axes(constraint, atoms)
        if along is None:
            others.append(type(constraint).__name__)
            continue
        try:
            fixed[constraint.index] |= along
        except IndexError as error:
            raise ValueError(
                f"its {type(constraint).__name__} is of the atoms {np.asarray(constraint.index)}, "
                f"counted from 0, and there are {len(atoms)}"
            ) from error
    return fixed, ", ".join(dict.fromkeys(others))


def to_ase(fixed: Bool[np.ndarray, "atoms 3"]) -> list[FixConstraint]:
    """Return the constraints that fix components of atoms."""
    return [
        FixAtoms(index) if mask.all() else FixCartesian(index, mask)
        for mask, index in _groups(fixed)
    ]


def scaled(atoms: Atoms, fixed: Bool[np.ndarray, "atoms 3"]) -> list[FixConstraint]:
    """Return constraints along lattice vectors, as POSCAR has them, that fix the components.

    Those are left out that are not along lattice vectors.
    """
    masks = {}
    for mask in product((True, False), repeat=3):
        along = _fixed_axes(FixScaled([0], mask), atoms)
        if along is not None:
            masks[tuple(along.tolist())] = mask
    return [
        FixScaled(index, masks[tuple(mask.tolist())])
        for mask, index in _groups(fixed)
        if tuple(mask.tolist()) in masks
    ]


def _groups(fixed: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group atoms by their fixed components: a mask of components, and indices of atoms."""
    masks = [mask for mask in np.unique(fixed, axis=0) if mask.any()]
    return [(mask, np.flatnonzero((fixed == mask).all(axis=1))) for mask in masks]


def _fixed_axes(constraint: Any, atoms: Atoms) -> np.ndarray | None:
    """Mask the axes along which a constraint fixes atoms; None for constraints of other kinds."""
    if isinstance(constraint, FixAtoms):
        return np.ones(3, bool)
    if isinstance(constraint, FixCartesian):
        return np.asarray(constraint.mask, bool)
    if isinstance(constraint, FixedPlane):
        free = np.linalg.svd(np.asarray(constraint.dir, float)[None])[2][1:]
    elif isinstance(constraint, FixedLine):
        free = np.asarray(constraint.dir, float)[None]
    elif isinstance(constraint, FixScaled):
        free = atoms.cell.complete().array[~np.asarray(constraint.mask, bool)]
    else:
        return None
    used = (np.abs(free) > 1e-8 * np.linalg.norm(free, axis=1, keepdims=True)).any(axis=0)
    return ~used if np.sum(used) == len(free) else None
