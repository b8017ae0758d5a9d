"""What a step of molecular dynamics costs beside the evaluation of the potential.

Langevin dynamics at 300 K, 1 fs, of bcc Mo with a moment tensor potential of level 16, as ``md``
runs it: with guard, recorder, averages and states to go on from. In turns with it the bare kernels
are evaluated at the same positions, their neighbours looked for as in simulations. Median CPU times
of a step over the turns, one thread. ``OMP_NUM_THREADS=1 python measure.py``.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.numba import kernels_of
from aiida_mlal.ml.models.mtp import MTP
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.md import MolecularDynamics
from aiida_mlal.ml.uncertainty.active_set import ActiveSet

sys.path.insert(0, str(Path(__file__).parents[1] / "mtp_calculator"))
from grades import fitted, small_cells

TURNS = 5


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(model: MTP, graded: MTP, atoms: Atoms, steps: int) -> dict[str, float]:
    """Return CPU times of a step in µs."""
    start, seldom = Configurations.from_ase(atoms), Guard(every=10)
    of = partial(MolecularDynamics, steps)
    runs = {
        "guard at each step": (model, of()),
        "guard at each 10th step": (model, of(guard=seldom)),
        "the same, NVE": (model, of(thermostat="none", guard=seldom)),
        "all frames kept": (model, of(every=1)),
        "grades at each step": (graded, of()),
        "grades at each 10th step": (graded, of(guard=seldom)),
    }
    path = of(every=1).run(model, start).trajectory
    positions = path.positions.reshape(len(path), len(atoms), 3)
    cell = atoms.cell.array

    def evaluate() -> None:
        kernels = kernels_of(model, 0.5)
        assert kernels is not None
        for here in positions:
            kernels(atoms.numbers, here, cell, atoms.pbc)

    def run(used: MTP, simulation: MolecularDynamics) -> float:
        """Return how much longer a run takes than what comes before its first step."""
        begin = seconds(partial(replace(simulation, steps=0).run, used, start))
        return seconds(partial(simulation.run, used, start)) - begin

    found: dict[str, list[float]] = {name: [] for name in ("bare kernels", *runs)}
    for _ in range(TURNS):
        found["bare kernels"].append(seconds(evaluate))
        for name, pair in runs.items():
            found[name].append(run(*pair))
    return {name: 1e6 * median(values) / steps for name, values in found.items()}


def main() -> None:
    known = small_cells()
    model = fitted(16, known)
    graded = fitted(16, known)
    ActiveSet.of(graded, known, "neighbourhood").store(graded)
    for size, steps in ((3, 1000), (6, 200)):
        atoms = bulk("Mo", "bcc", 3.16, cubic=True) * (size, size, size)
        found = compare(model, graded, atoms, steps)
        print(f"{len(atoms)} atoms")
        for name, value in found.items():
            print(f"  {name:26s} {value:8.0f} µs {value / found['bare kernels']:6.2f}")


if __name__ == "__main__":
    main()
