"""Kernels for strategies whose choices become cluster centres of the points nearest to them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.fast.jit import jit

TILE = 32
"""Points that are compared with a centre at a time."""

STEP = 16
"""Dimensions after which it is checked whether one of them can still be nearer."""

SAMPLE = 20_000
"""Points of which the principal axes are computed, at most."""

BLOCK = 4096
"""Points whose distances to the first centres are computed at a time."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Points and the centres that they belong to, as a rule for the next centre sees them.

    Attributes
    ----------
    distances
        Squared distance of each point to its centre.
    centres
        The centre of each point, in the order in which centres came.
    free
        Which points may become a centre.
    n_centres
        How many there are.
    """

    distances: Float[np.ndarray, " points"]
    centres: Int[np.ndarray, " points"]
    free: Bool[np.ndarray, " points"]
    n_centres: int


Rule = Callable[[Clusters], int]


def grow(
    points: Float[np.ndarray, "points features"],
    centres: Float[np.ndarray, "centres features"],
    n: int,
    rule: Rule,
) -> tuple[list[int], list[float]]:
    """Choose ``n`` points that become cluster centres in turn; and their distances² from others.

    Without centres to begin with, the rule makes its first choice as if the origin were one,
    which it is not any more for the next.

    The distance of a point to a new centre is summed up along the principal axes, largest first,
    until it exceeds that to its centre; and not at all if the centres are so far apart that it
    must.
    """
    axes = _principal_axes(points)
    tiles = _tiles(points, axes)
    size, n_rotated = len(points), tiles.shape[1]
    known = np.zeros((len(centres) + n, n_rotated), np.float32)
    known[: len(centres), : axes.shape[1]] = centres @ axes
    distances = np.zeros(len(tiles) * TILE, np.float32)
    nearest = np.zeros(len(distances), np.int32)
    if len(centres):
        distances[:size], nearest[:size] = _nearest(points, np.ascontiguousarray(centres))
    else:
        distances[:size] = np.einsum("ij,ij->i", points, points)
    free = np.zeros(len(distances), bool)
    free[:size] = True
    chosen: list[int] = []
    how_far: list[float] = []
    n_centres = len(centres)
    for _ in range(n):
        best = rule(Clusters(distances[:size], nearest[:size], free[:size], max(n_centres, 1)))
        chosen.append(best)
        how_far.append(float(distances[best]))
        if not n_centres:
            distances[:size] = np.inf
        here = tiles[best // TILE, :, best % TILE].copy()
        apart = ((known[: max(n_centres, 1)] - here) ** 2).sum(axis=1)
        if not n_centres:
            apart[:] = 0.0
        _approach(tiles, distances, nearest, n_centres, here, apart)
        known[n_centres] = here
        distances[best], free[best] = 0.0, False
        n_centres += 1
    return chosen, how_far


def _principal_axes(points: Float[np.ndarray, "points features"]) -> np.ndarray:
    some = points[:: max(1, len(points) // SAMPLE)].astype(float)
    some = some - some.mean(axis=0)
    axes: np.ndarray = np.linalg.eigh(some.T @ some)[1][:, ::-1].astype(np.float32)
    return axes


def _tiles(
    points: Float[np.ndarray, "points features"], axes: Float[np.ndarray, "features features"]
) -> Float[np.ndarray, "tiles axes tile"]:
    """Return the points along the axes, some at a time, each axis of these in one place."""
    n_features = -(-axes.shape[1] // STEP) * STEP
    tiles = np.zeros((-(-len(points) // TILE), n_features, TILE), np.float32)
    for start in range(0, len(points), BLOCK):
        rotated = points[start : start + BLOCK] @ axes
        full = np.zeros((-(-len(rotated) // TILE) * TILE, axes.shape[1]), np.float32)
        full[: len(rotated)] = rotated
        first = start // TILE
        tiles[first : first + len(full) // TILE, : axes.shape[1]] = full.reshape(
            -1, TILE, axes.shape[1]
        ).transpose(0, 2, 1)
    return tiles


def _nearest(
    points: Float[np.ndarray, "points features"], centres: Float[np.ndarray, "centres features"]
) -> tuple[Float[np.ndarray, " points"], Int[np.ndarray, " points"]]:
    """Return the squared distance to the nearest centre, and which one that is."""
    distances, nearest = np.zeros(len(points), np.float32), np.zeros(len(points), np.int32)
    squares = np.einsum("ij,ij->i", centres, centres)
    rows = max(64, min(BLOCK, 2**24 // max(len(centres), 1)))
    for start in range(0, len(points), rows):
        some = points[start : start + rows]
        products = some @ centres.T
        products *= -2
        products += squares
        best = products.argmin(axis=1)
        nearest[start : start + rows] = best
        distances[start : start + rows] = ((some - centres[best]) ** 2).sum(axis=1)
    return distances, nearest


@jit(fastmath={"contract", "reassoc", "nsz"})
def _approach(
    tiles: np.ndarray, distances: np.ndarray, nearest: np.ndarray, index: int,
    here: np.ndarray, apart: np.ndarray,
) -> None:  # fmt: skip
    """Let points that are nearer to a new centre than to theirs belong to it, in place.

    ``apart`` are the squared distances of the other centres from it.
    """
    sums, limits = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for t in range(len(tiles)):
        start = t * TILE
        within = 0
        for i in range(TILE):
            limits[i] = distances[start + i]
            sums[i] = 0.0
            within += apart[nearest[start + i]] < np.float32(4.0001) * limits[i]
        if within == 0:
            continue
        nearer = 0
        for k in range(0, tiles.shape[1], 4):
            x0, x1, x2, x3 = tiles[t, k], tiles[t, k + 1], tiles[t, k + 2], tiles[t, k + 3]
            h0, h1, h2, h3 = here[k], here[k + 1], here[k + 2], here[k + 3]
            for i in range(TILE):
                d0, d1, d2, d3 = x0[i] - h0, x1[i] - h1, x2[i] - h2, x3[i] - h3
                sums[i] += d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3
            if k % STEP == STEP - 4:
                nearer = 0
                for i in range(TILE):
                    nearer += sums[i] < limits[i]
                if nearer == 0:
                    break
        if nearer > 0:
            for i in range(TILE):
                if sums[i] < limits[i]:
                    distances[start + i] = sums[i]
                    nearest[start + i] = index


@jit()
def farthest_of_heaviest(
    distances: np.ndarray, nearest: np.ndarray, free: np.ndarray, n_centres: int
) -> int:
    """Return the farthest free point of the cluster with the largest sum of distances."""
    weights = np.zeros(n_centres)
    for i in range(len(distances)):
        weights[nearest[i]] += distances[i]
    most = -1.0
    for i in range(len(distances)):
        if free[i] and weights[nearest[i]] > most:
            most = weights[nearest[i]]
    best, farthest = -1, np.float32(-1.0)
    for i in range(len(distances)):
        if free[i] and weights[nearest[i]] == most and distances[i] > farthest:
            best, farthest = i, distances[i]
    return best
