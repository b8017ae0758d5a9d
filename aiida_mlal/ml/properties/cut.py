"""Crystals cut along a plane: for surfaces and stacking faults."""

from itertools import product

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from jaxtyping import Float, Int


def oriented(cell: Atoms, plane: tuple[int, int, int], thickness: float) -> Atoms:
    """Return a periodic cell of the crystal with two lattice vectors in a plane.

    The boundary between the last layer and the first of the next cell is in the middle of the
    widest gap between layers.

    Parameters
    ----------
    plane
        Miller indices for the cell.
    thickness
        Along the normal in Å, at least.
    """
    basis = _basis(cell, np.array(plane))
    lattice = basis @ cell.cell.array
    normal = np.cross(lattice[0], lattice[1])
    height = abs(lattice[2] @ normal) / np.linalg.norm(normal)
    layers = max(1, int(np.ceil(thickness / height - 1e-6)))
    slab: Atoms = make_supercell(cell, np.diag([1, 1, layers]) @ basis)
    heights = slab.get_scaled_positions()[:, 2] % 1
    levels = np.sort(heights)
    gaps = np.diff([*levels, levels[0] + 1])
    widest = int(np.flatnonzero(gaps > gaps.max() - 1e-6)[0])
    scaled = slab.get_scaled_positions()
    scaled[:, 2] -= levels[widest] + gaps[widest] / 2
    slab.set_scaled_positions(scaled % 1)
    return slab


def displaced(slab: Atoms, shift: Float[np.ndarray, " 3"]) -> Atoms:
    """Return a cell in which each image along the third axis is displaced from the one before."""
    moved = slab.copy()
    moved.cell[2] = moved.cell[2] + shift
    return moved


def area_of(slab: Atoms) -> float:
    """Return the area of the plane of a cell, in Å²."""
    return float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))


def normal_of(slab: Atoms) -> Float[np.ndarray, " 3"]:
    """Return the unit vector along the normal, on the side of the third axis."""
    normal = np.cross(slab.cell[0], slab.cell[1])
    unit: np.ndarray = normal / np.linalg.norm(normal) * np.sign(normal @ slab.cell[2])
    return unit


def _basis(cell: Atoms, plane: Int[np.ndarray, " 3"]) -> Int[np.ndarray, "3 3"]:
    """Return lattice vectors of the same volume: the shortest ones in the plane, and one across."""
    if not plane.any() or np.gcd.reduce(plane) != 1:
        raise ValueError(
            f"expected Miller indices of a plane without a common divisor, got {plane.tolist()}"
        )
    reach = range(-max(3, abs(plane).max()), max(3, abs(plane).max()) + 1)
    vectors = np.array([v for v in product(reach, repeat=3) if any(v)])
    order = np.linalg.norm(vectors @ cell.cell.array, axis=1).round(6).argsort(kind="stable")
    vectors = vectors[order]
    inside, across = vectors[vectors @ plane == 0], vectors[vectors @ plane == 1]
    first = inside[0]
    for second in inside[1:]:
        crossed = np.cross(first, second)
        if crossed.any() and np.gcd.reduce(crossed) == 1:
            basis = np.array([first, second, across[0]])
            return basis if np.linalg.det(basis) > 0 else basis[[1, 0, 2]]
    raise ValueError(f"no lattice vectors are found in the plane {plane.tolist()}")
