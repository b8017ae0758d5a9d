"""Learn molecular dynamics on the fly by optimal experimental design, against random frames.

    python benchmarks/science/online/oed.py [--limit 1.0] [--most 60] [--every 20]

Ethanol at 500 K with labels of SevenNet-0 and a Gaussian-moment network, which begins with ten
structures: random frames of a direct run, as in the paper, or rattled molecules (``--rattled``).
Five runs of 2 ps stop where a label would teach more than those of the median of the training set,
V. Zaverkin and J. Kästner, Mach. Learn.: Sci. Technol. 2, 035009 (2021), section 3.3: ``limit``
times their threshold of the second kind, for the loss of forces. They begin from the first five
structures. The steps are those of ``mlal.online``, without AiiDA: train on all labels, let all runs
go on from where they are until their guard ends them, label those very steps.

Random frames are of the same direct run, errors of frames of another one. Potentials that are
compared know the same first structures and as many labels, and are trained anew. A row for each
size goes to ``oed.md``, or ``oed_rattled.md``, beside this file.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.models.gmnn import GMNN
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.simulation.base import COMPLETED
from aiida_mlal.ml.simulation.guard import UNPHYSICAL
from aiida_mlal.ml.simulation.state import Checkpoint
from aiida_mlal.ml.simulation.stopped import stopped

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Labels, labeller, train

TEMPERATURE, RUNS, FIRST = 500.0, 5, 10
TRAINING = {**GMNN.usual_training, "loss": {"energy": 1.0, "force": 1.0, "stress": 0.0}}
MEASURE = {"name": "oed", "quantity": "forces", "threshold": "median"}
GIVEN = {"model": {"architecture": "gmnn"}, "training": TRAINING, "warm_start": True}
ON_THE_WAY = {**GIVEN, "training": {**TRAINING, "epochs": 50}, "uncertainty": MEASURE}
"""How the runs are learned from: fewer epochs, from the weights that there are."""


def direct(atoms: Atoms, calculator: Calculator, n: int, seed: int) -> Configurations:
    """Return so many frames of a direct run, every 10 fs after 0.2 ps, with their labels."""
    atoms, rng = atoms.copy(), np.random.default_rng(seed)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=rng)
    motion = Langevin(atoms, units.fs, temperature_K=TEMPERATURE, friction=0.01 / units.fs, rng=rng)
    motion.run(200)
    found = []
    for _ in range(n):
        motion.run(10)
        found.append(atoms.copy())
    return Labels(calculator).add(Configurations.from_ase(found))


def on_the_fly(
    starts: Configurations, labels: Labels, simulation: dict[str, Any], most: int
) -> tuple[list[int], list[int]]:
    """Label where runs stop until they are complete; return labels and steps after each turn."""
    plan = plugins.make("simulations", simulation)
    groups = plan.groups(starts)
    checkpoints: list[Checkpoint | None] = [None] * len(groups)
    steps, active = [0] * len(groups), list(range(len(groups)))
    potential, sizes, done = None, list[int](), list[int]()
    while active and len(labels) < most:
        potential = train(ON_THE_WAY, labels.frames, labels.frames.elements, potential)
        ended = []
        for k in list(active):
            result = plan.run(potential, groups[k], checkpoint=checkpoints[k])
            run = as_dict(result.runs[0])
            steps[k] = run["steps"]
            print(
                f"{len(labels):3d} labels, run {k}: {run['reason']} at step {run['steps']}, "
                f"uncertainty {run['uncertainty']:.3g}. {run['message']}", flush=True,
            )  # fmt: skip
            if run["reason"] != UNPHYSICAL:
                checkpoints[k] = result.checkpoint
            if run["reason"] == COMPLETED:
                active.remove(k)
            else:
                ended.append(stopped(result.trajectory, run, k))
        if ended:
            frames = Configurations.concatenate(ended)
            query = {"name": "final", "n": min(len(ended), most - len(labels))}
            wanted = select(frames, labels.frames, query)
            if not len(wanted.indices):
                raise SystemExit("no good label comes of where the runs stopped")
            labels.add(wanted.of(frames))
        sizes.append(len(labels))
        done.append(sum(steps))
    return sizes, done


def compared(frames: Configurations, test: Configurations, seed: int) -> list[float]:
    """Return errors of a potential trained anew: mean and largest in meV/atom and eV/Å."""
    potential = train(GIVEN, frames, frames.elements, None, seed)
    said = potential.predict(test)
    wrong = errors(test, said.energies, said.forces)
    largest = float(np.linalg.norm(said.forces - test.forces, axis=1).max())
    return [1000 * wrong["energy_mae"], wrong["force_mae"], wrong["force_rmse"], largest]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=float, default=1.0)
    parser.add_argument("--most", type=int, default=50)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--rattled", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    calculator, start = labeller("7net"), molecule("CH3CH2OH")
    labels, test = Labels(calculator), direct(start, calculator, 60, 7)
    pool = direct(start, calculator, 60, 8)
    if asked.rattled:
        rattled = [start.copy() for _ in range(FIRST)]
        for seed, atoms in enumerate(rattled):
            atoms.rattle(0.05, seed=seed)
        first = labels.add(Configurations.from_ase(rattled))
    else:
        order = np.random.default_rng(9).permutation(len(pool))
        first, pool = pool[order[:FIRST]], pool[np.sort(order[FIRST:])]
        labels.frames = first
    simulation = {
        "name": "md", "steps": 2000, "timestep": 1.0, "temperature": TEMPERATURE, "every": 100,
        "guard": {"break": asked.limit, "every": asked.every},
    }  # fmt: skip
    begun = time.process_time()
    sizes, steps = on_the_fly(first[:RUNS].bare, labels, simulation, asked.most)
    print(f"CPU s of the campaign: {time.process_time() - begun:.0f}", flush=True)
    heads = [
        "| labels | steps of all runs | chosen by | energy MAE, meV/atom | force MAE, eV/Å "
        "| force RMSE, eV/Å | largest error of a force, eV/Å |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = []
    for n in sorted({min(size, len(labels)) for size in (30, asked.most)}):
        steps_then = next(done for size, done in zip(sizes, steps) if size >= n)
        ways = {"on the fly": [(labels.frames[:n], seed) for seed in range(2)]}
        ways["random"] = []
        for seed in range(2):
            drawn = np.random.default_rng(seed).permutation(len(pool))[: n - FIRST]
            ways["random"].append((Configurations.concatenate([first, pool[drawn]]), seed))
        for name, sets in ways.items():
            found = np.array([compared(frames, test, seed) for frames, seed in sets])
            told = [
                ", ".join(f"{value:.{digits}f}" for value in column)
                for column, digits in zip(found.T, (2, 3, 3, 2))
            ]
            where = steps_then if name == "on the fly" else ""
            rows.append(f"| {n} | {where} | {name} | {' | '.join(told)} |")
            print(rows[-1], flush=True)
    about = (
        f"A run of 2000 steps ends at {asked.limit:g} times the median of the training set, looked "
        f"at every {asked.every} steps. Two seeds of each: of the weights, and of what is drawn."
    )
    table = [*heads, *rows, "", about]
    name = "oed_rattled" if asked.rattled else "oed"
    (Path(__file__).parent / f"{name}.md").write_text("\n".join(table) + "\n")
