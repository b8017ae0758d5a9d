"""Bootstrapping in molecular dynamics, with labels of EMT, without AiiDA.

    python benchmarks/science/md/run.py NAME ...

``al``: 108 atoms of fcc Al at 900 K, with a moment tensor potential of level 8 that knows ten
rattled cells, until a run of 10 ps meets no grade of 10 (I. S. Novikov et al., Mach. Learn.: Sci.
Technol. 2, 025002 (2021), section 5.2). ``co_gp`` and ``co_mtp``: CO on Cu(100), 3x3x3 with the
lowest layer fixed, at 300 K, which know ten rattled structures (M. Shuaibi et al., Mach. Learn.:
Sci. Technol. 2, 025007 (2021), figures 4 and 5), up to a budget of labels.

The steps are those of the recipe ``md``: train on all labels, begin the runs again, label what the
query chooses of what they met. Errors are of frames of a direct run of EMT, 2 ps, which nothing has
learned from. A table for each name is written beside this file.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import UNCERTAINTY
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.selection.select import select

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Labels, train

MD = protocols.inputs("md", "fast")
GP = protocols.inputs("gp")


def aluminium() -> list[Atoms]:
    """Return ten cells of 108 atoms, rattled by 0.1 Å."""
    found = []
    for seed in range(10):
        atoms = bulk("Al", cubic=True) * 3
        atoms.rattle(0.1, seed=seed)
        found.append(atoms)
    return found


def co_on_copper() -> list[Atoms]:
    """Return CO on copper as EMT has it: C and O in hollow sites beside each other."""
    atoms = fcc100("Cu", (3, 3, 3), vacuum=6.0)
    atoms += Atoms("CO", atoms.positions[22] + np.array([[1.28, 1.28, 0.9], [1.28, 3.83, 1.2]]))
    atoms.pbc = (True, True, False)
    atoms.set_constraint(FixAtoms(np.flatnonzero(atoms.get_tags() == 3)))
    return [atoms]


def rattled_co() -> list[Atoms]:
    """Return ten of them, the free atoms displaced by 0.1 Å."""
    rng, found = np.random.default_rng(0), []
    for _ in range(10):
        (atoms,) = co_on_copper()
        atoms.set_positions(atoms.positions + rng.normal(0, 0.1, atoms.positions.shape))
        found.append(atoms)
    return found


NAMES = {
    "al": {
        "structures": aluminium,
        "given": {**MD, "model": {**MD["model"], "min_dist": 2.0}},
        "simulation": {"temperature": 900.0, "steps": 5000, "timestep": 2.0, "every": 20,
                       "guard": {"select": 3.0, "break": 10.0, "every": 2}},
        "query": {"name": "maxvol", "n": 10},
        "most": 300,
    },
    "co_gp": {
        "structures": rattled_co,
        "given": GP,
        "simulation": {"temperature": 300.0, "steps": 500, "timestep": 2.0, "every": 10,
                       "guard": {"break": 0.5, "every": 5}},
        "query": {"name": "random", "n": 5},
        "most": 30,
    },
    "co_mtp": {
        "structures": rattled_co,
        "given": {**MD, "model": {**MD["model"], "min_dist": 1.0}},
        "simulation": {"temperature": 300.0, "steps": 1000, "timestep": 2.0, "every": 10,
                       "guard": {"every": 10}},
        "query": {"name": "random", "n": 10},
        "most": 60,
    },
}  # fmt: skip


def direct(atoms: Atoms, temperature: float) -> Configurations:
    """Return 100 frames of a run of EMT, 2 ps after 0.5 ps."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    rng = np.random.default_rng(7)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    motion = Langevin(
        atoms, 2 * units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=rng
    )
    motion.run(250)
    found = []
    for _ in range(100):
        motion.run(10)
        found.append(atoms.copy())
    return Labels(EMT()).add(Configurations.from_ase(found))


def campaign(name: str) -> list[str]:
    """Return the rows of a table, one for each iteration."""
    how = NAMES[name]
    given, structures = how["given"], how["structures"]()
    simulation = plugins.make("simulations", {"name": "md", **how["simulation"]})
    test = direct(structures[0], simulation.temperature)
    labels = Labels(EMT())
    labels.add(Configurations.from_ase(structures))
    begin = Configurations.from_ase(structures[:1]).bare
    rows = [
        "| labels | steps | ended | largest uncertainty | energy MAE, meV/atom | force MAE, eV/Å "
        "| force RMSE, eV/Å | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print(*rows, sep="\n", flush=True)
    potential, began = None, time.process_time()
    while True:
        potential = train(given, labels.frames, labels.frames.elements, potential)
        result = simulation.run(potential, begin)
        run = result.runs[0]
        predicted = potential.predict(test)
        wrong = errors(test, predicted.energies, predicted.forces)
        most = float(np.nanmax(UNCERTAINTY.of(result.trajectory)))
        rows.append(
            f"| {len(labels)} | {run.steps} | {run.reason} | {most:.3g} | "
            f"{1000 * wrong['energy_mae']:.2f} | {wrong['force_mae']:.3f} | "
            f"{wrong['force_rmse']:.3f} | {time.process_time() - began:.0f} |"
        )
        print(rows[-1], flush=True)
        ended = how["query"]["name"] == "maxvol" and run.reason == "completed"
        if ended or len(labels) >= how["most"]:
            return rows
        n = min(how["query"]["n"], how["most"] - len(labels))
        query = {**how["query"], "n": n}
        wanted = select(result.trajectory, labels.frames, query, potential=potential)
        if not len(wanted.indices):
            return rows
        labels.add(wanted.of(result.trajectory))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        table = campaign(name)
        (Path(__file__).parent / f"{name}.md").write_text("\n".join(table) + "\n")
