"""Learning curves of QM9: section 3.2 of Zaverkin and Kästner (2021), figures 6 and 7.

Run it from the root of the repository:

    python benchmarks/science/qm9/run.py DATA [--protocol scaled] [--seeds 0] [--only NAME ...]

DATA is ``qm9_130831.npz``: molecules of R. Ramakrishnan et al., Sci. Data 1, 140022 (2014), with
their total energies at 0 K and their zero-point energies (from the package qm9pack). The test set
is drawn once, and no query sees it. Each step is appended to ``results.json`` beside this file;
``plot.py`` makes figures and a table of it.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.uncertainty.oed import OED

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from learning_curves import (  # noqa: E402
    Protocol,
    Step,
    Study,
    bare,
    correlation,
    parser,
    run,
    scaled_training,
    training_of_paper,
)

N_TEST = 10_000

MODEL = {
    "architecture": "gmnn",
    "cutoff": 3.0,
    "hidden": [256, 128],
    "descriptor": {"n_radial": 7, "invariants": "sorted"},
}
LOSS = {"energy": 1.0, "force": 0.0}
QUERIES = {
    "random": {"name": "random"},
    "QS1": {"name": "oed", "quantity": "energy", "threshold": None},
    "QS1 in turn": {"name": "oed", "quantity": "energy", "threshold": None, "sequential": True},
    "LCMD": {"name": "lcmd", "features": {"name": "last_layer"}},
}
PROTOCOLS = {
    "paper": Protocol(
        first=5000,
        growth=0.1,
        size=25261,
        n_validation=2000,
        model={**MODEL, "layers": "standard"},
        training=training_of_paper(LOSS),
    ),
    "scaled": Protocol(
        first=5000,
        growth=0.25,
        size=25261,
        n_validation=500,
        model={**MODEL, "layers": "ntk"},
        training=scaled_training(LOSS, 30),
    ),
}


@dataclass(frozen=True)
class QM9(Study):
    """Molecules of different composition, each in its minimum."""

    test: Configurations = field(kw_only=True)

    def compare(
        self, potential: Potential, rest: np.ndarray
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return errors of energies in eV on the test set."""
        parts = self.test.slices(2000)
        said = np.concatenate([potential.predict(self.test[part]).energies for part in parts])
        apart = np.abs(said - self.test.energies)
        return {
            "energy_mae": float(apart.mean()),
            "energy_rmse": float(np.sqrt((apart**2).mean())),
            "energy_max": float(apart.max()),
        }, apart

    def choose(self, query: str, step: Step, n: int) -> tuple[list[int], dict[str, Any]]:
        """Return what the query chooses, and how QS1 goes with the errors on the test set."""
        measure = OED("energy", threshold=None)
        step.potential.extras = dict(measure.fitted(step.potential, self.pool[step.train]).extras)
        scores = np.sqrt(measure.measure(step.potential, bare(self.test)).values)
        about: dict[str, Any] = {"correlation": correlation(scores, step.errors)}
        if n < 1:
            return [], about
        begin = process_time()
        known = Configurations.empty() if query == "random" else self.pool[step.train]
        every = Filters(min_distance=None, duplicate=None)
        chosen = select(
            bare(self.pool), known, {**QUERIES[query], "n": n}, every, step.seed,
            step.potential, step.train.tolist(),
        ).indices  # fmt: skip
        counts = self.pool.counts[chosen]
        about |= {"atoms": {"mean": float(counts.mean()), "std": float(counts.std())}}
        return chosen, {**about, "select_seconds": process_time() - begin}


def load(path: Path) -> tuple[Configurations, Configurations]:
    """Return the molecules with their electronic energies: the pool, and the test set."""
    with np.load(path) as file:
        counts = file["n_atoms"].astype(int)
        every = Configurations.from_geometry(
            file["Z"],
            file["pos_1e5A"] * 1e-5,
            counts,
            np.zeros((len(counts), 3, 3)),
            np.zeros((len(counts), 3)),
            energies=file["U0_eV"] - file["ZPVE_eV"],
        )
    order = np.random.default_rng(2014).permutation(len(every))
    return every[np.sort(order[N_TEST:])], every[np.sort(order[:N_TEST])]


def main() -> None:
    """Run what is wanted and not done yet."""
    given = parser(__doc__, list(PROTOCOLS), list(QUERIES)).parse_args()
    pool, test = load(given.data)
    protocol = PROTOCOLS[given.protocol]
    study = QM9(given.protocol, protocol, pool, HERE / "results.json", given.device, test=test)
    run(study, given)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
