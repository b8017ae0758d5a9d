"""Learning curves of pool campaigns without AiiDA, one for each query and each seed.

A study says what there is to learn, how it is compared and how queries choose. All campaigns of a
seed begin with the same structures and make a step in turn. Each step is appended to a file, and
where it ended a campaign goes on.
"""

import argparse
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.training.options import TrainingOptions


@dataclass(frozen=True)
class Protocol:
    """How much is done.

    Attributes
    ----------
    first, size
        Structures of the first and of the last training set.
    growth
        Share of the training set that is chosen in a step, rounded down.
    n_validation
        Structures, drawn anew in each step, that decide which weights are kept.
    model, training
        Options; the latter without what all studies have in common.
    """

    first: int
    size: int
    growth: float
    n_validation: int
    model: dict[str, Any]
    training: dict[str, Any]

    def more(self, size: int) -> int:
        """Return how many structures are chosen when so many were learned from."""
        return min(int(self.growth * size), self.size - size)


def training_of_paper(loss: dict[str, float]) -> dict[str, Any]:
    """Return the training of V. Zaverkin and J. Kästner (2021), section 3."""
    optimizer = {"name": "adam", "learning_rate": 1e-3, "batch_size": 32}
    return {"epochs": 5000, "loss": loss, "optimizer": optimizer}


def scaled_training(loss: dict[str, float], epochs: int) -> dict[str, Any]:
    """Return a training that gets far in few epochs: larger rates in smaller batches."""
    optimizer = {
        "name": "adam",
        "learning_rate": 0.03,
        "rates": {"descriptor": 0.02, "shift": 0.05, "scale": 0.001},
        "batch_size": 10,
        "schedule": {"name": "linear"},
    }
    return {"epochs": epochs, "loss": loss, "optimizer": optimizer}


