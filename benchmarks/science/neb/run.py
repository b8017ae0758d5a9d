"""Labels that paths need: direct climbing bands of ASE, and a protocol, one label at a time.

    python run.py emt|7net [PROTOCOL] [PATH ...] [--starts N] [-v]

The steps are those of the WorkChain, without AiiDA: label what the first query wants, train on all
labels, run the bands from where the start says, label what the query wants, until the stops are
content. All counts include both ends. PATH is the beginning of names in ``paths.py``; of each,
N starts are run (default 5), the first one from the ends there, others from rattled ones. Direct
bands relax the ends and then the band, by BFGS, to the same force, from the same interpolation,
and with the cell where that moves. The dimer method of ASE and sella (PyPI), where it is installed,
begin in the middle between the relaxed ends of the first start; their calls are those of the saddle
point alone, whose energy is told above the first end. They are not run where the cell moves.
Labels 7net are SevenNet-0 (PyPI sevenn). Rows are written to ``KIND_PROTOCOL.md`` beside this file,
in the place of those of the same path.
"""

import argparse
import json
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from ase.mep import NEB
from ase.optimize import BFGS
from paths import KINDS, OPTIONS, paths, rattled

from aiida_mlal import protocols
from aiida_mlal.ml import plugins, stops
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.simulation import path
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.neb import Band, Neb
from aiida_mlal.ml.simulation.strained import strained
from aiida_mlal.ml.starts import Beginning

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Counted, Labels, dimer, labeller, sella, train

FMAX = 0.05
HERE = Path(__file__).parent


def direct(
    ends: list[Atoms],
    inner: Calculator,
    images: int,
    interpolation: path.Interpolation,
    cell: MovingCell = FIXED,
) -> tuple[int, float, list[Atoms]]:
    """Return how many calls a climbing band of ASE needs with its ends, its barrier and images.

    Where the cell moves it is a solid-state band.
    """
    count, reference = [0], ends[0].cell.array.copy()
    begin, end = (atoms.copy() for atoms in ends)
    for atoms in (begin, end):
        atoms.calc = Counted(inner, count)
        BFGS(strained(atoms, cell, reference), logfile=None).run(fmax=FMAX, steps=300)
    band = path.interpolated([begin, end], [0, images - 1], interpolation, True)
    band[0], band[-1] = begin, end
    for image in band[1:-1]:
        image.calc = Counted(inner, count)
    if cell:
        neb = Band(band, 0.1, cell=cell, reference=reference)
        neb.climb = True
    else:
        neb = NEB(band, climb=True, method="improvedtangent")
    done = BFGS(neb, logfile=None).run(fmax=FMAX, steps=300)
    energies = [image.get_potential_energy() for image in band]
    return count[0] if done else -1, max(energies[1:-1]) - energies[0], band


def searched(begin: Atoms, end: Atoms, inner: Calculator) -> str:
    """Tell what searches from the middle between relaxed ends need, and what they find."""
    way = find_mic(end.positions - begin.positions, begin.cell, begin.pbc)[0]
    told = []
    for name in ("sella", "dimer"):
        atoms, count = begin.copy(), [0]
        atoms.positions += way / 2
        atoms.calc = Counted(inner, count)
        try:
            done = sella(atoms, FMAX) if name == "sella" else dimer(atoms, way, FMAX)
        except ImportError:
            continue
        height = atoms.get_potential_energy() - begin.get_potential_energy()
        told.append(f"{name} {count[0] if done else f'not after {count[0]}'}: {height:.4f}")
    return "; ".join(told)


def keep(table: Path, heads: list[str], row: str) -> None:
    """Write a row to a table, in the place of one of the same name."""
    rows = table.read_text().splitlines()[2:] if table.exists() else []
    names = [one.split("|")[1].strip() for one in rows]
    name = row.split("|")[1].strip()
    if name in names:
        rows[names.index(name)] = row
    else:
        rows.append(row)
    table.write_text("\n".join([*heads, *rows]) + "\n")


