"""Labels of pw.x that a relaxation needs with a foundation model as pilot, as prior, and without.

    python benchmarks/science/foundation/pilot.py FOLDER [MODEL] [WAY ...]

The system is C on two layers of Al(100) of ``labels/qe.py``, with its settings; MODEL is sevennet
(the default) or chgnet. WAY is one of ``WAYS``. All counts include the first label and the last
one. Each label is kept in FOLDER, so that none is computed twice.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.espresso import Espresso, EspressoProfile

sys.path.append(str(Path(__file__).parents[1] / "labels"))
from qe import FMAX, NAMES, PSEUDOS, functional, parameters, small
from relax import SMAX_GPA, direct, given_by, learned
from systems import System

from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.report.direct import relax_frames

sys.path.append(str(Path(__file__).parents[1]))
from campaigns import Counted, Remembered

WAYS = ("BFGS", "gp", "pilot, then BFGS", "pilot, then gp", "gp on prior", "pilot, gp on prior")


def pw(atoms: Atoms, folder: Path) -> Calculator:
    """Return the calculator that labels."""
    names = NAMES[functional(atoms)]
    calculator = Espresso(
        profile=EspressoProfile("pw.x", PSEUDOS),
        directory=folder / "pw",
        input_data={name.lower(): dict(values) for name, values in parameters(atoms).items()},
        pseudopotentials={element: names[element] for element in set(atoms.symbols)},
        kpts=None,
    )
    calculator.reset = lambda: None  # which it lacks; each structure is another one anyway
    return Remembered(calculator, "pw", folder / "labels")


def piloted(system: System, model: str) -> tuple[System, int]:
    """Return the system where a foundation model relaxes it to, and how many steps it took."""
    calculator = Counted(CalculatorOptions(model).build(), [0])
    frames = relax_frames(system.atoms, calculator, "BFGS", FMAX, 200, system.cell, SMAX_GPA)
    end = frames[len(frames) - 1].bare.to_ase()[0]
    end.set_constraint(system.atoms.constraints)
    return system._replace(atoms=end), len(frames)


def run(system: System, labels: Calculator, model: str, way: str, tell: Callable[[str], None]):
    """Relax in one of the ways."""
    if way.startswith("pilot"):
        system, steps = piloted(system, model)
        tell(f"{steps} steps of {model}")
    if way.endswith("BFGS"):
        return direct(system, labels, "BFGS")
    given = given_by("gp", system)
    if way.endswith("prior"):
        given["model"]["prior"] = {"architecture": model}
    return learned(system, labels, given, tell)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?", default="sevennet")
    parser.add_argument("way", nargs="*", default=WAYS)
    asked = parser.parse_args()
    asked.folder.mkdir(exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    system = System(small()["C on Al(100)"])
    labels = pw(system.atoms, asked.folder.absolute())
    for way in asked.way:
        found = run(system, labels, asked.model, way, lambda line: print("  ", line, flush=True))
        print(f"| {way} | {found.said} | {float(found.end.energies[0]):.4f} |", flush=True)
