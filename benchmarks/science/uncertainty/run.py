"""Uncertainty and error of forces, in and out of the data, of every kind of model.

    python benchmarks/science/uncertainty/run.py [--seeds 1] [--only SET/MODEL ...]

Each model is trained on a few structures and asked about others. For each measure: the rank
correlation with the error of forces (root mean square of the components of a structure) and the
worst error among the more certain half, without and with the domain of the labels (grades have
none). Rows are added to ``results.json`` beside this, and ``table.md`` is written from all of it.

Sets: ``cu``, cells of copper at one volume, asked about others (EMT; tests/ml/uncertainty);
``cuau``, cells of CuAu at one volume, asked about others, larger rattles and other compositions
(SevenNet-0; ``cuau.py``); ``ethanol``, conformations of low energy, asked about those of any energy
at 1000 K (PBE-D3/6-31G*, shared/data/gmnn_ethanol).
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.stats import spearmanr

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.carried import carry

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SHARED = Path(os.environ.get("AIIDA_MLAL_SHARED", ROOT.parent / "shared"))

LAST_LAYER = ({"name": "oed", "quantity": "forces"}, {"name": "last_layer_force"})
SPREAD = ({"name": "force_std"},)
MODELS = {
    "network": (None, SPREAD),
    "pool": (None, SPREAD),
    "gp": (None, ({"name": "gp_std"},)),
    "bpnn": ({"architecture": "bpnn", "ensemble": 3}, SPREAD),
    "gmnn": ({"architecture": "gmnn", "cutoff": 5.0, "hidden": [32, 32]}, LAST_LAYER),
    "mtp": (
        {"architecture": "mtp", "level": 8, "cutoff": 5.0},
        ({"name": "grade"}, {"name": "grade", "mode": "neighbourhood"}),
    ),
}
"""Model and measures; recipes have their own model."""

EPOCHS = {"gmnn": 150, "mtp": 100}


def ethanol() -> tuple[Configurations, Configurations]:
    data = np.load(SHARED / "data" / "gmnn_ethanol" / "ethanol_1000K.npz")
    energies, forces, positions = data["E"], data["F"], data["R"]
    order = np.argsort(energies)
    cold = np.random.default_rng(0).permutation(order[:1000])
    hot = order[np.linspace(1000, len(order) - 1, 30).astype(int)]

    def labelled(chosen: np.ndarray) -> Configurations:
        frames = []
        for i in chosen:
            atoms = Atoms(data["Z"], positions[i])
            atoms.calc = SinglePointCalculator(atoms, energy=float(energies[i]), forces=forces[i])
            frames.append(atoms)
        return Configurations.from_ase(frames)

    return labelled(cold[:20]), labelled(np.concatenate([cold[20:35], hot]))


def structures(name: str) -> tuple[Configurations, Configurations]:
    if name == "ethanol":
        return ethanol()
    folder = HERE if name == "cuau" else ROOT / "tests" / "ml" / "uncertainty"
    train, pool = (read(str(folder / f"{name}_{part}.extxyz")) for part in ("train", "pool"))
    return train, pool


def settings(model: str) -> tuple[ModelOptions, TrainingOptions]:
    if MODELS[model][0] is None:
        text = (ROOT / "aiida_mlal" / "protocols" / f"{model}.yaml").read_text()
        given = yaml.safe_load(text)["default_inputs"]
        return ModelOptions.parse(given["model"]), build(TrainingOptions, given["training"])
    options = ModelOptions.parse(MODELS[model][0])
    changed = {"epochs": EPOCHS[model]} if model in EPOCHS else {}
    return options, options.training(changed)


def force_errors(potential: Potential, pool: Configurations) -> np.ndarray:
    """Return the root mean square of the errors of forces of each structure, by component."""
    squares = ((potential.predict(pool).forces - pool.forces) ** 2).mean(axis=1)
    return np.sqrt(np.add.reduceat(squares, pool.offsets[:-1]) / pool.counts)


def judged(values: np.ndarray, errors: np.ndarray) -> dict:
    half = np.argsort(values)[: len(values) // 2]
    return {
        "values": values.tolist(),
        "spearman": float(spearmanr(values, errors).statistic),
        "worst": float(errors[half].max()),
    }


def one(name: str, model: str, seed: int) -> dict:
    train, pool = structures(name)
    options, training = settings(model)
    potential = options.build(train.elements, seed, train)
    fit(potential, train, training, seed)
    errors = force_errors(potential, pool)
    found: dict = {"errors": errors.tolist(), "measures": {}}
    trained = potential.extras
    without = {key: value for key, value in trained.items() if not key.startswith("domain.")}
    for given in MODELS[model][1]:
        measure = plugins.make("uncertainties", given)
        said = {}
        for domain, extras in (("without", without), ("with", trained)):
            if domain == "without" or measure.has_domain:
                potential.extras = extras
                carry(potential, given, train)
                said[domain] = judged(measure.measure(potential, pool).values, errors)
        found["measures"][" ".join(given.values())] = said
    return found


def table(results: dict) -> str:
    lines = [
        "# Uncertainty and error of forces, in and out of the data\n",
        "Rank correlation, and worst error (eV/Å) among the more certain half, without and with "
        "the domain; lowest and highest of the seeds where there are several.\n",
        "| set | model | measure | seeds | median error, worst (eV/Å) | rank: without, with | "
        "worst of the certain half: without, with |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, seeds in results.items():
        name, model = key.split("/")
        errors = np.array([run["errors"] for run in seeds.values()])
        spread = f"{np.median(errors):.2f}, {errors.max():.2f}"
        for measure in next(iter(seeds.values()))["measures"]:
            runs = [run["measures"][measure] for run in seeds.values()]
            cells = [
                ", ".join(
                    _range([run[domain][what] for run in runs])
                    for domain in ("without", "with")
                    if domain in runs[0]
                )
                for what in ("spearman", "worst")
            ]
            lines.append(
                f"| {name} | {model} | {measure} | {len(seeds)} | {spread} | {' | '.join(cells)} |"
            )
    return "\n".join(lines) + "\n"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="as set/model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stored = HERE / "results.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    chosen = options.only or [f"{n}/{m}" for n in ("cu", "cuau", "ethanol") for m in MODELS]
    for key in chosen:
        for seed in range(options.seeds):
            run = one(*key.split("/"), seed)
            results.setdefault(key, {})[str(seed)] = run
            stored.write_text(json.dumps(results))
            (HERE / "table.md").write_text(table(results))
            for measure, said in run["measures"].items():
                short = {
                    k: (round(v["spearman"], 2), round(v["worst"], 2)) for k, v in said.items()
                }
                print(key, seed, measure, short, flush=True)


if __name__ == "__main__":
    main()
