"""How long a step of a simulation takes, beside the compiled engine of motep.

Both through their ASE calculators, in turns of ten steps in one process as a simulation would make
them (a step alone would find the caches full of what the other left), energy and forces with the
neighbour list after random displacements of 0.01 Å; bcc Mo with random coefficients, cutoff 5.2 Å
(34 neighbours); one thread; medians of CPU time. Run as ``OMP_NUM_THREADS=1 python measure.py``.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from motep.calculator import MTP as Motep
from motep.io.mlip.mtp import read_mtp

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.formats.mlip import mtp
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.mtp import MTP


def potential(elements: Sequence[str], level: int) -> MTP:
    options = {"architecture": "mtp", "level": level, "cutoff": 5.2, "min_dist": 1.9}
    model = single(options, elements, seed=0)
    assert isinstance(model, MTP)
    model.set_coefficients(0.1 * torch.randn(model.n_parameters, dtype=torch.float64))
    return model


def motep(model: MTP) -> Motep:
    with tempfile.TemporaryDirectory() as folder:
        mtp.write(model, Path(folder) / "pot.mtp")
        data = read_mtp(str(Path(folder) / "pot.mtp"))
    data.species = np.array([atomic_numbers[element] for element in model.types])
    return Motep(data, engine="cext")


def walk(atoms: Atoms, path: np.ndarray) -> list[float]:
    seconds = []
    for positions in path:
        begin = time.process_time()
        atoms.positions = positions
        atoms.get_potential_energy()
        atoms.get_forces()
        seconds.append(time.process_time() - begin)
    return seconds


def compare(model: MTP, n: int, steps: int) -> tuple[int, float, float]:
    rng = np.random.default_rng(0)
    ours = bulk("Mo", "bcc", 3.16, cubic=True) * (n, n, n)
    ours.rattle(0.1, rng=rng)
    ours.symbols = rng.choice(model.types, len(ours))
    theirs, start = ours.copy(), ours.positions.copy()
    ours.calc, theirs.calc = MLCalculator(model), motep(model)
    walk(ours, start[None])
    walk(theirs, start[None])
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(steps // 10):
        path = start + rng.normal(scale=0.01, size=(10, *start.shape))
        for found, atoms in zip(seconds, (ours, theirs)):
            found += walk(atoms, path)
    error = abs(ours.get_forces() - theirs.get_forces()).max()
    assert error < 1e-10 * abs(ours.get_forces()).max()
    ours_time, theirs_time = np.median(seconds, axis=1) / len(ours) * 1e6
    return len(ours), ours_time, theirs_time


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("species level atoms    ours   motep  ratio   (us per atom and step)")
    for elements in (["Mo"], ["Mo", "W"]):
        for level in (8, 16, 20):
            model = potential(elements, level)
            for n, steps in ((3, 100), (6, 30)):
                atoms, ours, theirs = compare(model, n, steps)
                row = f"{len(elements):7d} {level:5d} {atoms:5d} {ours:7.2f} {theirs:7.1f}"
                print(f"{row} {theirs / ours:6.1f}", flush=True)
