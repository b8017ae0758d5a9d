"""How long strategies take to choose 500 of 125,831 rows of 128 features, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed/selection/measure.py

Rows are of two kinds: normally distributed, where no direction matters more than another, which is
the worst that can happen to a search along principal axes; and with the spectrum of the last layer
of a network, which falls off exponentially. The plain algorithms in numpy do the same beside them,
for a part of the choices. Times are those of the processor.
"""

import resource
import time
from collections.abc import Callable

import numpy as np

from aiida_mlal.ml.selection.kmeans_pp import KMeansPP
from aiida_mlal.ml.selection.lcmd import LCMD
from aiida_mlal.ml.selection.max_det import MaxDet
from aiida_mlal.ml.selection.max_diag import MaxDiag
from aiida_mlal.ml.selection.max_dist import MaxDist

POOL, TRAIN, FEATURES, N = 125_831, 1_000, 128, 500
STRATEGIES = [MaxDiag(), MaxDet(), MaxDist(), KMeansPP(), LCMD()]


def numpy_lcmd(pool: np.ndarray, train: np.ndarray, n: int) -> None:
    """Update the distances to the last centre only."""
    squares = (train**2).sum(1)
    centre = np.concatenate(
        [(squares - 2 * some @ train.T).argmin(1) for some in np.array_split(pool, 64)]
    )
    distance = ((pool - train[centre]) ** 2).sum(1)
    for new in range(len(train), len(train) + n):
        weight = np.bincount(centre, distance, new)[centre]
        best = int(np.where(weight == weight.max(), distance, -1).argmax())
        to_best = ((pool - pool[best]) ** 2).sum(1)
        centre = np.where(to_best < distance, new, centre)
        distance = np.minimum(distance, to_best)


def numpy_det(pool: np.ndarray, train: np.ndarray, n: int) -> None:
    """Update all variances after each choice."""
    covariance = np.eye(pool.shape[1], dtype=pool.dtype)
    variances = (pool**2).sum(1)
    for _ in range(n):
        best = int(variances.argmax())
        moved = covariance @ pool[best]
        scale = 1 / (1 + pool[best] @ moved)
        variances = variances - scale * (pool @ moved) ** 2
        covariance = covariance - scale * np.outer(moved, moved)
        variances[best] = -1


def seconds(function: Callable[[], object]) -> float:
    """Return the time that the processor was busy with it."""
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Print a table."""
    rng = np.random.default_rng(0)
    fall = np.exp(-np.arange(FEATURES) / 10)
    for name, scale in (("normally distributed", np.ones(FEATURES)), ("falling spectrum", fall)):
        rows = (rng.normal(size=(POOL + TRAIN, FEATURES)) * scale).astype(np.float32)
        pool, train = rows[TRAIN:], rows[:TRAIN]
        print(name)
        for strategy in STRATEGIES:
            strategy.pick(pool[:200], train[:20], 2, np.random.default_rng(0))  # compiles
            took = seconds(lambda: strategy.pick(pool, train, N, np.random.default_rng(0)))  # noqa: B023
            print(f"    {type(strategy).__name__:10} {took:6.2f} s")
        for label, plain in (("numpy LCMD", numpy_lcmd), ("numpy MaxDet", numpy_det)):
            part = 50
            took = seconds(lambda: plain(pool, train, part))  # noqa: B023
            print(f"    {label:14} {took * N / part:6.2f} s (from {part} choices)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"peak of memory {peak:.0f} MB, of which the rows are {rows.nbytes / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
