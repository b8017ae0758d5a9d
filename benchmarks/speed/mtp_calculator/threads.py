"""What a second core gains: energy and forces by the calculator, one thread and two in turns.

bcc Mo with random coefficients as in measure.py; the shortest wall times of all steps, which other
processes lengthen least. Run as ``OMP_NUM_THREADS=1 python threads.py``.
"""

import time

import numpy as np
import torch
from ase.build import bulk

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.mtp import MTP

TURNS, STEPS = 40, 5


def walls(level: int, cells: int) -> tuple[int, list[float]]:
    options = {"architecture": "mtp", "level": level, "cutoff": 5.2, "min_dist": 1.9}
    model = single(options, ["Mo"], seed=0)
    assert isinstance(model, MTP)
    model.set_coefficients(0.1 * torch.randn(model.n_parameters, dtype=torch.float64))
    rng = np.random.default_rng(0)
    start = bulk("Mo", "bcc", 3.16, cubic=True) * (cells, cells, cells)
    start.rattle(0.1, rng=rng)
    seconds: tuple[list[float], list[float]] = ([], [])
    walkers = [start.copy(), start.copy()]
    for threads, atoms in enumerate(walkers, 1):
        atoms.calc = MLCalculator(model, patience=0, threads=threads)
        atoms.get_forces()
    for _ in range(TURNS):
        for found, atoms in zip(seconds, walkers):
            for _ in range(STEPS):
                atoms.positions = start.positions + rng.normal(scale=0.01, size=(len(start), 3))
                begin = time.perf_counter()
                atoms.get_forces()
                found.append(time.perf_counter() - begin)
    return len(start), [min(found) for found in seconds]


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("level atoms  one thread  two threads  speed-up   (us per atom and step)")
    for level in (8, 16, 20):
        for cells in (6, 10):
            atoms, (one, two) = walls(level, cells)
            row = f"{level:5d} {atoms:5d} {one / atoms * 1e6:11.2f} {two / atoms * 1e6:12.2f}"
            print(f"{row} {one / two:9.2f}", flush=True)
