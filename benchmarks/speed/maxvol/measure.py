"""How long MaxVol takes on pools of candidates, from an empty active set until no swap is left.

Random rows with singular values over three decades; CPU time of one thread. Run as
``OMP_NUM_THREADS=1 python measure.py``.
"""

import resource
import time

import numpy as np

from aiida_mlal.ml.uncertainty.maxvol import Volume, maxvol


def measure(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, m)) @ (rng.normal(size=(m, m)) * np.logspace(0, -3, m))
    begin = time.process_time()
    found = maxvol(Volume.start(m), rows, np.arange(n), exact=False)
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    grade = np.abs(rows @ found.inverse).max()
    print(
        f"{n} x {m}: {seconds:.2f} s, {found.swaps} swaps, largest grade {grade:.7f}, "
        f"peak {memory:.2f} GiB"
    )


if __name__ == "__main__":
    for exact in (True, False):  # compile
        maxvol(
            Volume.start(4), np.random.default_rng(0).normal(size=(9, 4)), np.arange(9), exact=exact
        )
    for n, m in ((40_000, 125), (40_000, 900)):
        measure(n, m)
