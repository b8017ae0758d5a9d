"""Labels that relaxations of molecules need whose labels contradict each other, beside BFGS.

    python low_cutoff.py FILE [PROTOCOL] [SYSTEM ...] [-v]

Labels are of pw.x up to a cutoff of 25 Ry, in small boxes: forces and energies are not derivatives
of each other as atoms move past the grid. The loop is that of ``relax.py``, settings of pw.x are
those of ``qe.py``, from atomic densities each; labels are kept in FILE. Rows are written to
``low_cutoff_PROTOCOL.md`` beside this file, where all systems are done.
"""

import argparse
import os
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.espresso import Espresso, EspressoProfile
from qe import NAMES, PSEUDOS, functional, parameters, small
from relax import Remembered, apart, direct, given_by, learned
from systems import System, rattled

NAMES["pbe"].setdefault("C", "C.pbe-rrkjus.UPF")


def boxed(name: str) -> Atoms:
    """Return a rattled molecule in a box of vacuum of 2.5 Å."""
    atoms = molecule(name)
    atoms.rattle(0.1, seed=1)
    atoms.center(2.5)
    atoms.pbc = True
    return atoms


def systems() -> dict[str, System]:
    """Return starts by name."""
    water = System(small()["water"])
    found = {f"water, start {start}": rattled(water, start) for start in range(3)}
    return found | {name: System(boxed(name)) for name in ("NH3", "CH4", "CO2")}


class Pw(Calculator):
    """Runs pw.x in a folder, each time from atomic densities."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute all properties by a calculator of its own."""
        super().calculate(atoms, properties, system_changes)
        names = NAMES[functional(atoms)]
        inner = Espresso(
            profile=EspressoProfile("pw.x", PSEUDOS),
            directory=self.folder,
            input_data={name.lower(): dict(values) for name, values in parameters(atoms).items()},
            pseudopotentials={element: names[element] for element in set(atoms.symbols)},
            kpts=None,
        )
        inner.calculate(atoms, ["energy"], all_changes)
        self.results = {name: inner.results[name] for name in self.implemented_properties}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("protocol", nargs="?", default="gp")
    parser.add_argument("system", nargs="*")
    parser.add_argument("-v", action="store_true")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = [
        f"| labels pw.x, 25 Ry | BFGS | {asked.protocol} | above BFGS, eV | CPU s |",
        "|---|---|---|---|---|",
    ]
    for name, system in systems().items():
        if asked.system and not any(name.startswith(one) for one in asked.system):
            continue
        with tempfile.TemporaryDirectory() as folder:
            labels = Remembered(Pw(Path(folder)), "pw.x, 25 Ry", asked.file)
            steps = direct(system, labels, "BFGS")
            begin = time.process_time()
            tell = partial(print, flush=True) if asked.v else lambda line: None
            found = learned(system, labels, given_by(asked.protocol, system), tell)
            seconds = time.process_time() - begin
            labels.known.close()
        ends = apart(steps, found, system)
        rows.append(f"| {name} | {steps.said} | {found.said} | {ends} | {seconds:.0f} |")
        print(rows[-1], flush=True)
    if not asked.system:
        (Path(__file__).parent / f"low_cutoff_{asked.protocol}.md").write_text(
            "\n".join(rows) + "\n"
        )
