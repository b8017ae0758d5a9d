"""CPU time and memory of a Gaussian process against labels and atoms, beside a peer.

    OMP_NUM_THREADS=1 python measure.py

Slabs of copper with an atom of carbon, or a dimer of both, labels of all forces by EMT. Columns:
atoms; structures that were learned from; their labels (energies, components of forces); seconds of
a fit of three epochs from the length scales of four structures or fewer, and its evaluations of the
likelihood; seconds of the fit after one label more, as in each iteration of a campaign;
milliseconds of a prediction (energy, forces), and of a standard deviation of forces, for a
structure that moves; MB that the process grew by at most. The best of several; fits once. The peer
is the Gaussian process of GPMin (``ase.optimize.gpmin``), a kernel of the positions of all atoms
together, on the same labels: seconds of its own fit of two hyper-parameters, and milliseconds of a
prediction with variances; up to 600 labels. Rows are written to ``results.txt``.
"""

import multiprocessing
import resource
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.optimize.gpmin.gp import GaussianProcess
from ase.optimize.gpmin.prior import ConstantPrior

from aiida_mlal.ml import gaussian_process
from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.carried import carry
from aiida_mlal.ml.uncertainty.gp_std import ProcessForceStd

SIZES = {
    (1, 1, 1): (5, 50, 500),
    (2, 2, 2): (5, 20, 50),
    (3, 3, 4): (5, 10),
}
MOST_OF_PEER = 600
OPTIONS = {
    "epochs": 3,
    "starts": 1,
    "optimizer": {"name": "marginal_likelihood"},
    "loss": {"stress": 0.0},
}


def slab(size: tuple[int, int, int], seed: int) -> Atoms:
    """Return a slab with an atom on it, or a dimer, displaced at random, and its label."""
    if size == (1, 1, 1):
        atoms = Atoms("CuC", [[0, 0, 0], [0, 0, 1.9]], cell=[8, 8, 8])
    else:
        atoms = fcc100("Cu", size, vacuum=6)
        atoms.pbc = True, True, False
        add_adsorbate(atoms, "C", 1.4, "hollow")
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def best(function: Callable[[], object], n: int = 10) -> float:
    """Return the least CPU time of several calls, in ms."""
    found = []
    for _ in range(n):
        begin = time.process_time()
        function()
        found.append(time.process_time() - begin)
    return 1e3 * min(found)


def peer(train: Configurations) -> tuple[float, float]:
    """Return seconds of a fit, and milliseconds of a prediction with variances."""
    n = len(train)
    places = train.positions.reshape(n, -1)
    labels = np.column_stack([train.energies, -train.forces.reshape(n, -1)])
    process = GaussianProcess(prior=ConstantPrior(float(train.energies.max())))
    process.set_hyperparams(np.array([1.0, 0.4, 0.005]))
    begin = time.process_time()
    process.fit_hyperparameters(places, labels)
    process.train(places, labels)
    seconds = time.process_time() - begin
    return seconds, best(lambda: process.predict(places[0] + 0.01, True), 5)


def row(size: tuple[int, int, int], n: int) -> str:
    """Measure for n labelled structures."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    train = Configurations.from_ase([slab(size, seed) for seed in range(n + 1)])
    options = build(TrainingOptions, OPTIONS)
    potential = ModelOptions.parse({"architecture": "gp"}).build(["C", "Cu"], 0)
    fit(potential, train[: min(n - 1, 4)], options, 0)
    evaluations = [0]
    gradient = gaussian_process.Posterior.gradient

    def counted(posterior: gaussian_process.Posterior) -> object:
        evaluations[0] += 1
        return gradient(posterior)

    def timed(structures: Configurations) -> float:
        begin = time.process_time()
        fit(potential, structures, options, 0, initialise=False)
        return time.process_time() - begin

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gaussian_process.Posterior.gradient = counted
    seconds = timed(train[:n])
    gaussian_process.Posterior.gradient = gradient
    update = timed(train)
    carry(potential, {"name": "gp_std"}, train)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
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
    of_peer = "       -            -"
    if labels <= MOST_OF_PEER:
        of_peer = "{:8.2f} {:12.2f}".format(*peer(train[:n]))
    return (
        f"{len(atoms):6d} {n:11d} {labels:7d} {seconds:7.2f} {evaluations[0]:6d} {update:9.2f} "
        f"{alone:12.2f} {both - alone:8.1f} {memory:6.0f} {of_peer}"
    )


if __name__ == "__main__":
    rows = [
        " atoms  structures  labels  fit, s  evals one more, s  predict, ms  std, ms     MB  "
        "GPMin, s  predict, ms"
    ]
    print(rows[0])
    for size, counts in SIZES.items():
        for n in counts:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, context) as pool:
                rows.append(pool.submit(row, size, n).result())
            print(rows[-1], flush=True)
            (Path(__file__).parent / "results.txt").write_text("\n".join(rows) + "\n")
