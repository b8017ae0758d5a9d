"""CPU time of a Gaussian process against labels and atoms: fit, predictions, standard deviations.

    OMP_NUM_THREADS=1 python measure.py

Slabs of copper with an atom of carbon, labels of all forces by EMT. Columns: atoms; structures that
were learned from; their labels (energies, components of forces); seconds of a fit of ten epochs
from the length scales of four structures or fewer, and its evaluations of the likelihood;
milliseconds of a prediction (energy, forces), and of a standard deviation of forces, for a
structure that moves. The best of several; the fit once. Rows are written to ``results.txt``.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT

from aiida_mlal.ml import gaussian_process
from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd

SIZES = {(2, 2, 2): (5, 10, 25, 50), (2, 2, 4): (5, 10, 25), (3, 3, 4): (5, 10)}
OPTIONS = {
    "epochs": 10,
    "starts": 1,
    "optimizer": {"name": "marginal_likelihood"},
    "loss": {"stress": 0.0},
}


def slab(size: tuple[int, int, int], seed: int) -> Atoms:
    """Return a slab with an atom on it, displaced at random, and its label."""
    atoms = fcc100("Cu", size, vacuum=6)
    atoms.pbc = True, True, False
    add_adsorbate(atoms, "C", 1.4, "hollow")
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def best(function: Callable[[], object], n: int = 20) -> float:
    """Return the least CPU time of several calls, in ms."""
    found = []
    for _ in range(n):
        begin = time.process_time()
        function()
        found.append(time.process_time() - begin)
    return 1e3 * min(found)


def row(size: tuple[int, int, int], n: int) -> str:
    """Measure for n labelled structures."""
    train = Configurations.from_ase([slab(size, seed) for seed in range(n)])
    options = build(TrainingOptions, OPTIONS)
    potential = ModelOptions.parse({"architecture": "gp"}).build(["C", "Cu"], 0)
    fit(potential, train[: min(n - 1, 4)], options, 0)
    evaluations = [0]
    gradient = gaussian_process.Posterior.gradient

    def counted(posterior: gaussian_process.Posterior) -> object:
        evaluations[0] += 1
        return gradient(posterior)

    gaussian_process.Posterior.gradient = counted
    begin = time.process_time()
    fit(potential, train, options, 0, initialise=False)
    seconds = time.process_time() - begin
    gaussian_process.Posterior.gradient = gradient
    carry(potential, {"name": "gp_std"}, train)
    atoms = slab(size, 999)
    atoms.calc = MLCalculator(potential, ProcessForceStd())
    rng = np.random.default_rng(0)

    def step() -> None:
        atoms.positions += rng.normal(0, 1e-4, atoms.positions.shape)
        atoms.get_forces()

    both = best(step)
    atoms.calc.watching = False
    alone = best(step)
    labels = n * (1 + 3 * len(atoms))
    return (
        f"{len(atoms):6d} {n:11d} {labels:7d} {seconds:7.2f} {evaluations[0]:6d} "
        f"{alone:12.2f} {both - alone:8.1f}"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = [" atoms  structures  labels  fit, s  evals  predict, ms  std, ms"]
    print(rows[0])
    for size, counts in SIZES.items():
        for n in counts:
            rows.append(row(size, n))
            print(rows[-1], flush=True)
    (Path(__file__).parent / "results.txt").write_text("\n".join(rows) + "\n")
