"""Learning curves of ethanol at 1000 K: section 3.1 of Zaverkin and Kästner (2021), figures 2, 3.

Pool campaigns without AiiDA, one for each query and each seed. Run it from the root of the
repository:

    python benchmarks/science/ethanol/run.py DATA [--protocol scaled] [--seeds 0] [--only NAME ...]

DATA is ``ethanol_1000K.npz`` (5000 conformations, PBE-D3(BJ)/6-31G*; V. Zaverkin,
github.com/viktorzaverkin/ethanol_datasets_git). All campaigns of a seed begin with the same
structures, and make a step in turn. Each step is written to ``results.json`` beside this file, and
where they were they go on. ``plot.py`` makes figures and a table of it.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.uncertainty.base import Uncertainty
from aiida_mlal.ml.uncertainty.committee import ForceStd
from aiida_mlal.ml.uncertainty.oed import OED

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

LOSS = {"energy": 81.0, "force": 100.0}  # equation 4, for nine atoms


@dataclass(frozen=True)
class Protocol:
    """How much is done."""

    first: int
    growth: float
    size: int
    n_validation: int
    layers: str
    training: dict[str, Any]

    def model(self, members: int) -> dict[str, Any]:
        """Return the model of the paper: 427 invariants, and layers of 256 and 128 nodes."""
        found = {"architecture": "gmnn", "cutoff": 4.0, "hidden": [256, 128]}
        found |= {"descriptor": {"n_radial": 7, "invariants": "sorted"}, "layers": self.layers}
        return found if members == 1 else {**found, "ensemble": members}


PROTOCOLS = {
    "paper": Protocol(
        first=100,
        growth=0.1,
        size=1863,
        n_validation=200,
        layers="standard",
        training={
            "epochs": 5000,
            "optimizer": {"name": "adam", "learning_rate": 1e-3, "batch_size": 32},
        },
    ),
    "scaled": Protocol(
        first=100,
        growth=0.5,
        size=337,
        n_validation=50,
        layers="ntk",
        training={
            "epochs": 60,
            "optimizer": {
                "name": "adam",
                "learning_rate": 0.03,
                "rates": {"descriptor": 0.02, "shift": 0.05, "scale": 0.001},
                "batch_size": 10,
                "schedule": {"name": "linear"},
            },
        },
    ),
}

MEMBERS = 3
MEASURES: dict[str, Uncertainty | None] = {
    "random": None,
    "QS1": OED("energy", threshold=None),
    "QS2": OED("forces", threshold=None),
    "LCMD": None,
    "committee": ForceStd(),
}
"""Ways to choose, and the measure of those that choose the largest values of one."""


def main() -> None:
    """Run what is wanted and not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsItIs)
    parser.add_argument("data", type=Path)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="scaled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, help="of the training set, to end earlier")
    parser.add_argument("--until", type=float, default=np.inf, help="no step begins after (s)")
    given = parser.parse_args()
    pool, end = load(given.data), perf_counter() + given.until
    for seed in given.seeds:
        begun: dict[int, Any] = {}
        campaigns = [
            Campaign(pool, name, seed, given.protocol, given.device, given.size, begun)
            for name in given.only
        ]
        while campaigns and perf_counter() < end:
            for campaign in campaigns:
                if perf_counter() < end:
                    campaign.advance()
            campaigns = [campaign for campaign in campaigns if campaign.has_more]


def load(path: Path) -> Configurations:
    """Return all conformations with their labels."""
    data = np.load(path)
    n, n_atoms, _ = data["R"].shape
    return Configurations.from_geometry(
        np.tile(data["Z"], n),
        data["R"].reshape(-1, 3),
        np.full(n, n_atoms),
        np.zeros((n, 3, 3)),
        np.zeros((n, 3)),
        energies=data["E"],
        forces=data["F"].reshape(-1, 3),
    )


