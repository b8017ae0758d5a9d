"""CO on Cu(100) at 800 K with a moment tensor potential, with labels of SevenNet-0, without AiiDA.

    python benchmarks/science/md/sevennet.py

As ``co_mtp_800`` of run.py, but that CO stands on top of an atom of copper, and stays a
molecule. Ten structures, the free atoms displaced by 0.1 Å, are known first, and run for 2 ps each;
ten frames of their runs are drawn in each iteration. Errors are of 60 frames of a direct run, in
0.96 ps after 0.2 ps. The table written beside this file has them for two ``spread`` of
``variable_projection``.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import fcc100
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.selection.select import select

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Labels, labeller, train
from run import MD

SPREADS = (None, 0.2)
MOST = 40
"""Labels at which a campaign ends."""


def upright_co() -> Atoms:
    """Return CO on top of an atom of Cu(100), 3x3x3, the lowest layer fixed."""
    atoms = fcc100("Cu", (3, 3, 3), vacuum=6.0)
    atoms += Atoms("CO", atoms.positions[22] + np.array([[0, 0, 1.85], [0, 0, 3.01]]))
    atoms.pbc = (True, True, False)
    atoms.set_constraint(FixAtoms(np.flatnonzero(atoms.get_tags() == 3)))
    return atoms


def rattled() -> Configurations:
    """Return ten of them, displaced."""
    rng, found = np.random.default_rng(0), []
    for _ in range(10):
        atoms = upright_co()
        atoms.set_positions(atoms.positions + rng.normal(0, 0.1, atoms.positions.shape))
        found.append(atoms)
    return Configurations.from_ase(found)


def direct() -> Configurations:
    """Return frames of a run of SevenNet-0, labelled."""
    atoms, rng = upright_co(), np.random.default_rng(7)
    atoms.calc = labeller("7net")
    MaxwellBoltzmannDistribution(atoms, temperature_K=800, rng=rng)
    motion = Langevin(atoms, 2 * units.fs, temperature_K=800, friction=0.01 / units.fs, rng=rng)
    motion.run(100)
    found = []
    for _ in range(60):
        motion.run(8)
        found.append(atoms.copy())
    return Labels(labeller("7net")).add(Configurations.from_ase(found))


def campaign(spread: float | None, test: Configurations) -> list[str]:
    """Return the rows of a table, one for each iteration."""
    optimizer = {"name": "variable_projection", "spread": spread}
    model = {**MD["model"], "min_dist": 1.0}
    given = {**MD, "model": model, "training": {**MD["training"], "optimizer": optimizer}}
    labels = Labels(labeller("7net"))
    first = rattled()
    labels.add(first)
    rows: list[str] = []
    for iteration in range(MOST // 10):
        potential = train(given, labels.frames, labels.frames.elements)
        predicted = potential.predict(test)
        wrong = errors(test, predicted.energies, predicted.forces)
        largest = np.linalg.norm(predicted.forces - test.forces, axis=1).max()
        options = {"steps": 1000, "timestep": 2.0, "every": 10, "temperature": 800.0}
        options |= {"guard": {"every": 10}, "seed": iteration}
        simulation = plugins.make("simulations", {"name": "md", **options})
        result = simulation.run(potential, first.bare)
        survived = sum(run.reason == "completed" for run in result.runs)
        rows.append(
            f"| {spread} | {len(labels)} | {survived} of {len(result.runs)} "
            f"| {1000 * wrong['energy_mae']:.2f} | {wrong['force_mae']:.4f} "
            f"| {wrong['force_rmse']:.4f} | {largest:.2f} |"
        )
        print(rows[-1], flush=True)
        if len(labels) >= MOST:
            break
        query = {"name": "random", "n": 10}
        wanted = select(result.trajectory, labels.frames, query, seed=iteration)
        labels.add(wanted.of(result.trajectory))
    return rows


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    test = direct()
    table = [
        "| spread | labels | runs completed | energy MAE, meV/atom | force MAE, eV/Å "
        "| force RMSE, eV/Å | largest error of a force, eV/Å |",
        "|---|---|---|---|---|---|---|",
    ]
    for spread in SPREADS:
        table += campaign(spread, test)
    (Path(__file__).parent / "sevennet.md").write_text("\n".join(table) + "\n")
