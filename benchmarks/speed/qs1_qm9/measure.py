"""Time and memory of choosing 500 of 125,831 molecules of QM9 by QS1, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed/qs1_qm9/measure.py qm9_130831.npz [single]

The network is that of V. Zaverkin and J. Kästner, Mach. Learn.: Sci. Technol. 2, 035009 (2021),
section 3.2: 427 invariants, layers of 256 and 128 nodes, a cutoff of 3 Å; its first weights serve,
since time does not depend on them. 5000 molecules are the training set. The paper says 135 s and
850 MB, on another processor.
"""

import resource
import sys
import time

import numpy as np
import torch

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.gmnn import GMNN, GMNNOptions
from aiida_mlal.ml.selection.base import Query
from aiida_mlal.ml.selection.oed import OptimalDesign

TRAIN, N = 5_000, 500


def read(path: str) -> Configurations:
    """Return the molecules, in the order of the file."""
    with np.load(path) as file:
        counts = file["n_atoms"].astype(int)
        return Configurations.from_geometry(
            file["Z"],
            file["pos_1e5A"] * 1e-5,
            counts,
            np.zeros((len(counts), 3, 3)),
            np.zeros((len(counts), 3)),
        )


def peak() -> float:
    """Return the most memory that was taken until now, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    """Choose, and print what it took."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{peak():.0f} MB with nothing but the libraries")
    everything = read(sys.argv[1])
    order = np.random.default_rng(0).permutation(len(everything))
    train, pool = everything[order[:TRAIN]], everything[order[TRAIN:]]
    del everything
    potential = GMNN(pool.elements, GMNNOptions(cutoff=3.0, hidden=(256, 128)))
    if "single" in sys.argv[2:]:
        potential = potential.to(torch.float32)
    query = Query(pool, train, np.arange(len(pool)), potential=potential)
    OptimalDesign(n=2).choose(  # compiles
        Query(pool[:20], train[:10], np.arange(20), potential=potential)
    )
    print(f"{len(pool)} molecules, {len(pool.numbers)} atoms, {potential.dtype}; {peak():.0f} MB")
    for strategy in (OptimalDesign(n=N), OptimalDesign(n=N, sequential=True)):
        busy, wall = time.process_time(), time.perf_counter()
        chosen = strategy.choose(query)
        busy, wall = time.process_time() - busy, time.perf_counter() - wall
        atoms = pool.counts[[choice.index for choice in chosen]].mean()
        name = "one after the other" if strategy.sequential else "the largest at once"
        print(
            f"{name}: {busy:.1f} s of the processor ({wall:.1f} s by the clock), peak "
            f"{peak():.0f} MB; {atoms:.2f} atoms on average, of the pool {pool.counts.mean():.2f}"
        )


if __name__ == "__main__":
    main()
