"""Who is near whom, periodic images included, in numpy alone."""

import sys
from functools import cache
from typing import Any

import numpy as np
from ase.data import covalent_radii
from jaxtyping import Float, Int

MOST_IMAGES = 1e5
"""Of a cell within the cutoff: 46 along each vector, where real cells have some ten."""


def neighbours(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: np.ndarray,
    cutoff: float,
) -> tuple[Int[np.ndarray, "2 edges"], Int[np.ndarray, "edges 3"]]:
    """Return all ordered pairs within ``cutoff`` (Å), and the shift of the second in cells."""
    complete = complete_cell(cell, pbc)
    _check_cell(complete, pbc, cutoff)
    if len(positions) and np.ptp(positions, axis=0).max() > _WIDE * cutoff:
        positions = _without_gaps(positions, complete, pbc, cutoff)
    finder = _neighbour_list()(cutoff=cutoff, full_list=True, sorted=True)
    i, j, shifts = finder.compute(positions, complete, list(map(bool, pbc)), "ijS")
    return np.stack([i, j]).astype(np.int64), shifts.astype(np.int64)


@cache
def _neighbour_list() -> Any:
    """Return the search of vesin, for arrays only.

    For tensors it imports torch where that is installed: 1.5 s and 300 MB in each process that
    labels or selects. It does without where torch cannot be imported.
    """
    without = "torch" not in sys.modules
    if without:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from vesin import NeighborList
    finally:
        if without:
            del sys.modules["torch"]
    return NeighborList


MOST_BINS = 1e5
"""Boxes of a cutoff that vesin divides a cell into; of more it makes fewer along all vectors."""


def _check_cell(cell: Float[np.ndarray, "3 3"], pbc: np.ndarray, cutoff: float) -> None:
    """Refuse a cell whose neighbours would never be found, or end the process.

    That is one with too many images within the cutoff, and one so long beside its width that vesin
    divides it into no box across, and by this zero.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    bins = np.maximum(heights // cutoff, 1)[np.asarray(pbc, bool)]
    if len(bins) and bins.min() < (bins.prod() / MOST_BINS) ** (1 / 3):
        raise ValueError(
            f"the cell is too long beside its width to look for neighbours within {cutoff:g} Å, "
            f"its heights are {', '.join(f'{height:.3g}' for height in heights)} Å"
        )
    images = float(np.prod((2 * cutoff / heights + 1)[np.asarray(pbc, bool)]))
    if not images < MOST_IMAGES:
        raise ValueError(
            f"the cell has {images:.2g} images within {cutoff:g} Å, its heights are "
            f"{', '.join(f'{height:.3g}' for height in heights)} Å"
        )


def edge_vectors(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pairs: Int[np.ndarray, "2 edges"],
    shifts: Int[np.ndarray, "edges 3"],
) -> Float[np.ndarray, "edges 3"]:
    """Return the vectors of edges from the positions that the atoms have now, in Å."""
    return positions[pairs[1]] - positions[pairs[0]] + shifts @ cell


THINNEST = 0.1
"""Height of a cell in Å, along a vector that it is periodic along, below which it is a mistake."""


def check_lattice(cell: Float[np.ndarray, "3 3"], pbc: np.ndarray) -> None:
    """Raise ``ValueError`` for vectors that span no cell, or one that is thinner than any atom."""
    heights = 1 / np.linalg.norm(np.linalg.inv(complete_cell(cell, pbc)), axis=0)
    for axis in np.flatnonzero(np.asarray(pbc, bool) & (heights < THINNEST))[:1]:
        raise ValueError(
            f"periodic along lattice vector {axis}, where the cell is {heights[axis]:.3g} Å high"
        )


def complete_cell(cell: Float[np.ndarray, "3 3"], pbc: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Return the cell with missing, non-periodic lattice vectors replaced by perpendicular ones.

    Raises
    ------
    ValueError
        If a vector is zero along which the structure is periodic, or vectors depend on each other.
    """
    for axis in range(3):
        if pbc[axis] and not cell[axis].any():
            raise ValueError(f"periodic along lattice vector {axis}, which is zero")
    kept = [axis for axis in range(3) if cell[axis].any()]
    if np.linalg.matrix_rank(cell[kept]) < len(kept):
        raise ValueError(
            f"the lattice vectors {np.asarray(cell)[kept].tolist()} depend on each other, so that "
            "they span no cell"
        )
    if len(kept) == 3:
        return cell
    complete = np.array(cell, dtype=float)
    rest = [axis for axis in range(3) if axis not in kept]
    perpendicular = np.linalg.svd(complete[kept])[2][len(kept) :] if kept else np.eye(3)
    complete[rest] = perpendicular
    return complete


def closest_approach(
    numbers: Int[np.ndarray, " atoms"],
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: np.ndarray,
) -> float:
    """Return the smallest distance of two atoms, in units of the sum of their covalent radii.

    It is infinity where no two atoms are within twice that sum.
    """
    if not len(numbers):
        return np.inf
    radii = covalent_radii[numbers]
    pairs, shifts = neighbours(positions, cell, pbc, 4 * float(radii.max()))
    if not pairs.shape[1]:
        return np.inf
    distances = np.linalg.norm(edge_vectors(positions, cell, pairs, shifts), axis=1)
    return float((distances / radii[pairs].sum(axis=0)).min())


_WIDE = 50
"""Extent in cutoffs above which empty space is taken out: vesin aborts on too many empty bins."""


def _without_gaps(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: np.ndarray,
    cutoff: float,
) -> Float[np.ndarray, "atoms 3"]:
    """Return positions with the same pairs, wide gaps in non-periodic directions made narrow."""
    inverse = np.linalg.inv(cell)
    scaled = positions @ inverse
    for axis in np.flatnonzero(~np.asarray(pbc, bool)):
        narrow = 2 * cutoff * np.linalg.norm(inverse[:, axis])
        order = np.argsort(scaled[:, axis])
        gaps = np.diff(scaled[order, axis], prepend=scaled[order[0], axis])
        scaled[order, axis] = np.cumsum(np.minimum(gaps, narrow))
    return scaled @ cell
