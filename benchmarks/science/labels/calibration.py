"""How standard deviations of forces go with errors, on frames of relaxations that were held out.

    python calibration.py LABELS [--committee N] [SYSTEM ...]

Of each relaxation by BFGS with SevenNet-0 (cells fixed), whose labels are kept in LABELS, the model
of recipe ``gp`` learns from three or five frames of the first third or half, and is asked about
some eight others. Columns: frames learned from; the factor by which ``gp_std`` is larger because of
errors of those that are left out; shares of force vectors with errors below one and two standard
deviations (of normal components that are alike 61 and 99 %), without that factor and with it; rank
correlation of errors and deviations of atoms. Of the first N systems (default 0) the committee of
recipe ``network`` learned from the same frames. Rows are written to ``calibration.md`` beside this
file.
"""

import argparse
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from relax import FMAX, SMAX_GPA, Remembered, labeller, train
from scipy.stats import spearmanr
from systems import systems

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report.direct import relax_frames

SETS = ((0, 1 / 6, 1 / 3), (0, 1 / 10, 1 / 6, 1 / 4, 1 / 2))
"""Which frames are learned from, as shares of all."""

ASKED = 8


class Judged(NamedTuple):
    """Errors of force vectors and their standard deviations, in eV/Å, and the factor in these."""

    errors: np.ndarray
    deviations: np.ndarray
    scale: float | np.ndarray

    @property
    def covered(self) -> str:
        """Shares within one and two deviations."""
        ratios = self.errors / self.deviations
        return f"{(ratios < 1).mean():.2f}, {(ratios < 2).mean():.2f}"

    @property
    def rank(self) -> str:
        """Rank correlation."""
        return f"{spearmanr(self.errors, self.deviations).statistic:.2f}"

    @property
    def bare(self) -> "Judged":
        """The same without the factor."""
        return Judged(self.errors, self.deviations / self.scale, 1.0)


def judge(recipe: str, measure: str, learned: Configurations, asked: Configurations) -> Judged:
    """Train by a recipe on some frames, and ask about others."""
    given = protocols.inputs(recipe)
    given["uncertainty"] = {"name": measure}
    potential = train(given, learned, learned.elements)
    found = plugins.make("uncertainties", {"name": measure}).measure(potential, asked).per_atom
    errors = np.linalg.norm(potential.predict(asked).forces - asked.forces, axis=1)
    stored = potential.extras.get("gp_std.scale")
    return Judged(errors, found, 1.0 if stored is None else float(stored))


def row(name: str, n: int | str, own: Judged, committee: Judged | None) -> str:
    """Return a line of the table."""
    beside = ("–", "–") if committee is None else (committee.covered, committee.rank)
    return (
        f"| {name} | {n} | {own.scale:.2f} | {own.bare.covered} | {own.covered} | {own.rank} | "
        f"{' | '.join(beside)} |"
    )


def together(judged: list[Judged]) -> Judged:
    """Join atoms of several systems."""
    parts = [np.concatenate([one[k] for one in judged]) for k in (0, 1)]
    return Judged(*parts, np.concatenate([np.full(len(one.errors), one.scale) for one in judged]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("system", nargs="*")
    parser.add_argument("--committee", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    inner = Remembered(labeller("7net"), "7net", options.labels)
    rows = [
        "| system | frames | factor | within 1, 2 without it | within 1, 2 | rank | "
        "committee, within 1, 2 | committee, rank |",
        "|---|---|---|---|---|---|---|---|",
    ]
    own: dict[int, list[Judged]] = {len(shares): [] for shares in SETS}
    theirs: dict[int, list[Judged]] = {len(shares): [] for shares in SETS}
    fixed = {name: one for name, one in systems().items() if not one.cell}
    for k, (name, system) in enumerate(fixed.items()):
        if options.system and not any(name.startswith(one) for one in options.system):
            continue
        frames = relax_frames(system.atoms, inner, "BFGS", FMAX, 200, system.cell, SMAX_GPA)
        n = len(frames)
        for shares in SETS:
            known = np.unique([int(share * n) for share in shares])
            asked = np.setdiff1d(np.arange(n), known)
            learned, held_out = frames[known], frames[asked[:: max(1, n // ASKED)]]
            mine = judge("gp", "gp_std", learned, held_out)
            own[len(shares)].append(mine)
            committee = None
            if k < options.committee:
                committee = judge("network", "force_std", learned, held_out)
                theirs[len(shares)].append(committee)
            rows.append(row(name, len(known), mine, committee))
            print(rows[-1], flush=True)
    for n, some in own.items():
        whole = together(some)
        ratios = whole._replace(deviations=whole.deviations / whole.scale)
        beside = together(theirs[n]) if theirs[n] else None
        rows.append(
            f"| all | {n} | {np.median([one.scale for one in some]):.2f} | {ratios.covered} | "
            f"{whole.covered} | {whole.rank} | "
            + (f"{beside.covered} | {beside.rank} |" if beside else "– | – |")
        )
        print(rows[-1], flush=True)
    if not options.system:
        (Path(__file__).parent / "calibration.md").write_text("\n".join(rows) + "\n")