def correlation(scores: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """Return the linear correlation of uncertainties with errors, and that of their ranks."""
    return {
        "pearson": float(np.corrcoef(scores, errors)[0, 1]),
        "spearman": float(spearmanr(scores, errors).statistic),
    }


def mean_error(rows: Sequence[dict[str, Any]], query: str, size: int, key: str) -> float:
    """Return the mean error over the seeds that came to a size; NaN if none did."""
    found = [r["errors"][key] for r in rows if r["query"] == query and r["size"] == size]
    return float(np.mean(found)) if found else np.nan


def label_few(axis: Any) -> None:
    """Label logarithmic axes at 1, 2, 3, 5 and 7 times powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for scale, places in ((axis.xaxis, "{x:.0f}"), (axis.yaxis, "{x:.3g}")):
        scale.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        scale.set_major_formatter(StrMethodFormatter(places))
        scale.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Study(ABC):
    """What all campaigns have in common.

    Attributes
    ----------
    name
        Of the protocol.
    pool
        All structures that may be learned from, with labels.
    results
        The file that steps are appended to.
    """

    name: str
    protocol: Protocol
    pool: Configurations
    results: Path
    device: str = "cpu"

    def members(self, query: str) -> int:
        """Return how many networks there are."""
        return 1

    @abstractmethod
    def compare(
        self, potential: Potential, rest: np.ndarray
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return errors, and those of each structure that was compared.

        ``rest`` are the places of structures that were not learned from.
        """

    @abstractmethod
    def choose(self, query: str, step: "Step", n: int) -> tuple[list[int], dict[str, Any]]:
        """Return places in the pool, none if ``n`` is 0, and what else is worth keeping."""

    @property
    def steps(self) -> list[dict[str, Any]]:
        """All steps so far, of other protocols as well."""
        return json.loads(self.results.read_text()) if self.results.exists() else []

    def learn(
        self, train: np.ndarray, validation: np.ndarray, members: int, seed: int
    ) -> tuple[Potential, dict[str, Any]]:
        """Return a potential trained from new first weights, and how it went."""
        model = (
            self.protocol.model if members == 1 else {**self.protocol.model, "ensemble": members}
        )
        potential = ModelOptions.parse(model).build(self.pool.elements, seed)
        options = {"bootstrap": False, "patience": None, "precision": "single"}
        options |= {**self.protocol.training, "device": self.device}
        training = build(TrainingOptions, options)
        sets = self.pool[np.sort(train)], self.pool[np.sort(validation)]
        begin, cpu = perf_counter(), process_time()
        record = fit(potential, sets[0], training, seed, validation=sets[1])
        return potential, {
            "seconds": perf_counter() - begin,
            "cpu_seconds": process_time() - cpu,
            "best": [curve.best + 1 for curve in record.curves],
            "train_loss": [curve.train[-1] for curve in record.curves],
        }


@dataclass(frozen=True, eq=False)
class Step:
    """What a query may look at.

    ``train`` and ``rest`` are places in the pool, ``errors`` those of the structures that were
    compared.
    """

    potential: Potential
    train: np.ndarray
    rest: np.ndarray
    errors: np.ndarray
    seed: int


@dataclass(frozen=True, eq=False)
class Campaign:
    """One way to choose, with one seed.

    ``begun`` are the first potentials of that seed, by the number of members, and their errors:
    they are the same for all.
    """

    study: Study
    query: str
    seed: int
    begun: dict[int, Any]

    @cached_property
    def key(self) -> dict[str, Any]:
        """What its steps are found by."""
        return {"query": self.query, "seed": self.seed, "protocol": self.study.name}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What was done."""
        return [row for row in self.study.steps if self.key.items() <= row.items()]

    def has_more(self, size: int | None) -> bool:
        """Return whether something was chosen, up to a size, that no potential has learned from."""
        steps = self.steps
        if not steps:
            return True
        return bool(steps[-1]["chosen"]) and (size is None or steps[-1]["size"] < size)

    def advance(self) -> None:
        """Train, compare, and choose more."""
        study, steps, n = self.study, self.steps, len(self.study.pool)
        train = np.random.default_rng(self.seed).permutation(n)[: study.protocol.first]
        if steps:
            train = np.array(steps[-1]["train"] + steps[-1]["chosen"])
        rest = np.setdiff1d(np.arange(n), train)
        draw = np.random.default_rng([self.seed, len(train)]).permutation(rest)
        members = study.members(self.query)
        if not steps and members in self.begun:
            potential, learned, errors, apart = self.begun[members]
        else:
            validation = draw[: study.protocol.n_validation]
            potential, learned = study.learn(train, validation, members, self.seed)
            begin = process_time()
            errors, apart = study.compare(potential, rest)
            learned["test_seconds"] = process_time() - begin
        if not steps:
            self.begun[members] = (potential, learned, errors, apart)
        row = {**self.key, "size": len(train), "training": learned, "errors": errors}
        step = Step(potential, train, rest, apart, self.seed)
        chosen, about = study.choose(self.query, step, study.protocol.more(len(train)))
        row |= {**about, "train": train.tolist(), "chosen": chosen}
        study.results.write_text(json.dumps([*study.steps, row], indent=None) + "\n")
        told = {k: round(v, 4) for k, v in errors.items()}
        print(f"{self.query} seed {self.seed}, {len(train)}: {told}, {about}", flush=True)


def parser(description: str, protocols: Sequence[str], queries: Sequence[str]) -> Any:
    """Return the options of a program."""
    found = argparse.ArgumentParser(description=description, formatter_class=_AsItIs)
    found.add_argument("data", type=Path)
    found.add_argument("--protocol", choices=protocols, default="scaled")
    found.add_argument("--seeds", type=int, nargs="+", default=[0])
    found.add_argument("--only", nargs="+", choices=queries, default=list(queries))
    found.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    found.add_argument("--size", type=int, help="of the training set, to end earlier")
    found.add_argument("--until", type=float, default=np.inf, help="no step begins after (s)")
    return found


def run(study: Study, given: argparse.Namespace) -> None:
    """Run what is wanted and not done yet."""
    end = perf_counter() + given.until
    for seed in given.seeds:
        begun: dict[int, Any] = {}
        campaigns = [Campaign(study, query, seed, begun) for query in given.only]
        while campaigns := [one for one in campaigns if one.has_more(given.size)]:
            for campaign in campaigns:
                if perf_counter() >= end:
                    return
                campaign.advance()


def bare(structures: Configurations) -> Configurations:
    """Return the structures as those see them who choose."""
    nothing = np.full(len(structures), np.nan)
    return structures.with_labels(nothing, np.full(structures.forces.shape, np.nan))


class _AsItIs(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""
