"""Uncertainty and error of the models of both protocols far away from their data.

    python benchmarks/science/uncertainty/run.py [--seeds 4]

Each model is trained on cells of copper at one volume and asked about others (EMT; the files are
those of tests/ml/uncertainty). For each seed: the rank correlation of ``force_std`` with the error
of forces (root mean square of the components of a structure) and the worst error among the more
certain half, without and with the domain of the labels. Written to ``results.json`` beside this.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.stats import spearmanr

from aiida_mlal.ml.formats.files import read
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.committee import ForceStd

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def one(protocol: str, seed: int) -> dict:
    text = (ROOT / "aiida_mlal" / "protocols" / f"{protocol}.yaml").read_text()
    given = yaml.safe_load(text)["default_inputs"]
    train, pool = (
        read(str(ROOT / "tests" / "ml" / "uncertainty" / f"cu_{name}.extxyz"))
        for name in ("train", "pool")
    )
    potential = ModelOptions.parse(given["model"]).build(train.elements, seed)
    fit(potential, train, build(TrainingOptions, given["training"]), seed)
    squares = ((potential.predict(pool).forces - pool.forces) ** 2).mean(axis=1)
    errors = np.sqrt(np.add.reduceat(squares, pool.offsets[:-1]) / pool.counts)
    found = {"errors": errors.tolist()}
    for name in ("with", "without"):
        values = ForceStd().measure(potential, pool).values
        potential.extras = {}
        half = np.argsort(values)[: len(values) // 2]
        found[name] = {
            "values": values.tolist(),
            "spearman": float(spearmanr(values, errors).statistic),
            "worst of the certain half": float(errors[half].max()),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict = {}
    for protocol in ("offline", "pool"):
        for seed in range(options.seeds):
            found = results.setdefault(protocol, {})[str(seed)] = one(protocol, seed)
            (HERE / "results.json").write_text(json.dumps(results, indent=1))
            said = {key: list(found[key].values())[1:] for key in ("without", "with")}
            print(protocol, seed, said, flush=True)


if __name__ == "__main__":
    main()
