"""Second derivatives of the energy at a stationary point, and the modes that they give."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import _amu, _c, _e
from jaxtyping import Bool, Float
from scipy.linalg import null_space

STEP = 0.01
"""Displacement of an atom in Å for central differences of forces."""

ALONE = 4.0
"""Vacuum in Å, along each periodic direction, from which on a molecule in a box turns freely."""


@dataclass(frozen=True, eq=False)
class Modes:
    """Normal modes of the free components of atoms, others are kept where they are.

    Translations of all atoms, and rotations of molecules, are left out where nothing hinders them.
    A molecule in a periodic box is one too: its images hinder it where the box is too small.

    Attributes
    ----------
    eigenvalues
        Of the Hessian in eV/Å², ascending.
    wavenumbers
        Of the modes in 1/cm, ascending; negative ones stand for imaginary ones.
    softest
        Unit vector of the lowest eigenvalue of the Hessian, (atoms, 3).
    """

    eigenvalues: Float[np.ndarray, " modes"]
    wavenumbers: Float[np.ndarray, " modes"]
    softest: Float[np.ndarray, "atoms 3"]

    @property
    def n_imaginary(self) -> int:
        """Number of modes of negative curvature: one at a saddle point, none at a minimum."""
        return int((self.wavenumbers < 0).sum())

    @property
    def said(self) -> str:
        """What there is to say where a saddle point is none of first order, else nothing."""
        if self.n_imaginary == 1:
            return ""
        return (
            f"no saddle point of first order: {self.n_imaginary} modes are imaginary there, "
            "expected 1"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return number and wavenumbers of imaginary modes and the lowest eigenvalue."""
        return {
            "n_imaginary": self.n_imaginary,
            "imaginary_per_cm": np.abs(self.wavenumbers[self.wavenumbers < 0]).tolist(),
            "lowest_eigenvalue": float(self.eigenvalues[0]) if len(self.eigenvalues) else None,
        }


def modes(atoms: Atoms, fixed: Bool[np.ndarray, "atoms 3"], step: float = STEP) -> Modes:
    """Return the modes of atoms by central differences of the forces of their calculator.

    Parameters
    ----------
    fixed
        Which components do not move.
    """
    free = np.flatnonzero(~fixed.ravel())
    second = hessian(atoms, fixed, step)
    freely = unhindered(atoms, fixed)[free]
    space = basis(freely)
    eigenvalues, vectors = np.linalg.eigh(space.T @ second @ space)
    softest = np.zeros(3 * len(atoms))
    if len(eigenvalues):
        softest[free] = space @ vectors[:, 0]
    roots = np.sqrt(np.repeat(atoms.get_masses(), 3)[free])
    space = basis(freely * roots[:, None])
    squares = np.linalg.eigvalsh(space.T @ (second / np.outer(roots, roots)) @ space)
    frequencies = np.sqrt(np.abs(squares) * _e / 1e-20 / _amu) / (2 * np.pi)  # in Hz
    wavenumbers = np.sign(squares) * frequencies / (100 * _c)
    return Modes(eigenvalues, wavenumbers, softest.reshape(-1, 3))


def hessian(
    atoms: Atoms, fixed: Bool[np.ndarray, "atoms 3"], step: float = STEP
) -> Float[np.ndarray, "free free"]:
    """Return second derivatives by the free components, with atoms back where they were."""
    free = np.flatnonzero(~fixed.ravel())
    before = atoms.positions.copy()
    rows = np.empty((len(free), len(free)))
    try:
        for row, component in enumerate(free):
            sides = []
            for sign in (1, -1):
                atoms.positions[:] = before
                atoms.positions.reshape(-1)[component] += sign * step
                sides.append(atoms.get_forces(apply_constraint=False).ravel()[free])
            rows[row] = (sides[1] - sides[0]) / (2 * step)
    finally:
        atoms.positions[:] = before
    return (rows + rows.T) / 2


def unhindered(atoms: Atoms, fixed: Bool[np.ndarray, "atoms 3"]) -> np.ndarray:
    """Return motions (columns) that cost no energy: of all atoms together, none of what is fixed.

    These are translations and, of a molecule, rotations: about the axis of atoms that are fixed,
    about the only one that is, or about all axes.
    """
    n = len(atoms)
    motions = [np.tile(axis, n) for axis in np.eye(3)]
    whole = molecule(atoms)
    if whole is not None:
        arms = whole - whole.mean(axis=0)
        motions += [np.cross(axis, arms).ravel() for axis in np.eye(3)]
    every = np.array(motions).T
    return every @ null_space(every[fixed.ravel()], rcond=1e-6) if fixed.any() else every


def molecule(atoms: Atoms) -> Float[np.ndarray, "atoms 3"] | None:
    """Return the positions of a molecule that no boundary cuts; None for what isn't one.

    Images in a periodic box are told apart by the widest gap between layers of atoms.
    """
    if not atoms.pbc.any():
        return atoms.positions
    cell = np.asarray(atoms.cell.complete())
    places = np.linalg.solve(cell.T, atoms.positions.T)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    for axis in np.flatnonzero(atoms.pbc):
        layers = np.sort(places[axis] % 1.0)
        gaps = np.diff(layers, append=layers[0] + 1.0)
        widest = int(gaps.argmax())
        if gaps[widest] * heights[axis] < ALONE:
            return None
        places[axis] = (places[axis] - layers[widest] - gaps[widest] / 2) % 1.0
    positions: np.ndarray = places.T @ cell
    return positions


def basis(motions: np.ndarray) -> np.ndarray:
    """Return unit vectors (columns) that span all that is orthogonal to some motions."""
    if not motions.shape[1]:
        return np.eye(len(motions))
    left, sizes, _ = np.linalg.svd(motions, full_matrices=True)
    return left[:, int((sizes > 1e-6 * sizes.max(initial=1.0)).sum()) :]
