"""Where relaxations of atoms and cell end, and how many labels they need.

Crystals begin from lattice constants 8 % too small and too large, and are relaxed by offline
learning and by BFGS, in both cases to the same limits of force and stress. The labels are those of
EMT and of SevenNet-0 (``pip install sevenn``). Run it from the root of the repository:

    python benchmarks/science/cells/run.py [--only NAME ...] [--recipe gp] [--protocols balanced]
        [--seeds 1]

Rows are added to ``results.json`` beside this file, and ``table.md`` is written from all of it.
"""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from aiida_mlal import protocols
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.starts import Beginning
from aiida_mlal.report.direct import relax_frames

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import train

HERE = Path(__file__).parent
SCALES = (0.92, 1.08)


def scaled(scale: float, *args, **options) -> Callable[[], Atoms]:
    def make() -> Atoms:
        atoms = bulk(*args, **options)
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        return atoms

    return make


@cache
def sevennet():
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


CRYSTALS = {
    "fcc Al, EMT": (EMT, ("Al",), {"cubic": True, "a": 3.994}),
    "fcc Cu, EMT": (EMT, ("Cu",), {"cubic": True, "a": 3.590}),
    "hcp Mg, SevenNet-0": (sevennet, ("Mg",), {"a": 3.19, "c": 5.18}),
    "NaCl, SevenNet-0": (sevennet, ("NaCl", "rocksalt"), {"cubic": True, "a": 5.64}),
}
STARTS = {
    f"{name}, {scale - 1:+.0%}": (calculator, scaled(scale, *args, **options))
    for name, (calculator, args, options) in CRYSTALS.items()
    for scale in SCALES
}


def options_of(recipe: str, protocol: str) -> dict:
    """Return the inputs of a recipe and its protocol, with a cell that moves."""
    moving = {"simulation": {"cell": "full"}}
    return protocols.inputs(recipe, protocol, moving, "moving_cell")


class Oracle:
    """Labels with a calculator that counts its calls."""

    def __init__(self, calculator) -> None:
        self.calculator, self.calls = calculator, 0

    def __call__(self, structures: Configurations) -> Configurations:
        found = []
        for atoms in structures.to_ase():
            atoms.calc = self.calculator
            forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
            energy = atoms.get_potential_energy()
            found.append((energy, forces, stress))
            self.calls += 1
        if not found:
            return structures
        energies, forces, stresses = zip(*found, strict=True)
        labels = energies, np.concatenate(forces), np.stack(stresses)
        return structures.with_labels(*labels).with_info(status=[OK] * len(found))


def cpu_seconds() -> float:
    """Of this process, and of those that fitted members of a committee."""
    return sum(os.times()[:4])


def lengths(cell: np.ndarray) -> list[float]:
    return np.linalg.norm(cell, axis=1).tolist()


def direct(start: Atoms, calculator, fmax: float, smax: float) -> dict:
    cell = MovingCell("full")
    frames = relax_frames(start, calculator, "BFGS", fmax, 300, cell, smax)
    return {"labels": len(frames), "lengths": lengths(frames.cells[-1])}


