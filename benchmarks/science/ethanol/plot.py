"""Figures and table of ``results.json``: python benchmarks/science/ethanol/plot.py.

``curves.png`` is figure 3 of Zaverkin and Kästner (2021), ``correlation.png`` figure 2 (top),
``table.md`` the numbers of both, in eV and Å.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from learning_curves import label_few, mean_error  # noqa: E402

COLOURS = {
    "random": "#8A8A8A",
    "QS1": "#0072B2",
    "QS2": "#D55E00",
    "LCMD": "#009E73",
    "committee": "#CC79A7",
}
ERRORS = {"force_mae": "MAE", "force_rmse": "RMSE", "force_max": "MAXE"}
NOTES = """\
Errors of forces in eV/Å (1 eV/Å is 23.06 kcal/mol/Å) on all of the 5000 conformations that were not
learned from; means over the runs, ± the standard deviation of one of them. Correlations are
Pearson's, of the uncertainty with the mean absolute error of the forces of a structure (QS1:
numerator of equation 14).

- Paper (Zaverkin and Kästner 2021, section 3.1; 5000 epochs at a rate of 1e-3, validation sets of
  200, steps of a tenth, 100 to 1863 structures, three runs): correlations QS1 0.53, QS2 0.60; RMSE
  and MAE smaller by factors of 1.15 to 1.23 than with random structures, MAXE by more than 2.
- Here (`scaled` in run.py): 60 epochs, rates of 0.03 (network, NTK scaling), 0.02 (coefficients),
  0.05 (shifts) and 0.001 (scales) that go linearly to zero, batches of 10, validation sets of 50,
  steps of a half to 1135 structures, single precision, one core. Each step trains for 60 epochs
  where the paper's trains for 5000, so that errors are larger than the paper's; differences of a
  few per cent between queries are within what another seed changes.
- The correlation of QS1 and QS2 with the error is the paper's at the first step and falls where
  they chose, as what they see is no longer what is wrong; after random choices it stays.
- A committee averages three networks, which makes its errors smaller whatever it chooses: compare
  it with its own first row.
""".splitlines()


def main() -> None:
    """Draw and write what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="scaled")
    protocol = parser.parse_args().protocol
    rows = [
        row
        for row in json.loads((HERE / "results.json").read_text())
        if row["protocol"] == protocol
    ]
    curves(rows)
    scatter(rows, protocol)
    (HERE / "table.md").write_text(table(rows))


def curves(rows: list[dict]) -> None:
    """Draw errors against the size of the training set, the mean over seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axis, (key, name) in zip(axes, ERRORS.items(), strict=True):
        for query, colour in COLOURS.items():
            sizes = sorted({r["size"] for r in rows if r["query"] == query})
            means = [mean_error(rows, query, size, key) for size in sizes]
            if sizes:
                axis.loglog(sizes, means, "o-", color=colour, label=query)
        label_few(axis)
        axis.set_xlabel("training structures")
        axis.set_title(f"{name} of forces, eV/Å", loc="left", fontsize=10)
        axis.grid(True, which="both", color="#E6E6E6", lw=0.6)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(HERE / "curves.png", dpi=150)


def scatter(rows: list[dict], protocol: str) -> None:
    """Draw uncertainties against errors of the last step of each query that has one."""
    found = []
    for query in ("QS1", "QS2", "committee"):
        path = HERE / f"scatter_{protocol}_{query}.npz"
        if path.exists() and query in (values := np.load(path)):
            found.append((query, values))
    if not found:
        return
    figure, axes = plt.subplots(
        1, len(found), figsize=(3.7 * len(found), 3.4), layout="constrained", squeeze=False
    )
    for axis, (query, values) in zip(axes[0], found, strict=True):
        size = max(r["size"] for r in rows if r["query"] == query)
        x = values[query] / values[query].max()
        axis.plot(x, values["error"], ".", ms=2, alpha=0.4, color=COLOURS[query])
        r = np.corrcoef(x, values["error"])[0, 1]
        axis.set_title(f"{query}, {size} structures: r = {r:.2f}", loc="left", fontsize=10)
        axis.set_xlabel("uncertainty, of the largest")
        axis.set_ylabel("mean absolute error of forces, eV/Å")
    figure.savefig(HERE / "correlation.png", dpi=150)


def table(rows: list[dict]) -> str:
    """Return all numbers in Markdown."""
    lines = [
        "| structures | query | runs | MAE | RMSE | MAXE | RMSE random / this | MAXE random / this "
        "| correlation with the error |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for size in sorted({r["size"] for r in rows}):
        for query in COLOURS:
            mine = [r for r in rows if r["query"] == query and r["size"] == size]
            if not mine:
                continue
            errors = {key: mean_error(rows, query, size, key) for key in ERRORS}
            other = {key: mean_error(rows, "random", size, key) for key in ERRORS}
            told = " ".join(f"{errors[key]:.3f}{_spread(mine, key)} |" for key in ERRORS)
            gains = " ".join(f"{other[k] / errors[k]:.2f} |" for k in ("force_rmse", "force_max"))
            measures = sorted({m for r in mine for m in r["correlation"]})
            linear = ", ".join(
                f"{m} {np.mean([r['correlation'][m]['pearson'] for r in mine]):.2f}"
                for m in measures
            )
            lines.append(f"| {size} | {query} | {len(mine)} | {told} {gains} {linear} |")
    return "\n".join([*lines, "", *NOTES, ""])


def _spread(rows: list[dict], key: str) -> str:
    """Return the standard deviation over runs."""
    return f" ± {np.std([r['errors'][key] for r in rows], ddof=1):.3f}" if len(rows) > 1 else ""


if __name__ == "__main__":
    main()
