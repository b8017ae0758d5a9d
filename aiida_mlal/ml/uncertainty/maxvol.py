"""The rows of a tall matrix that span the largest volume."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.jit import jit

START = 1e-5
"""Size of the rows of the start, as in MLIP-2 (MLIP-3 has 1e-6)."""

SWAP = 1.0000001
"""The threshold of swaps in MLIP-2 (MLIP-3 has 1.001)."""

NOISE = 1e-12
"""Remainder of a row beside those that span it, relative to its length, that is rounding."""

PART = 4
"""Among every so many candidates swaps are done first."""

LARGE = 4_000_000
"""With more numbers than this in a batch the largest of all is not looked for at every swap."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A square matrix of rows, some of them still those of the start.

    Attributes
    ----------
    matrix
        The rows: those of candidates, or ``START`` times a unit vector.
    inverse
        Its inverse.
    owners
        Which candidate each row is; -1 for a row of the start.
    swaps
        How many rows were replaced to come here.
    """

    matrix: Float[np.ndarray, "columns columns"]
    inverse: Float[np.ndarray, "columns columns"]
    owners: Int[np.ndarray, " columns"]
    swaps: int = 0

    @classmethod
    def start(cls, n: int, size: float = START) -> "Volume":
        """Return the matrix without candidates, ``n`` rows of the start."""
        return cls(size * np.eye(n), np.eye(n) / size, np.full(n, -1))

    @property
    def rank(self) -> int:
        """How many rows are those of candidates."""
        return int((self.owners >= 0).sum())

    def coordinates(self, rows: Float[np.ndarray, "rows columns"]) -> np.ndarray:
        """Return rows as sums of those of the matrix: the largest number is the grade.

        Along rows of the start, what is rounding is 0.
        """
        coordinates = rows @ self.inverse
        _silence(coordinates, rows, self)
        return coordinates

    def log_volume(self) -> float:
        """Return the logarithm of the volume; the rows of the start count with their size."""
        return float(np.linalg.slogdet(self.matrix)[1])


def maxvol(
    volume: Volume,
    rows: Float[np.ndarray, "rows columns"],
    owners: Int[np.ndarray, " rows"],
    threshold: float = SWAP,
    limit: int | None = None,
    exact: bool | None = None,
) -> Volume:
    """Replace rows of a matrix by candidates until no swap makes it larger by the threshold.

    Each swap is that of the largest number :math:`|C_{ij}|` in :math:`C = B A^{-1}`, rows B and
    matrix A: candidate i replaces row j, and the volume grows by this factor. What was replaced
    is a candidate again. S. A. Goreinov et al., in Matrix Methods (2010), p. 247;
    E. V. Podryabinkin and A. V. Shapeev, Comput. Mater. Sci. 140, 171 (2017).

    Parameters
    ----------
    volume
        Where to begin.
    rows, owners
        The candidates, and a number above or equal to 0 for each.
    threshold
        By which factor a swap must make the volume larger; above 1.
    limit
        The largest number of swaps.
    exact
        Whether the largest number of all is looked for at every swap, as MLIP does. Otherwise
        this is so among some hundred candidates at a time, which ends where no swap is left too,
        perhaps with other rows of about the same volume. By default as ``LARGE`` says.
    """
    if not threshold > 1:
        raise ValueError(f"expected a threshold above 1, got {threshold}")
    n = len(volume.owners)
    if rows.ndim != 2 or rows.shape[1] != n or len(owners) != len(rows):
        raise ValueError(f"expected rows of {n} numbers with an owner each, got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("expected finite rows")
    if not len(rows):
        return volume
    if exact is None:
        exact = rows.size <= LARGE
    limit = np.iinfo(np.int64).max if limit is None else limit
    if exact:
        return _exact(volume, rows, owners, threshold, limit)
    return _by_blocks(volume, rows, owners, threshold, limit)


def _exact(
    volume: Volume, rows: np.ndarray, owners: np.ndarray, threshold: float, limit: int
) -> Volume:
    rows, owners = np.array(rows, dtype=float, order="C"), np.array(owners)
    before = volume.swaps
    while True:
        coordinates = volume.coordinates(rows)
        matrix, inverse = volume.matrix.copy(), volume.inverse.copy()
        own, left = volume.owners.copy(), limit - (volume.swaps - before)
        swaps = _swap(
            coordinates, rows, owners, matrix, inverse, own, threshold, min(left, 2 * len(own))
        )
        if not swaps:
            return volume
        volume = Volume(matrix, np.linalg.inv(matrix), own, volume.swaps + swaps)


def _by_blocks(
    volume: Volume, rows: np.ndarray, owners: np.ndarray, threshold: float, limit: int
) -> Volume:
    """Swap among the candidates of the largest grades, then bring all coordinates up to date.

    After swaps in the rows J of the matrix, C' = C + C[:, J] (A[J] - A'[J]) A'^-1. Most swaps are
    done among a part of the candidates, where this is cheap.
    """
    n, before = len(volume.owners), volume.swaps
    rows, owners = np.array(rows, dtype=float, order="C"), np.array(owners)
    if not volume.rank and limit >= n:
        volume = _fast_start(volume, rows, owners)
    if len(rows) > PART * 4 * n:
        earlier = volume
        volume = _by_blocks(
            volume, rows[::PART], owners[::PART], threshold, limit - (volume.swaps - before)
        )
        gone = (earlier.owners >= 0) & ~np.isin(earlier.owners, volume.owners)
        gone &= ~np.isin(earlier.owners, owners)  # these are candidates again
        rows = np.concatenate([rows, earlier.matrix[gone]])
        owners = np.concatenate([owners, earlier.owners[gone]])
    coordinates, since = volume.coordinates(rows), volume.swaps
    block = max(64, 2 * n)
    while True:
        grades = _largest(coordinates)
        best = np.argpartition(-grades, min(block, len(grades)) - 1)[:block]
        left = limit - (volume.swaps - before)
        if not grades.max() > threshold or left <= 0:
            if volume.swaps == since or left <= 0:
                return volume
            near = grades > 0.9 * threshold  # again without the errors of many updates
            coordinates[near], since = volume.coordinates(rows[near]), volume.swaps
            continue
        matrix, inverse, own = volume.matrix.copy(), volume.inverse.copy(), volume.owners.copy()
        part, some, names = coordinates[best], rows[best], owners[best]
        swaps = _swap(part, some, names, matrix, inverse, own, threshold, min(left, n))
        rows[best], owners[best] = some, names
        inverse = np.linalg.inv(matrix)
        changed = np.flatnonzero(own != volume.owners)
        volume, old = Volume(matrix, inverse, own, volume.swaps + swaps), volume.matrix
        update = (old[changed] - matrix[changed]) @ inverse
        scipy.linalg.blas.dgemm(  # in place: the transpose of what Fortran sees
            1.0, update.T, coordinates[:, changed].T, 1.0, coordinates.T, overwrite_c=True
        )
        coordinates[best] = some @ inverse
        _silence(coordinates, rows, volume)


def _fast_start(volume: Volume, rows: np.ndarray, owners: np.ndarray) -> Volume:
    """Return independent rows of a part of the candidates, by a pivoted QR decomposition.

    The rows of the start stay in the columns that these rows determine least.
    """
    n = len(volume.owners)
    some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 2 * n)).astype(int))
    size = abs(volume.matrix[0, 0])
    upper, order = scipy.linalg.qr(rows[some].T, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diag(upper))
    rank = int((diagonal > max(size, 1e-10 * diagonal[0])).sum())
    chosen = some[order[:rank]]
    columns = scipy.linalg.qr(rows[chosen], mode="r", pivoting=True, check_finite=False)[1]
    matrix, own = volume.matrix.copy(), volume.owners.copy()
    matrix[columns[:rank]], own[columns[:rank]] = rows[chosen], owners[chosen]
    return Volume(matrix, np.linalg.inv(matrix), own, volume.swaps + rank)


def _silence(coordinates: np.ndarray, rows: np.ndarray, volume: Volume) -> None:
    """Set to 0 what is rounding, along the rows of the start."""
    (unfilled,) = np.nonzero(volume.owners < 0)
    if len(unfilled):
        sizes = np.abs(np.diag(volume.matrix))[unfilled]
        noise = NOISE * np.abs(rows).max(axis=1, initial=0.0)
        part = coordinates[:, unfilled]
        part[np.abs(part) * sizes < noise[:, None]] = 0.0
        coordinates[:, unfilled] = part


@jit(error_model="python")
def _largest(coordinates: np.ndarray) -> np.ndarray:
    """Return the largest number of each row."""
    grades = np.zeros(len(coordinates))
    for i in range(len(coordinates)):
        most = 0.0
        for value in coordinates[i]:
            most = max(most, abs(value))
        grades[i] = most
    return grades


@jit(error_model="python", fastmath={"contract", "reassoc", "nsz"})
def _swap(
    coordinates: np.ndarray, rows: np.ndarray, owners: np.ndarray, matrix: np.ndarray,
    inverse: np.ndarray, own: np.ndarray, threshold: float, limit: int,
) -> int:  # fmt: skip
    """Swap in place; with d = C[i] - e_j, C loses C[:, j] d / C[i, j], and so does the inverse."""
    n_rows, n = coordinates.shape
    grades = _largest(coordinates)
    for swap in range(limit):
        i = grades.argmax()
        if not grades[i] > threshold:
            return swap
        j = np.abs(coordinates[i]).argmax()
        pivot = coordinates[i, j]
        d = coordinates[i].copy()
        d[j] -= 1.0
        coordinates[i] = 0.0
        coordinates[i, j] = 1.0
        for k in range(n_rows):
            factor = coordinates[k, j] / pivot
            if factor != 0.0:
                row, most = coordinates[k], 0.0
                for c in range(n):
                    row[c] -= factor * d[c]
                    most = max(most, abs(row[c]))
                grades[k] = most
        for k in range(n):
            factor = inverse[k, j] / pivot
            for c in range(n):
                inverse[k, c] -= factor * d[c]
        for c in range(n):
            matrix[j, c], rows[i, c] = rows[i, c], matrix[j, c]
        own[j], owners[i] = owners[i], own[j]
    return limit