@dataclass
class Campaign:
    """One way to choose, with one seed.

    ``begun`` are the first potentials of that seed, by the number of members, and their errors:
    they are the same for all.
    """

    pool: Configurations
    name: str
    seed: int
    protocol: str
    device: str
    size: int | None
    begun: dict[int, Any]

    @property
    def members(self) -> int:
        """How many networks there are."""
        return MEMBERS if self.name == "committee" else 1

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What was done."""
        key = (self.name, self.seed, self.protocol)
        return [row for row in read() if (row["query"], row["seed"], row["protocol"]) == key]

    @property
    def has_more(self) -> bool:
        """Return whether something was chosen that no potential has learned from."""
        steps = self.steps
        return not steps or bool(steps[-1]["chosen"])

    def advance(self) -> None:
        """Train, compare with all that is left, and choose more."""
        wanted, steps, n = PROTOCOLS[self.protocol], self.steps, len(self.pool)
        train = np.random.default_rng(self.seed).permutation(n)[: wanted.first]
        if steps:
            train = np.array(steps[-1]["train"] + steps[-1]["chosen"])
        rest = np.setdiff1d(np.arange(n), train)
        draw = np.random.default_rng([self.seed, len(train)]).permutation(rest)
        if not steps and self.members in self.begun:
            potential, learned, errors, by_structure = self.begun[self.members]
        else:
            potential, learned = self.learn(train, draw[: wanted.n_validation])
            begin = process_time()
            errors, by_structure = compare(potential, self.pool[rest])
            learned["test_seconds"] = process_time() - begin
        if not steps:
            self.begun[self.members] = (potential, learned, errors, by_structure)
        row: dict[str, Any] = {"query": self.name, "seed": self.seed, "protocol": self.protocol}
        row |= {"size": len(train), "training": learned, "errors": errors}
        more = min(int(wanted.growth * len(train)), (self.size or wanted.size) - len(train))
        begin = process_time()
        mine = MEASURES[self.name]
        if self.name == "QS2" and more <= 0:
            mine = None  # it costs more than the training
        values, row["correlation"] = self.measure(potential, train, rest, by_structure, mine)
        row["measure_seconds"] = process_time() - begin
        begin = process_time()
        chosen = self.choose(potential, train, rest, values, more) if more > 0 else []
        row |= {"select_seconds": process_time() - begin}
        row |= {"train": train.tolist(), "chosen": chosen}
        RESULTS.write_text(json.dumps([*read(), row], indent=None) + "\n")
        told = {k: round(v, 4) for k, v in errors.items()}
        print(
            f"{self.name} seed {self.seed}, {len(train)}: {told}, {row['correlation']}", flush=True
        )

    def learn(self, train: np.ndarray, validation: np.ndarray) -> tuple[Potential, dict[str, Any]]:
        """Return a potential trained from new first weights, and how it went."""
        wanted = PROTOCOLS[self.protocol]
        model = ModelOptions.parse(wanted.model(self.members))
        potential = model.build(self.pool.elements, self.seed)
        options = {"loss": LOSS, "bootstrap": False, "patience": None, "precision": "single"}
        training = build(TrainingOptions, {**options, **wanted.training, "device": self.device})
        sets = self.pool[np.sort(train)], self.pool[np.sort(validation)]
        begin, cpu = perf_counter(), process_time()
        record = fit(potential, sets[0], training, self.seed, validation=sets[1])
        return potential, {
            "seconds": perf_counter() - begin,
            "cpu_seconds": process_time() - cpu,
            "best": [curve.best + 1 for curve in record.curves],
            "train_loss": [curve.train[-1] for curve in record.curves],
        }

    def measure(
        self,
        potential: Potential,
        train: np.ndarray,
        rest: np.ndarray,
        errors: np.ndarray,
        mine: Uncertainty | None,
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Return the uncertainties to choose by, and how uncertainties go with errors."""
        measures = {} if mine is None else {self.name: mine}
        if self.name != "committee":
            measures.setdefault("QS1", OED("energy", threshold=None))
        found, scatter = {}, {"error": errors}
        values = None
        for name, measure in measures.items():
            fitted = measure.fitted(potential, self.pool[train])
            potential.extras = {**potential.extras, **fitted.extras}
            scores = measure.measure(potential, bare(self.pool[rest])).values
            if name == self.name:
                values = scores
            if name == "QS1":  # the numerator of equation 14, as in the paper's figure 2
                scores = scores / (1 - scores)
            found[name] = {
                "pearson": float(np.corrcoef(scores, errors)[0, 1]),
                "spearman": float(spearmanr(scores, errors).statistic),
            }
            scatter[name] = scores
        path = HERE / f"scatter_{self.protocol}_{self.name}.npz"
        np.savez_compressed(path, **{k: v.astype(np.float32) for k, v in scatter.items()})
        return values, found

    def choose(
        self,
        potential: Potential,
        train: np.ndarray,
        rest: np.ndarray,
        values: np.ndarray | None,
        n: int,
    ) -> list[int]:
        """Return places in the pool: those of largest value where they were measured."""
        pool = bare(self.pool)
        name = {"random": "random", "LCMD": "lcmd"}.get(self.name, "uncertainty")
        if values is not None:
            carried = np.full(len(pool), np.nan)
            carried[rest] = values
            pool = pool.with_info(uncertainty=carried)
        known = pool[train] if name == "lcmd" else Configurations.empty()
        every = Filters(min_distance=None, duplicate=None)
        query = {"name": name, "n": n}
        return select(pool, known, query, every, self.seed, potential, train.tolist()).indices


def compare(potential: Potential, test: Configurations) -> tuple[dict[str, float], np.ndarray]:
    """Return errors in eV, Å, and of each structure that of equation 23."""
    said = [potential.predict(test[part]) for part in test.slices(2000)]
    apart = np.concatenate([part.forces for part in said]) - test.forces
    energies = (np.concatenate([part.energies for part in said]) - test.energies) / test.counts
    errors = {
        "force_mae": np.abs(apart).mean(),
        "force_rmse": np.sqrt((apart**2).mean()),
        "force_max": np.abs(apart).max(),
        "energy_mae": np.abs(energies).mean(),
        "energy_rmse": np.sqrt((energies**2).mean()),
    }
    by_structure = np.abs(apart).mean(axis=1).reshape(len(test), -1).mean(axis=1)
    return {name: float(value) for name, value in errors.items()}, by_structure


def bare(structures: Configurations) -> Configurations:
    """Return the structures as those see them who choose."""
    nothing = np.full(len(structures), np.nan)
    return structures.with_labels(nothing, np.full(structures.forces.shape, np.nan))


def read() -> list[dict[str, Any]]:
    """Return all steps so far."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


class _AsItIs(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
