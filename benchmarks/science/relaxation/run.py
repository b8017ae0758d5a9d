"""How many labels a relaxation of C on Cu(100) needs: tables 2 and 3 of Shuaibi et al. (2021).

The oracle is EMT. Run it from the root of the repository:

    python benchmarks/science/relaxation/run.py [--seeds 10] [--cores 2] [--only NAME ...]

Each row is a way to relax the slab, each seed another set of first weights; with ``--rattle`` each
seed begins with another start too. Rows are added to ``results.json`` beside this file, and
``table.md`` is written from all of it.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS, BFGSLineSearch, GPMin

from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.label import label
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions

HERE = Path(__file__).parent
PROTOCOLS = HERE.parents[2] / "aiida_mlal" / "protocols" / "network.yaml"
BALANCED = yaml.safe_load(PROTOCOLS.read_text())["default_inputs"]

SINGLE = {**BALANCED["model"], "ensemble": 1}
BARE = {key: value for key, value in SINGLE.items() if key != "prior"}
LENNARD_JONES = {
    "architecture": "ase",
    "calculator": {
        "name": "lj",
        "factory": "ase.calculators.lj:LennardJones",
        "options": {"sigma": 2.27, "epsilon": 0.4, "rc": 6.0, "smooth": True},
    },
    "cutoff": 6.0,
}
"""Copper's distance and about its bond energy, for carbon too: a prior that is wrong in numbers."""
PAPER = {"architecture": "bpnn", "prior": {"architecture": "morse", "smoothing": "hard"}}
PAPER_TRAINING = {
    "epochs": 200,
    "patience": None,
    "optimizer": {
        "name": "lbfgs",
        "learning_rate": 1e-2,
        "line_search": None,
        "schedule": {"name": "cosine_restarts"},
    },
}
FINAL = {"name": "final", "n": 1}


def variant(model, query, fmax=0.03, training=BALANCED["training"], iterations=25, cap=40):
    return {
        "model": model,
        "training": training,
        "query": query,
        "simulation": {**BALANCED["simulation"], "fmax": fmax / 3},
        "stop": [
            {"name": "oracle_force", "fmax": fmax},
            {"name": "iterations", "n": iterations},
            {"name": "labels", "n": cap},
        ],
    }


CAMPAIGNS = {
    "final, 0.03": variant(SINGLE, FINAL),
    "final, 0.05": variant(SINGLE, FINAL, 0.05),
    "final, committee of 3, 0.03": variant(BALANCED["model"], FINAL),
    "final, no prior, 0.05": variant(BARE, FINAL, 0.05, iterations=15),
    "final, Lennard-Jones prior, 0.05": variant({**BARE, "prior": LENNARD_JONES}, FINAL, 0.05),
    "final + random, 0.03": variant(SINGLE, {"name": "final", "n": 2}),
    "final + uncertainty, 0.03": variant(BALANCED["model"], {"name": "final_uncertainty", "n": 2}),
    "random, 10 x 2": variant(SINGLE, {"name": "random", "n": 2}, iterations=10),
    "uncertainty, 10 x 2": variant(
        BALANCED["model"], {"name": "uncertainty", "n": 2}, iterations=10
    ),
    "paper's settings, 0.03": variant(PAPER, {"name": "final", "n": 2}, training=PAPER_TRAINING),
    "paper's settings, 0.05": variant(
        PAPER, {"name": "final", "n": 2}, 0.05, training=PAPER_TRAINING
    ),
}
DIRECT = {"BFGS": BFGS, "BFGSLineSearch": BFGSLineSearch, "GPMin": GPMin}


def slab(rattle: float, seed: int) -> Atoms:
    atoms = fcc100("Cu", (2, 2, 3), vacuum=10.0)
    add_adsorbate(atoms, "C", 3.0, "hollow")
    atoms.pbc = (True, True, False)
    atoms.set_constraint(FixAtoms([atom.index for atom in atoms if atom.tag == 3]))
    if rattle:
        moved = atoms.positions + np.random.default_rng(seed).normal(0, rattle, (len(atoms), 3))
        atoms.set_positions(moved)  # which leaves fixed atoms where they are
    return atoms


class Counted(EMT):
    """EMT that counts how often it is called."""

    calls = 0

    def calculate(self, *args, **kwargs):
        self.calls += 1
        super().calculate(*args, **kwargs)


def direct(optimizer, rattle: float, seed: int, fmax: float) -> dict:
    atoms = slab(rattle, seed)
    atoms.calc = Counted()
    optimizer(atoms, logfile=None).run(fmax=fmax, steps=200)
    found = {"labels": atoms.calc.calls, "energy": atoms.get_potential_energy()}
    return {**found, "positions": atoms.positions.tolist()}


