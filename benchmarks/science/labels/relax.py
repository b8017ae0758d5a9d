"""Labels that relaxations need: direct ones by ASE, and by a protocol, one label at a time.

    python relax.py emt|7net [PROTOCOL] [SYSTEM ...] [-v] [--starts N] [--untuned] [--labels FILE]

The steps are those of the WorkChain, without AiiDA: train on all labels, relax from where the start
says, label what the query chooses, until the last frame is below the limits of the protocol, as
labelled. All counts include the first label and the last one. Where BFGS ends in another minimum,
the difference of energies says so. PROTOCOL is a file of ``aiida_mlal/protocols`` (default gp);
SYSTEM the beginning of names in ``systems.py``, or in ``untuned.py``. Labels 7net are SevenNet-0
(PyPI sevenn). Of each system N starts are relaxed (default 1), those after the first one rattled.
Labels are kept in FILE, so that none is computed twice. Rows are written to ``KIND_PROTOCOL.md``
beside this file (``KIND_PROTOCOL_untuned.md``), where all systems are done; those of several
starts, of cheap systems, are in ``7net_gp_starts.md``.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase.calculators.calculator import Calculator
from systems import System, rattled, systems
from untuned import untuned

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import KEPT, PREDICTED_ENERGY
from aiida_mlal.ml.minima import is_same_minimum
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.starts import Beginning
from aiida_mlal.ml.stops import State
from aiida_mlal.report.direct import relax_frames

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Labels, Remembered, labeller, train

FMAX, SMAX_GPA, MOST = 0.03, 0.02, 40
OPTIMIZERS = ("BFGS", "BFGSLineSearch", "GPMin")


class Relaxed(NamedTuple):
    """What a relaxation needed, and where it ended.

    Attributes
    ----------
    labels, iterations
        NaN where it did not end; labels of an iteration are computed at once.
    end
        With its label; None where nothing could be computed.
    """

    labels: float
    iterations: float
    end: Configurations | None

    @property
    def said(self) -> str:
        """How many labels in words."""
        return "fails" if np.isnan(self.labels) else str(self.labels)


def direct(system: System, labels: Calculator, optimizer: str) -> Relaxed:
    """Relax by an optimiser of ASE, up to 200 steps."""
    try:
        frames = relax_frames(system.atoms, labels, optimizer, FMAX, 200, system.cell, SMAX_GPA)
    except Exception:  # of GPMin, on some molecules
        return Relaxed(np.nan, np.nan, None)
    count = len(frames) if is_relaxed(frames, system) else np.nan
    return Relaxed(count, count, frames[len(frames) - 1])


def is_relaxed(frames: Configurations, system: System) -> bool:
    """Return whether the last frame is, as labelled."""
    last = frames[len(frames) - 1]
    return last.max_forces[0] < FMAX and not system.cell.largest(last.stresses)[0] > SMAX_GPA


def learned(
    system: System, inner: Calculator, given: dict[str, Any], tell: Callable[[str], None]
) -> Relaxed:
    """Relax by a protocol, up to ``MOST`` labels."""
    rule = plugins.make("starts", given.get("start", {"name": "given"}))
    simulation = plugins.make("simulations", given["simulation"])
    start = Configurations.from_ase(system.atoms).bare
    begun = Beginning(start, simulation.guard.trust, given=start)
    labels, potential, iterations = Labels(inner), None, 0
    now, trajectory, runs = begun.structures, Configurations.empty(), []
    while len(labels) < MOST and iterations < 2 * MOST:
        if len(now):
            new = labels.add(now)
            energy = float(new.energies[0])
            said = PREDICTED_ENERGY.of(trajectory)[-1] if len(trajectory) else np.nan
            tell(
                f"{len(labels):3d} {energy:10.4f} eV, said {said:10.4f}, "
                f"{new.max_forces[0]:.3f} eV/Å, {system.cell.largest(new.stresses)[0]:.3f} GPa, "
                f"trust {begun.trust}{', kept' if KEPT.of(begun.structures)[0] else ''}"
            )
            if is_relaxed(new[0], system):
                return Relaxed(len(labels), iterations, new[0])
        if len(trajectory):
            newest = new if len(now) else Configurations.empty()
            state = State(0, 0, trajectory, newest, labels.frames, runs)
            before, begun = begun, rule.after(begun, state)
            if not len(now) and begun.structures.keys == before.structures.keys:
                break
        if begun.trust is not None:
            guard = replace(simulation.guard, trust=begun.trust)
            simulation = replace(simulation, guard=guard)
        if len(now):
            potential = train(given, labels.frames, labels.frames.elements, potential)
        result = simulation.run(potential, begun.structures)
        trajectory, runs = result.trajectory, [as_dict(run) for run in result.runs]
        now = select(trajectory, labels.frames, given["query"], None, iterations, potential)
        now, iterations = now.of(trajectory), iterations + 1
    return Relaxed(np.nan, np.nan, new[0])


def apart(one: Relaxed, other: Relaxed, system: System) -> str:
    """Say how much lower in energy the other one ended, and whether at another minimum."""
    if one.end is None or other.end is None:
        return "–"
    difference = f"{other.end.energies[0] - one.end.energies[0]:.3f}"
    same = np.isnan(one.labels + other.labels) or is_same_minimum(one.end, other.end, system.cell)
    return difference if same else f"{difference}, another minimum"


def asked_for(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Any]:
    """Return what a command was asked for, and what labels, by ``kind`` and ``--labels``."""
    parser.add_argument("--labels", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    inner = labeller(asked.kind)
    return asked, Remembered(inner, asked.kind, asked.labels) if asked.labels else inner


def given_by(protocol: str, system: System) -> dict[str, Any]:
    """Return the inputs of a protocol for a system."""
    moving = {"simulation": {"cell": system.cell.moves}}
    return protocols.inputs(protocol, None, moving, "moving_cell" if system.cell else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("emt", "7net"))
    parser.add_argument("protocol", nargs="?", default="gp")
    parser.add_argument("system", nargs="*")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--starts", type=int, default=1)
    parser.add_argument("--untuned", action="store_true")
    asked, inner = asked_for(parser)
    rows = [
        f"| labels {asked.kind} | {' | '.join(OPTIMIZERS)} | {asked.protocol} | "
        "above BFGS, eV | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, system in (untuned() if asked.untuned else systems()).items():
        wanted = not asked.system or any(name.startswith(one) for one in asked.system)
        if asked.kind not in system.kinds or not wanted:
            continue
        for start in range(asked.starts):
            moved = rattled(system, start)
            found = [direct(moved, inner, optimizer) for optimizer in OPTIMIZERS]
            begin = time.process_time()
            given = given_by(asked.protocol, moved)
            tell = partial(print, flush=True) if asked.v else lambda line: None
            found.append(learned(moved, inner, given, tell))
            seconds = time.process_time() - begin
            counts = " | ".join(one.said for one in found)
            ends = apart(found[0], found[-1], moved)
            rows.append(f"| {name} | {counts} | {ends} | {seconds:.0f} |")
            print(rows[-1], flush=True)
    if not asked.system and asked.starts == 1:
        name = f"{asked.kind}_{asked.protocol}{'_untuned' if asked.untuned else ''}.md"
        (Path(__file__).parent / name).write_text("\n".join(rows) + "\n")
