"""Learning curves of ethanol at 1000 K: section 3.1 of Zaverkin and Kästner (2021), figures 2, 3.

Run it from the root of the repository:

    python benchmarks/science/ethanol/run.py DATA [--protocol scaled] [--seeds 0] [--only NAME ...]

DATA is ``ethanol_1000K.npz`` (5000 conformations, PBE-D3(BJ)/6-31G*; V. Zaverkin,
github.com/viktorzaverkin/ethanol_datasets_git). Each step is appended to ``results.json`` beside
this file, and where it ended a campaign goes on. ``plot.py`` makes figures and a table of it.
"""

import sys
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.uncertainty.base import Uncertainty
from aiida_mlal.ml.uncertainty.committee import ForceStd
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

# the model of the paper: 427 invariants, and layers of 256 and 128 nodes
MODEL = {
    "architecture": "gmnn",
    "cutoff": 4.0,
    "hidden": [256, 128],
    "descriptor": {"n_radial": 7, "invariants": "sorted"},
}
LOSS = {"energy": 81.0, "force": 100.0}  # equation 4, for nine atoms

PROTOCOLS = {
    "paper": Protocol(
        first=100,
        growth=0.1,
        size=1863,
        n_validation=200,
        model={**MODEL, "layers": "standard"},
        training=training_of_paper(LOSS),
    ),
    "scaled": Protocol(
        first=100,
        growth=0.5,
        size=1863,
        n_validation=50,
        model={**MODEL, "layers": "ntk"},
        training=scaled_training(LOSS, 60),
    ),
}

MEASURES: dict[str, Uncertainty | None] = {
    "random": None,
    "QS1": OED("energy", threshold=None),
    "QS2": OED("forces", threshold=None),
    "LCMD": None,
    "committee": ForceStd(),
}
"""Ways to choose, and the measure of those that choose the largest values of one."""


class Ethanol(Study):
    """One molecule in many conformations."""

    def members(self, query: str) -> int:
        """Return the size of a committee."""
        return 3 if query == "committee" else 1

    def compare(
        self, potential: Potential, rest: np.ndarray
    ) -> tuple[dict[str, float], np.ndarray]:
        """Return errors in eV, Å on all that is left, and of each structure that of equation 23."""
        test = self.pool[rest]
        said = [potential.predict(test[part]) for part in test.slices(2000)]
        apart = np.concatenate([part.forces for part in said]) - test.forces
        energies = np.concatenate([part.energies for part in said]) - test.energies
        energies /= test.counts
        errors = {
            "force_mae": np.abs(apart).mean(),
            "force_rmse": np.sqrt((apart**2).mean()),
            "force_max": np.abs(apart).max(),
            "energy_mae": np.abs(energies).mean(),
            "energy_rmse": np.sqrt((energies**2).mean()),
        }
        by_structure = np.abs(apart).mean(axis=1).reshape(len(test), -1).mean(axis=1)
        return {name: float(value) for name, value in errors.items()}, by_structure

    def choose(self, query: str, step: Step, n: int) -> tuple[list[int], dict[str, Any]]:
        """Return what the query chooses, and how uncertainties go with errors."""
        begin = process_time()
        mine = MEASURES[query]
        if query == "QS2" and not n:
            mine = None  # it costs more than the training
        values, correlations = self._measure(query, step, mine)
        about = {"correlation": correlations, "measure_seconds": process_time() - begin}
        if not n:
            return [], about
        begin = process_time()
        pool, name = bare(self.pool), {"random": "random", "LCMD": "lcmd"}.get(query, "uncertainty")
        if values is not None:
            carried = np.full(len(pool), np.nan)
            carried[step.rest] = values
            pool = pool.with_info(uncertainty=carried)
        known = pool[step.train] if name == "lcmd" else Configurations.empty()
        every = Filters(min_distance=None, duplicate=None)
        chosen = select(
            pool, known, {"name": name, "n": n}, every, step.seed, step.potential,
            step.train.tolist(),
        ).indices  # fmt: skip
        return chosen, {**about, "select_seconds": process_time() - begin}

    def _measure(
        self, query: str, step: Step, mine: Uncertainty | None
    ) -> tuple[np.ndarray | None, dict[str, Any]]:
        """Return the uncertainties to choose by, and their correlations with errors."""
        measures = {} if mine is None else {query: mine}
        if query != "committee":
            measures.setdefault("QS1", OED("energy", threshold=None))
        found, scatter = {}, {"error": step.errors}
        values = None
        for name, measure in measures.items():
            fitted = measure.fitted(step.potential, self.pool[step.train])
            step.potential.extras = {**step.potential.extras, **fitted.extras}
            scores = measure.measure(step.potential, bare(self.pool[step.rest])).values
            if name == query:
                values = scores
            if name == "QS1":  # the numerator of equation 14, as in the paper's figure 2
                scores = scores / (1 - scores)
            found[name] = correlation(scores, step.errors)
            scatter[name] = scores
        if query == "QS2" and values is not None:
            found["QS1-QS2"] = correlation(scatter["QS1"], scatter["QS2"])
        path = HERE / f"scatter_{self.name}_{query}.npz"
        np.savez_compressed(path, **{k: v.astype(np.float32) for k, v in scatter.items()})
        return values, found


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


def main() -> None:
    """Run what is wanted and not done yet."""
    given = parser(__doc__, list(PROTOCOLS), list(MEASURES)).parse_args()
    protocol, results = PROTOCOLS[given.protocol], HERE / "results.json"
    run(Ethanol(given.protocol, protocol, load(given.data), results, given.device), given)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
