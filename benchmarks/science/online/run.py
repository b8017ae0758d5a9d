"""Labels that online relaxations of C on Cu(100) need: the online rows of Shuaibi et al. (2021).

    python benchmarks/science/online/run.py [--seeds N] [--only NAME ...] [-v]

Table 2 there has 30 calls with the Morse prior and 22, with a wrong energy, without it. The steps
are those of ``mlal.online``, without AiiDA: train on all labels, let the relaxation go on until its
guard ends it, label that very step, until the label at a converged end is below the tolerance. The
labelling code is EMT. All counts include the first label and the last one. Rows are written to
``table.md`` beside this file, or to one with the names that are wanted.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Labels, train

FMAX, MOST = 0.05, 60
OFFLINE, ONLINE = protocols.inputs("network"), protocols.inputs("online", "fast")
GUARD = {"uncertainty": {"name": "force_std"}}
NETWORKS = {**OFFLINE["model"], "ensemble": 5}
BARE = {key: value for key, value in NETWORKS.items() if key != "prior"}


def network(model, guard):
    simulation = {"name": "relax", "fmax": 0.02, "guard": {**GUARD, **guard}}
    return {**OFFLINE, "model": model, "simulation": simulation}


WAYS = {
    "gp": ONLINE,
    "5 networks on Morse, 0.05": network(NETWORKS, {"break": 0.05}),
    "5 networks, 0.05": network(BARE, {"break": 0.05}),
    "5 networks on Morse, max(0.08, 0.1 F)": network(NETWORKS, {"break": 0.08, "break_share": 0.1}),
}


def start(seed: int) -> Atoms:
    """Return C on Cu(100), the first one as in the paper, others rattled by 0.05 Å."""
    atoms = fcc100("Cu", (2, 2, 3), vacuum=10.0)
    add_adsorbate(atoms, "C", 3.0, "hollow")
    atoms.pbc = (True, True, False)
    if seed:
        atoms.rattle(0.05, seed=seed)
    tags = atoms.get_tags()
    atoms.set_constraint(FixAtoms(np.flatnonzero(tags == tags.max())))
    return atoms


def relax(given, begun: Configurations, seed: int, tell: bool) -> tuple[int, bool, float]:
    """Return the number of labels, whether it converged, and the energy at the end."""
    simulation = plugins.make("simulations", given["simulation"])
    labels, potential, checkpoint = Labels(EMT()), None, None
    labels.add(begun)
    while True:
        potential = train(given, labels.frames, labels.frames.elements, potential, seed)
        result = simulation.run(potential, begun, checkpoint=checkpoint)
        run = result.runs[0]
        frame = len(result.trajectory) - 1
        if run.reason != "unphysical":
            checkpoint = result.checkpoint
        else:  # the last one before that
            frame = max(0, frame - 1)
        new = labels.add(result.trajectory[frame])
        fmax, energy = float(new.max_forces[0]), float(new.energies[0])
        if tell:
            print(
                f"{len(labels):3d} step {run.steps:3d} {run.reason:10s} {energy:8.4f} eV, "
                f"{fmax:.3f} eV/Å, uncertainty {run.uncertainty:.3f}", flush=True,
            )  # fmt: skip
        if fmax < FMAX:
            return len(labels), True, energy
        if len(labels) >= MOST or run.reason == "max_steps":
            return len(labels), False, energy


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("-v", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = [
        "| way | converged | labels | mean | energy above BFGS, eV | CPU s |",
        "|---|---|---|---|---|---|",
    ]
    energies, calls = [], []
    for seed in range(asked.seeds):
        atoms = start(seed)
        atoms.calc = EMT()
        optimizer = BFGS(atoms, logfile=None)
        optimizer.run(fmax=FMAX)
        energies.append(atoms.get_potential_energy())
        calls.append(optimizer.nsteps + 1)
    rows.append(f"| BFGS | {len(calls)}/{len(calls)} | {calls} | {np.mean(calls):.1f} | 0 | |")
    print(rows[-1])
    for name, given in WAYS.items():
        if asked.only and not any(name.startswith(wanted) for wanted in asked.only):
            continue
        begin, found = time.process_time(), []
        for seed in range(asked.seeds):
            found.append(relax(given, Configurations.from_ase(start(seed)).bare, seed, asked.v))
        seconds = (time.process_time() - begin) / asked.seeds
        counts, good, ends = zip(*found)
        apart = max(e - energy for e, energy in zip(ends, energies))
        rows.append(
            f"| {name} | {sum(good)}/{len(good)} | {list(counts)} | {np.mean(counts):.1f} | "
            f"{apart:.3f} | {seconds:.0f} |"
        )
        print(rows[-1], flush=True)
    name = "_".join(asked.only) if asked.only else "table"
    (Path(__file__).parent / f"{name}.md").write_text("\n".join(rows) + "\n")