def campaign(settings: dict, rattle: float, seed: int) -> dict:
    """Run the loop of the offline WorkChain without AiiDA."""
    torch.set_num_threads(1)
    begun = perf_counter()
    start = Configurations.from_ase(slab(rattle, seed))
    oracle = CalculatorOptions("emt")
    model, training = (
        ModelOptions.parse(settings["model"]),
        build(TrainingOptions, settings["training"]),
    )
    simulation = plugins.make("simulations", settings["simulation"])
    strategy = plugins.make("strategies", settings["query"])
    criteria = stops.parse(settings["stop"])
    dataset, rows = label(start, oracle), []
    while True:
        iteration = len(rows) + 1
        potential = model.build(dataset.learnable.elements, 1000 * seed + 10 * iteration)
        fit(potential, dataset, training, 1000 * seed + 10 * iteration)
        result = simulation.run(potential, start)
        chosen = select(
            result.trajectory, dataset, strategy, Filters(), seed + iteration, potential
        )
        picked = [choice["index"] for choice in chosen.selected]
        new = label(result.trajectory[picked], oracle)
        dataset = Configurations.concatenate([dataset, new])
        state = stops.State(iteration, len(dataset), result.trajectory, new, dataset, ())
        verdict = stops.decide(criteria, state)
        rows.append({**stops.row(state), "outcome": verdict.outcome})
        if verdict.outcome != "go on" or not len(new):
            break
    end = result.trajectory[-1]
    return {
        "labels": len(dataset),
        "rejected": int((dataset.status != "ok").sum()),
        "outcome": verdict.outcome,
        "energy": float(end.info["predicted_energy"][0]),
        "positions": end.positions.tolist(),
        "seconds": perf_counter() - begun,
        "rows": rows,
    }


def one(name: str, rattle: float, seed: int) -> dict:
    method, _, fmax = name.partition("direct ")[2].partition(", ")
    if method:
        return direct(DIRECT[method], rattle, seed, float(fmax))
    return campaign(CAMPAIGNS[name], rattle, seed)


def compare(runs: dict, reference: dict) -> dict:
    """Return errors as the paper defines them, against the direct relaxation of the same start."""
    energy, structure = [], []
    for seed, run in runs.items():
        target = reference[seed]
        energy.append(abs(run["energy"] - target["energy"]))
        moved = np.abs(np.array(run["positions"]) - np.array(target["positions"]))
        structure.append(moved.sum(axis=1).mean())
    labels = [run["labels"] for run in runs.values()]
    ended = [run.get("outcome", "converged") for run in runs.values()]
    return {
        "labels": np.array(labels),
        "converged": ended.count("converged"),
        "n": len(ended),
        "energy": np.mean(energy),
        "structure": np.mean(structure),
        "rejected": sum(run.get("rejected", 0) for run in runs.values()),
        "seconds": np.median([run.get("seconds", 0.0) for run in runs.values()]),
    }


def table(results: dict) -> str:
    lines = []
    for start, rows in results.items():
        lines += [
            f"\n## Starts: {start}\n",
            "| | labels, mean ± std (min-max) | converged | energy MAE (eV) | structure MAE (Å) "
            "| labels rejected | median seconds |",
            "|---|---|---|---|---|---|---|",
        ]
        reference = rows["direct BFGS, 0.001"]
        for name, runs in rows.items():
            if name == "direct BFGS, 0.001":
                continue
            r = compare(runs, reference)
            lines.append(
                f"| {name} | {r['labels'].mean():.1f} ± {r['labels'].std():.1f} "
                f"({r['labels'].min()}-{r['labels'].max()}) | {r['converged']}/{r['n']} "
                f"| {r['energy']:.4f} | {r['structure']:.4f} | {r['rejected']} "
                f"| {r['seconds']:.0f} |"
            )
    return "# C on Cu(100), EMT\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rattle", type=float, default=0.0, help="of the starts, in Å")
    parser.add_argument("--only", nargs="*", help="names of rows")
    options = parser.parse_args()
    stored = HERE / "results.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    start = f"rattled by {options.rattle} Å" if options.rattle else "as built"
    rows = results.setdefault(start, {})
    names = ["direct BFGS, 0.001", *(f"direct {n}, {f}" for n in DIRECT for f in (0.03, 0.05))]
    with ProcessPoolExecutor(options.cores) as pool:
        for name in [*names, *(options.only or CAMPAIGNS)]:
            seeds = range(options.seeds if options.rattle or name in CAMPAIGNS else 1)
            if name.startswith("direct BFGS, 0.001"):
                seeds = range(options.seeds)
            found = rows.setdefault(name, {})
            tasks = {pool.submit(one, name, options.rattle, seed): seed for seed in seeds}
            for task in as_completed(tasks):
                found[str(tasks[task])] = task.result()
                stored.write_text(json.dumps(results))
                (HERE / "table.md").write_text(table(results))
            labels = [run["labels"] for run in found.values()]
            print(f"{start}: {name}: {np.mean(labels):.1f} labels", flush=True)


if __name__ == "__main__":
    main()