def campaign(start: Atoms, calculator, settings: dict, seed: int) -> dict:
    """Run the loop of the offline WorkChain without AiiDA."""
    torch.set_num_threads(1)
    before, oracle = cpu_seconds(), Oracle(calculator)
    simulation = plugins.make("simulations", settings["simulation"])
    strategy = plugins.make("strategies", settings["query"])
    rule = plugins.make("starts", settings.get("start", {"name": "given"}))
    criteria = stops.parse(settings["stop"])
    begun = Beginning(Configurations.from_ase(start), simulation.guard.trust)
    dataset, rows, potential = oracle(begun.structures), [], None
    while True:
        iteration = len(rows) + 1
        if begun.trust is not None:
            guard = replace(simulation.guard, trust=begun.trust)
            simulation = replace(simulation, guard=guard)
        potential = train(settings, dataset, dataset.elements, potential, 1000 * seed)
        result = simulation.run(potential, begun.structures.bare)
        chosen = select(result.trajectory, dataset, strategy, Filters(), seed, potential)
        new = oracle(result.trajectory[[choice["index"] for choice in chosen.selected]])
        dataset = Configurations.concatenate([dataset, new])
        runs = [as_dict(run) for run in result.runs]
        state = stops.State(iteration, oracle.calls, result.trajectory, new, dataset, runs)
        verdict = stops.decide(criteria, state)
        rows.append({**stops.row(state), "outcome": verdict.outcome, "reason": verdict.reason})
        rows[-1]["ended"], rows[-1]["lengths"] = (
            runs[0]["reason"],
            lengths(result.trajectory.cells[-1]),
        )
        if verdict.outcome != "go on" or not len(new):
            break
        begun = rule.after(begun, state)
    return {
        "labels": oracle.calls,
        "outcome": verdict.outcome,
        "lengths": lengths(result.trajectory.cells[-1]),
        "cpu_seconds": cpu_seconds() - before,
        "rows": rows,
    }


def apart(one: dict, other: dict) -> float:
    return float(np.abs(np.subtract(one["lengths"], other["lengths"])).max())


def table(results: dict) -> str:
    lines = [
        "# Crystals from lattice constants that are off by 8 %\n",
        "Lengths in Å: the lattice vectors that differ. `direct` is BFGS on the labels with ASE's",
        "filter of the cell, to the same limits of force and stress, `reference` the same to 0.001",
        "eV/Å and 0.001 GPa. The next three columns are largest differences of lengths.\n",
        "| crystal and start | recipe, protocol | reference | direct: labels | direct | outcome "
        "| labels | learned | learned - direct | learned - reference | direct - reference "
        "| CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        for protocol, both in found.items():
            for one in both["campaigns"].values():
                said = [
                    ", ".join(f"{v:.4f}" for v in np.unique(np.round(x["lengths"], 4)))
                    for x in (both["reference"], both["direct"], one)
                ]
                lines.append(
                    f"| {name} | {protocol} | {said[0]} | {both['direct']['labels']} | {said[1]} "
                    f"| {one['outcome']} | {one['labels']} | {said[2]} "
                    f"| {apart(one, both['direct']):.4f} | {apart(one, both['reference']):.4f} "
                    f"| {apart(both['direct'], both['reference']):.4f} "
                    f"| {one['cpu_seconds']:.0f} |"
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(STARTS), help="beginnings of names")
    parser.add_argument("--recipe", default="gp")
    parser.add_argument("--protocols", nargs="*", default=["fast", "balanced"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--prior", help="architecture of another prior")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    options.output.mkdir(exist_ok=True)
    stored = options.output / "results.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for name, (make, start) in STARTS.items():
        if not name.startswith(tuple(options.only)):
            continue
        for protocol in options.protocols:
            settings = options_of(options.recipe, protocol)
            if options.prior is not None:
                prior = {"architecture": options.prior}
                settings["model"] = {**settings["model"], "prior": prior}
            limits = settings["stop"][0]
            key = f"{options.recipe}, {protocol}"
            found = results.setdefault(name, {}).setdefault(key, {"campaigns": {}})
            found["direct"] = direct(start(), make(), limits["fmax"], limits["smax_GPa"])
            found["reference"] = direct(start(), make(), 0.001, 0.001)
            for seed in range(options.seeds):
                one = campaign(start(), make(), settings, seed)
                found["campaigns"][str(seed)] = one
                stored.write_text(json.dumps(results, indent=1) + "\n")
                (options.output / "table.md").write_text(table(results))
                print(
                    f"{name}, {key}, seed {seed}: {one['outcome']}, {one['labels']} labels "
                    f"({found['direct']['labels']} direct), {one['lengths']}, "
                    f"{one['cpu_seconds']:.0f} s\n  "
                    + "\n  ".join(
                        f"{row['ended']} {row['lengths'][0]:.4f} {row['reason']}"
                        for row in one["rows"]
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()
