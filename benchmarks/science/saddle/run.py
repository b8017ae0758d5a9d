"""Labels that a search for a saddle point needs: direct ones, and the protocol of `saddle`.

    python benchmarks/science/saddle/run.py emt|7net [--starts N] [-v]

O on Cu(100), 2x2x3, displaced from the hollow site and 1.7 Å high. The steps are those of the
campaign, without AiiDA: train on all labels, let the search go on until its guard ends it, label
that very step, until the label at a converged end is below 0.05 eV/Å. Direct searches have the
same limit: our own one, the dimer of ASE, and sella (PyPI) where it is installed; none of them
computes all modes at the end. All counts include the first label and the last one. A row for each
start is written to ``KIND.md`` beside this file.
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
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.following import ModeFollowing

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Counted, Labels, dimer, labeller, sella, train

FMAX, MOST = 0.05, 60
STARTS = [(0.4, 0.05), (0.7, 0.1), (0.1, 0.02)]
"""Displacements along the surface from the hollow site, in Å; the bridge is at (1.28, 0)."""


def start(displaced: tuple[float, float]) -> Atoms:
    """Return the slab with its lower two layers fixed, and the adsorbate."""
    atoms = fcc100("Cu", (2, 2, 3), vacuum=5.0)
    add_adsorbate(atoms, "O", 1.7, "hollow")
    atoms.pbc = (True, True, False)
    atoms.positions[-1, :2] += displaced
    atoms.set_constraint(FixAtoms(np.flatnonzero(atoms.get_tags() > 1)))
    return atoms


def ours(atoms: Atoms, calculator: Calculator) -> bool:
    """Search with the labelling code itself."""
    fixed = np.zeros((len(atoms), 3), bool)
    fixed[atoms.constraints[0].index] = True
    mode = np.random.default_rng(0).normal(size=(len(atoms), 3))
    probe = Counted(calculator.inner, calculator.count)
    return any(ModeFollowing(atoms, probe, fixed, mode, False, 0.1, False).steps(200, FMAX))


def along(atoms: Atoms, calculator: Calculator) -> bool:
    """Search by the dimer method of ASE, which begins along the displacement of the adsorbate."""
    way = np.zeros((len(atoms), 3))
    way[-1, :2] = atoms.positions[-1, :2] - start((0, 0)).positions[-1, :2]
    return dimer(atoms, way, FMAX)


def cartesian(atoms: Atoms, calculator: Calculator) -> bool:
    """Search by sella."""
    return sella(atoms, FMAX)


def learned(atoms: Atoms, inner: Calculator, tell: bool) -> tuple[int, float, bool, float]:
    """Return labels needed, the labelled energy, whether it converged, and CPU seconds."""
    given, begun = protocols.inputs("saddle"), Configurations.from_ase(atoms).bare
    simulation = plugins.make("simulations", given["simulation"])
    labels, potential, checkpoint, clock = Labels(inner), None, None, 0.0
    labels.add(begun)
    while True:
        began = time.process_time()
        potential = train(given, labels.frames, sorted(begun.elements), potential)
        result = simulation.run(potential, begun, checkpoint=checkpoint)
        clock += time.process_time() - began
        run, frame = result.runs[0], len(result.trajectory) - 1
        if run.reason == "unphysical":
            frame = max(0, frame - 1)  # the last one before that
        else:
            checkpoint = result.checkpoint
        new = labels.add(result.trajectory[frame])
        fmax, energy = float(new.max_forces[0]), float(new.energies[0])
        if tell:
            curvature = run.results.get("curvature")
            print(f"{len(labels):3d} step {run.steps:3d} {run.reason:10s} {energy:9.4f} eV, "
                  f"{fmax:.3f} eV/Å, curvature {curvature}", flush=True)  # fmt: skip
        done = run.converged and fmax < FMAX
        if done or len(labels) >= MOST:
            return len(labels), energy, done, clock


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("labels", choices=["emt", "7net"])
    parser.add_argument("--starts", type=int, default=len(STARTS))
    parser.add_argument("-v", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    inner = labeller(asked.labels)
    rows = [
        f"| start, labels {asked.labels} | search | calls or labels | energy, eV | CPU s |",
        "|---|---|---|---|---|",
    ]
    for displaced in STARTS[: asked.starts]:
        for name, search in {"sella": cartesian, "dimer": along, "ours": ours}.items():
            atoms, count = start(displaced), [0]
            atoms.calc = Counted(inner, count)
            try:
                done = search(atoms, atoms.calc)
            except ImportError:
                continue
            told = count[0] if done else f"not after {count[0]}"
            energy = atoms.get_potential_energy()
            rows.append(f"| {displaced} | {name} | {told} | {energy:.4f} | |")
            print(rows[-1], flush=True)
        n, energy, done, seconds = learned(start(displaced), inner, asked.v)
        told = n if done else f"not after {n}"
        rows.append(f"| {displaced} | campaign | {told} | {energy:.4f} | {seconds:.0f} |")
        print(rows[-1], flush=True)
    path = Path(__file__).parent / f"{asked.labels}.md"
    path.write_text("\n".join(rows) + "\n")