def learned(
    ends: list[Atoms], inner: Calculator, given: dict[str, Any], tell: bool
) -> tuple[int, float, str, list[str]]:
    """Return labels needed, the labelled barrier, how it ended, and what was labelled when."""
    rule = plugins.make("starts", given["start"])
    simulation = plugins.make("simulations", given["simulation"])
    ending = stops.parse(given["stop"])
    structures = Configurations.from_ase(ends).bare
    begun = Beginning(structures, simulation.guard.trust, simulation.minimised(structures))
    labels, potential, keys = Labels(inner), None, []
    first = select(structures, Configurations.empty(), given["first_query"])
    labels.add(structures[np.array(first.indices)])
    for iteration in range(1, 100):
        potential = train(given, labels.frames, sorted(structures.elements), potential)
        if begun.trust is not None:
            guard = replace(simulation.guard, trust=begun.trust)
            simulation = replace(simulation, guard=guard)
        result = simulation.run(potential, begun.structures)
        runs = [as_dict(run) for run in result.runs]
        new = Configurations.empty()
        if not stops.are_met_by(ending, runs, result.trajectory, labels.frames):
            wanted = select(result.trajectory, labels.frames, given["query"])
            new = labels.add(wanted.of(result.trajectory))
            keys += [chosen["reason"].partition(":")[0] for chosen in wanted.selected]
        state = stops.State(iteration, len(labels), result.trajectory, new, labels.frames, runs)
        verdict = stops.decide(ending, state)
        if tell:
            run = runs[0]
            found = run["results"].get("barrier", np.nan)
            print(
                f"{len(labels):3d} {keys[-1] if keys else ''}: {run['reason']}, {run['steps']} "
                f"steps, barrier {found:.4f} eV, trust {begun.trust}; {verdict.reason}",
                flush=True,
            )
        if verdict.outcome != "go on" or not len(new):
            break
        begun = rule.after(begun, state)
    barrier = np.nan
    energies = {final.image: final.labelled for final in state.finals}
    order = runs[0]["stationary"]
    if len(order) == 3 and energies[order[0]] is not None and energies[0] is not None:
        barrier = float(energies[order[0]].energies[0] - energies[0].energies[0])
    return len(labels), barrier, verdict.outcome, keys


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["emt", "7net"])
    parser.add_argument("wanted", nargs="*")
    parser.add_argument("--protocol", default="balanced")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--overrides", default="{}")
    parser.add_argument("-v", action="store_true")
    asked = parser.parse_args()
    given = protocols.inputs("neb", asked.protocol, json.loads(asked.overrides))
    inner = labeller(asked.kind)
    heads = [
        f"| labels {asked.kind} | direct | from the middle: calls, energy in eV | barrier, eV "
        f"| `neb`, {asked.protocol}, of each start | barriers, eV | CPU s a path |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, ends in paths().items():
        if asked.wanted and not any(name.startswith(word) for word in asked.wanted):
            continue
        if asked.kind not in KINDS.get(name, (asked.kind,)):
            continue
        own = {**given, "simulation": {**given["simulation"], **OPTIONS.get(name, {})}}
        cell = MovingCell(own["simulation"].get("cell", "fixed"))
        if cell:
            overrides = {**json.loads(asked.overrides), "simulation": OPTIONS[name]}
            own = protocols.inputs("neb", asked.protocol, overrides, "moving_cell")
        found, others = [], ""
        images = own["simulation"]["images"]
        interpolation = own["simulation"].get("interpolation", Neb.interpolation)
        for seed in range(asked.starts):
            start = rattled(ends, seed)
            calls, height, band = direct(
                start, inner, own["simulation"]["images"], interpolation, cell
            )
            others = others or ("" if cell else searched(band[0], band[-1], inner))
            begin = time.process_time()
            n, barrier, outcome, keys = learned(start, inner, own, asked.v)
            seconds = time.process_time() - begin
            found.append((calls, height, n if outcome == "converged" else -n, barrier, seconds))
            told = f"{calls} {height:.4f} {n} {barrier:.4f} {outcome} {seconds:.1f} {keys}"
            print(name, seed, told, flush=True)
        calls, heights, counts, barriers, seconds = map(list, zip(*found))
        row = (
            f"| {name} | {min(calls)}-{max(calls)} | {others} | {heights[0]:.4f} "
            f"| {', '.join(str(n) if n > 0 else f'> {-n}' for n in counts)} "
            f"| {min(barriers):.4f}-{max(barriers):.4f} | {np.mean(seconds):.1f} |"
        )
        print(row, flush=True)
        keep(HERE / f"{asked.kind}_{asked.protocol}.md", heads, row)
