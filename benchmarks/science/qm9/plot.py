"""Figures and table of ``results.json``: python benchmarks/science/qm9/plot.py.

``curves.png`` is figure 6 and figure 7 of Zaverkin and Kästner (2021), ``table.md`` the numbers of
both, energies in eV.
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

COLOURS = {"random": "#8A8A8A", "QS1": "#0072B2", "QS1 in turn": "#D55E00", "LCMD": "#009E73"}
ERRORS = {"energy_mae": "MAE", "energy_rmse": "RMSE", "energy_max": "MAXE"}
NOTES = """\
Errors of energies in eV (1 eV is 23.06 kcal/mol) on 10,000 molecules that no query sees; the pool
are the other 120,831. Atoms: mean and standard deviation of the sizes of the molecules that were
chosen with this potential; the pool has 18.03 on average. Correlation: Pearson's, of the root of
equation 14 with the absolute error. Times are of one core, in CPU seconds.

- Paper (Zaverkin and Kästner 2021, section 3.2; 5000 epochs at a rate of 1e-3 on a GPU, validation
  sets of 2000, steps of a tenth, 5000 to 25,261 molecules, three runs): MAXE smaller by 2.3 and
  RMSE by 1.7 than with random molecules at 25,000, MAE not smaller; correlation 0.44; QS1 chooses
  molecules of about 16 atoms at 6000, and larger ones as it goes on.
- Here (`scaled` in run.py): 30 epochs, rates of 0.03 (network, NTK scaling), 0.02 (coefficients),
  0.05 (shifts) and 0.001 (scales) that go linearly to zero, batches of 10, validation sets of 500,
  from 5000 molecules in steps of a quarter, single precision, one run. With 5000 epochs a potential
  would be far better than these, whose errors are still those of too little training.
- The trend of figure 7 is there: QS1 begins with small molecules, and goes on to larger ones. So
  is the smaller largest error. RMSE and MAE are larger than with random molecules, the less so the
  more molecules there are: the training set is of other molecules than the test set.
""".splitlines()


def main() -> None:
    """Draw and write what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", default="scaled")
    protocol = parser.parse_args().protocol
    every = json.loads((HERE / "results.json").read_text())
    rows = [row for row in every if row["protocol"] == protocol]
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
    for axis, (key, name) in zip(axes, ERRORS.items(), strict=False):
        for query, colour in COLOURS.items():
            sizes = sorted({r["size"] for r in rows if r["query"] == query})
            means = [mean_error(rows, query, size, key) for size in sizes]
            if sizes:
                axis.loglog(sizes, means, "o-", color=colour, label=query)
        label_few(axis)
        axis.set_title(f"{name} of energies, eV", loc="left", fontsize=10)
        axis.grid(True, which="both", color="#E6E6E6", lw=0.6)
    axes[0].legend(frameon=False, fontsize=9)
    for place, (query, colour) in enumerate(COLOURS.items(), start=-1):  # beside each other
        found = [r for r in rows if r["query"] == query and "atoms" in r]
        if found:
            axes[3].errorbar(
                [r["size"] + len(r["chosen"]) + 40 * place for r in found],
                [r["atoms"]["mean"] for r in found],
                [r["atoms"]["std"] for r in found],
                fmt="o", color=colour, capsize=3, label=query,
            )  # fmt: skip
    axes[3].set_title("atoms of the molecules chosen", loc="left", fontsize=10)
    axes[3].grid(True, color="#E6E6E6", lw=0.6)
    for axis in axes:
        axis.set_xlabel("training structures")
    figure.savefig(HERE / "curves.png", dpi=150)
    (HERE / "table.md").write_text(table(rows))


def table(rows: list[dict]) -> str:
    """Return all numbers in Markdown."""
    lines = [
        "| molecules | query | runs | MAE | RMSE | MAXE | RMSE random / this | MAXE random / this "
        "| correlation | atoms of those chosen next | training | choice |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in sorted({r["size"] for r in rows}):
        for query in COLOURS:
            mine = [r for r in rows if r["query"] == query and r["size"] == size]
            if not mine:
                continue
            errors = {key: mean_error(rows, query, size, key) for key in ERRORS}
            other = {key: mean_error(rows, "random", size, key) for key in ERRORS}
            told = " | ".join(f"{errors[key]:.3f}" for key in ERRORS)
            gains = " | ".join(f"{other[k] / errors[k]:.2f}" for k in ("energy_rmse", "energy_max"))
            linear = np.mean([r["correlation"]["pearson"] for r in mine])
            atoms = [r["atoms"] for r in mine if "atoms" in r]
            sizes = (
                ""
                if not atoms
                else " ± ".join(f"{np.mean([a[k] for a in atoms]):.1f}" for k in ("mean", "std"))
            )
            training = np.mean([r["training"]["cpu_seconds"] for r in mine])
            choice = [r["select_seconds"] for r in mine if "select_seconds" in r]
            seconds = f"{np.mean(choice):.0f}" if choice else ""
            lines.append(
                f"| {size} | {query} | {len(mine)} | {told} | {gains} | {linear:.2f} | {sizes} "
                f"| {training:.0f} | {seconds} |"
            )
    return "\n".join([*lines, "", *NOTES, ""])


if __name__ == "__main__":
    main()
