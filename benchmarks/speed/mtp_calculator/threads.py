"""What a second core gains: energy and forces by the calculator, one thread and two in turns.

bcc Mo with random coefficients as in measure.py. ``wall`` is the shortest wall time of all steps,
which means something only where two cores are free. ``own`` is the median CPU time of the thread
that calls: with two threads all that is not divided and its half of the rest, so what a step takes
at least. Run as ``OMP_NUM_THREADS=1 python threads.py``.
"""

import time

import numpy as np
import torch
from ase.build import bulk

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.mtp import MTP

TURNS, STEPS = 20, 5


def measure(level: int, cells: int) -> tuple[int, np.ndarray]:
    """Return the number of atoms, and own and wall times for one thread and for two."""
    options = {"architecture": "mtp", "level": level, "cutoff": 5.2, "min_dist": 1.9}
    model = single(options, ["Mo"], seed=0)
    assert isinstance(model, MTP)
    model.set_coefficients(0.1 * torch.randn(model.n_parameters, dtype=torch.float64))
    rng = np.random.default_rng(0)
    start = bulk("Mo", "bcc", 3.16, cubic=True) * (cells, cells, cells)
    start.rattle(0.1, rng=rng)
    seconds: tuple[list[tuple[float, float]], ...] = ([], [])
    walkers = [start.copy(), start.copy()]
    for threads, atoms in enumerate(walkers, 1):
        atoms.calc = MLCalculator(model, threads=threads)
        atoms.get_forces()
    for _ in range(TURNS):
        for found, atoms in zip(seconds, walkers):
            for _ in range(STEPS):
                atoms.positions = start.positions + rng.normal(scale=0.01, size=(len(start), 3))
                begin = time.thread_time(), time.perf_counter()
                atoms.get_forces()
                found.append((time.thread_time() - begin[0], time.perf_counter() - begin[1]))
    times = np.array(seconds) / len(start) * 1e6
    return len(start), np.stack([np.median(times[..., 0], axis=1), times[..., 1].min(axis=1)])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("level atoms own: one   two  ratio   wall: one   two  ratio   (us per atom and step)")
    for level in (8, 16, 20):
        for cells in (6, 10):
            atoms, (own, wall) = measure(level, cells)
            row = f"{level:5d} {atoms:5d} {own[0]:8.2f} {own[1]:5.2f} {own[0] / own[1]:6.2f}"
            print(f"{row} {wall[0]:11.2f} {wall[1]:5.2f} {wall[0] / wall[1]:6.2f}", flush=True)
