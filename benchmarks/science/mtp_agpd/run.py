"""Ag-Pd of table 3 and section 6.1 of the paper on MLIP, out of labels that are there.

    python run.py LEVEL

runs ``mlal.pool`` in the default profile, which ``aiida-mlal setup --default`` makes: MaxVol
chooses from nothing out of 1525 structures of C. W. Rosenbrock et al., npj Comput. Mater. 7, 24
(2021), until it finds nothing more that extrapolates. Then the pathway between two stable
structures is graded, learned from where it extrapolates, and graded again. Adds to results.json,
table.md and pathway.png. I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021),
labelled their structures themselves and found them in relaxations of 39,000.
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from aiida import load_profile
from aiida.engine import run_get_node
from aiida.orm import load_code
from aiida.plugins import CalculationFactory, DataFactory, WorkflowFactory

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("AIIDA_MLAL_SHARED", HERE.parents[2] / ".." / "shared"))
PAPER = {12: (226, 2.8, 3.8), 16: (442, 1.9, 2.4), 20: (920, 1.3, 1.7)}
"""Size of the training set, MAE and RMSE in meV/atom on it."""

MODEL = {"architecture": "mtp", "radial_basis_size": 8, "min_dist": 2.2, "cutoff": 5.0}
LOSS = {"energy": 1.0, "force": 0.01, "stress": 0.001, "scaling": "vibrations"}
TRAINING = {"epochs": 60, "optimizer": {"name": "variable_projection"}, "loss": LOSS}
SELECT, SELECT_PATH = 2.0, 1.1
"""Grades above which structures are chosen, of the pool and of the pathway."""


def read(*names: str) -> Configurations:
    folder = SHARED / "data" / "agpd"
    return Configurations.concatenate([files.read(folder / f"{n}.extxyz.xz") for n in names])


def campaign(level: int, candidates: Any, threshold: float, **given: Any) -> tuple[Any, Any]:
    builder = WorkflowFactory("mlal.pool").get_builder_from_protocol(
        load_code("mlal@localhost"),
        candidates,
        "fast",
        {
            "model": {**MODEL, "level": level},
            "training": TRAINING,
            "first_query": {"name": "maxvol"},
            "query": {"name": "maxvol", "threshold": threshold},
            "stop": [{"name": "iterations", "n": 12}],
            **given,
        },
    )
    return run_get_node(builder)


def graded(potential: Any, structures: Any) -> np.ndarray:
    builder = CalculationFactory("mlal.grade").get_builder()
    builder.code = load_code("mlal@localhost")
    builder.potential, builder.dataset = potential, structures
    outputs, _ = run_get_node(builder)
    found: np.ndarray = outputs["graded"].configurations.info["grade"]
    return found


def errors(potential: Any, known: Configurations) -> dict[str, float]:
    said = potential.load().predict(known)
    energies = 1e3 * (said.energies - known.energies) / known.counts
    forces = 1e3 * (said.forces - known.forces)
    found = {"mae": abs(energies).mean(), "rmse": np.sqrt((energies**2).mean())}
    found["force_rmse"] = np.sqrt((forces**2).mean())
    return {name: round(float(value), 2) for name, value in found.items()}


def profile(potential: Any, structures: Any, path: Configurations) -> dict[str, list[float]]:
    said = potential.load().predict(path)
    return {
        "energies": (said.energies / path.counts).tolist(),
        "grades": graded(potential, structures).tolist(),
    }


def row(level: int) -> dict[str, Any]:
    dataset_of = DataFactory("mlal.dataset")
    pool, path = read("train_774", "fcc_751"), read("pathway_11")
    begun = perf_counter()
    results, node = campaign(level, dataset_of(pool), SELECT)
    seconds = perf_counter() - begun
    potential, chosen = results["potential"], results["dataset"]
    keys = set(chosen.configurations.keys)
    rest = pool[[i for i, key in enumerate(pool.keys) if key not in keys]]
    found: dict[str, Any] = {
        "level": level,
        "n_parameters": potential.base.attributes.get("parameters"),
        "ended": node.exit_message or "converged",
        "sizes": [r["learnable"] for r in results["curve"].get_dict()["rows"]],
        "size": len(chosen),
        "train": errors(potential, chosen.configurations.learnable),
        "rest": errors(potential, rest),
        "all": errors(potential, pool),
        "seconds": round(seconds),
    }
    images = dataset_of(path)
    before = profile(potential, images, path)
    later, _ = campaign(level, images, SELECT_PATH, dataset=chosen, potential=potential)
    found["pathway"] = {
        "labels": (path.energies / path.counts).tolist(),
        "before": before,
        "after": profile(later["potential"], images, path),
        "chosen": len(later["dataset"]) - len(chosen),
    }
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| level | parameters | training set | on it: MAE, RMSE (meV/atom) | on the others "
        "| forces there (meV/Å) | paper: training set, MAE, RMSE | s |",
        "|" + "---|" * 8,
    ]
    for r in rows:
        size, mae, rmse = PAPER[r["level"]]
        here, there = r["train"], r["rest"]
        cells = [r["level"], r["n_parameters"], r["size"], f"{here['mae']}, {here['rmse']}"]
        cells += [f"{there['mae']}, {there['rmse']}", there["force_rmse"]]
        lines.append(
            "| " + " | ".join(map(str, [*cells, f"{size}, {mae}, {rmse}", r["seconds"]])) + " |"
        )
    lines += [
        "",
        "| level | before: largest grade, largest error | images chosen | after: the same |",
    ]
    lines.append("|" + "---|" * 4)
    for r in rows:
        path = r["pathway"]
        off = {
            when: 1e3 * np.abs(np.subtract(path[when]["energies"], path["labels"])).max()
            for when in ("before", "after")
        }
        grades = {when: max(path[when]["grades"]) for when in off}
        lines.append(
            f"| {r['level']} | {grades['before']:.3g}, {off['before']:.3g} meV/atom | "
            f"{path['chosen']} of 11 | {grades['after']:.4g}, {off['after']:.3g} meV/atom |"
        )
    return "\n".join(lines) + "\n"


def draw(found: dict[str, Any], target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path = found["pathway"]
    labels = np.array(path["labels"]) - path["labels"][0]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for panel, when in zip(panels, ("before", "after"), strict=True):
        energies = np.array(path[when]["energies"]) - path["labels"][0]
        panel.plot(labels, "ko-", label="DFT")
        panel.plot(energies, "C0s--", label=f"potential of level {found['level']}")
        margin = 0.2 * np.ptp(labels)
        panel.set_ylim(labels.min() - margin, labels.max() + margin)
        panel.set(xlabel="image", ylabel="energy (eV/atom)", title=f"{when} active learning")
        panel.legend(loc="lower center", frameon=False)
        grades = panel.twinx()
        grades.semilogy(path[when]["grades"], "C3^:")
        grades.set_ylabel("extrapolation grade", color="C3")
        if when == "after":
            grades.set_ylim(0.1, 10)
    figure.savefig(target, dpi=120)


def main() -> None:
    load_profile()
    found = row(int(sys.argv[1]))
    print(json.dumps({key: found[key] for key in found if key != "pathway"}))
    path = HERE / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = sorted([r for r in rows if r["level"] != found["level"]] + [found], key=_level)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "table.md").write_text(table(rows))
    draw(rows[-1], HERE / "pathway.png")


def _level(found: dict[str, Any]) -> int:
    return int(found["level"])


if __name__ == "__main__":
    main()
