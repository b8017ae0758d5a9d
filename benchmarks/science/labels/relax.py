"""Labels that relaxations need: direct ones by ASE, and by a protocol, one label at a time.

    python relax.py emt|7net [PROTOCOL] [SYSTEM ...] [-v]

The steps are those of the WorkChain, without AiiDA: train on all labels, relax from where the start
says, label the last frame, until the labelled force is below that of the protocol. All counts
include the first label and the last one. PROTOCOL is a file of ``aiida_mlal/protocols`` (default
gp); SYSTEM the beginning of names in ``systems.py``. Labels 7net are SevenNet-0 (PyPI sevenn).
Rows are written to ``KIND_PROTOCOL.md`` beside this file, where all systems are done.
"""

import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS, BFGSLineSearch, GPMin
from systems import systems

from aiida_mlal import protocols
from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import PREDICTED_ENERGY
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.starts import Beginning
from aiida_mlal.ml.stops import State

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaigns import Counted, Labels, labeller, train

FMAX, MOST = 0.03, 40


def direct(start: Atoms, inner: Calculator) -> tuple[list[str], list[float]]:
    """Return how many calls each optimiser of ASE needs, and the energies they end with."""
    found, energies = [], []
    for optimizer in (BFGS, BFGSLineSearch, GPMin):
        atoms = start.copy()
        atoms.calc = Counted(inner, [0])
        try:
            done = optimizer(atoms, logfile=None).run(fmax=FMAX, steps=200)
            found.append(str(atoms.calc.calls) if done else "> 200")
        except Exception:  # of GPMin, on some molecules
            found.append("fails")
        energies.append(atoms.calc.results["energy"])
    return found, energies


def learned(start: Atoms, inner: Calculator, protocol: str, tell: bool) -> tuple[str, float]:
    """Return how many labels a protocol needs, and the energy that it ends with."""
    given = protocols.inputs(protocol)
    rule = plugins.make("starts", given.get("start", {"name": "given"}))
    simulation = plugins.make("simulations", given["simulation"])
    begun = Beginning(Configurations.from_ase(start).bare, simulation.guard.trust)
    labels, potential = Labels(inner), None
    now, trajectory, runs = begun.structures, Configurations.empty(), []
    while len(labels) < MOST:
        new = labels.add(now)
        energy, fmax = float(new.energies[0]), float(new.max_forces[0])
        if tell:
            said = PREDICTED_ENERGY.of(trajectory)[-1] if len(trajectory) else np.nan
            print(
                f"{len(labels):3d} {energy:10.4f} eV, said {said:10.4f}, {fmax:.3f} eV/Å, "
                f"trust {begun.trust}",
                flush=True,
            )
        if fmax < FMAX:
            return str(len(labels)), energy
        if len(trajectory):
            state = State(0, 0, trajectory, Configurations.empty(), labels.frames, runs)
            begun = rule.after(begun, state)
        if begun.trust is not None:
            guard = replace(simulation.guard, trust=begun.trust)
            simulation = replace(simulation, guard=guard)
        potential = train(given, labels.frames, labels.frames.elements, potential)
        result = simulation.run(potential, begun.structures)
        trajectory, runs = result.trajectory, [as_dict(run) for run in result.runs]
        now = trajectory[len(trajectory) - 1].bare
    return f"> {MOST}", energy


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    kind, *rest = [word for word in sys.argv[1:] if word != "-v"]
    protocol = rest[0] if rest else "gp"
    inner = labeller(kind)
    rows = [
        f"| labels {kind} | BFGS | BFGSLineSearch | GPMin | {protocol} | above BFGS, eV | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, start in systems().items():
        if rest[1:] and not any(name.startswith(wanted) for wanted in rest[1:]):
            continue
        calls, energies = direct(start, inner)
        begin = time.process_time()
        n, energy = learned(start, inner, protocol, "-v" in sys.argv)
        seconds = time.process_time() - begin
        apart = energy - energies[0]
        rows.append(f"| {name} | {' | '.join(calls)} | {n} | {apart:.3f} | {seconds:.0f} |")
        print(rows[-1], flush=True)
    if not rest[1:]:
        (Path(__file__).parent / f"{kind}_{protocol}.md").write_text("\n".join(rows) + "\n")
