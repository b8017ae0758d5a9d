"""Relax C on Cu(100) with pw.x and nothing else: the reference of ``offline.py``.

    python benchmarks/science/relaxation_qe/direct.py FOLDER

Writes ``direct.json`` beside this file: the energy, the largest force and the seconds of each
single-point calculation, and the relaxed positions.
"""

import json
import os
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.espresso import Espresso, EspressoProfile
from ase.constraints import FixAtoms
from ase.optimize import BFGS

HERE = Path(__file__).parent
PSEUDOS = "/usr/share/espresso/pseudo"
NAMES = {"Cu": "Cu.pbe-kjpaw.UPF", "C": "C.pbe-rrkjus.UPF"}
FMAX = 0.05
KPOINTS = (2, 2, 1)
PARAMETERS = {
    "CONTROL": {"calculation": "scf", "tprnfor": True, "tstress": True},
    "SYSTEM": {
        "ecutwfc": 25.0,
        "ecutrho": 150.0,
        "occupations": "smearing",
        "smearing": "cold",
        "degauss": 0.03,
    },
    "ELECTRONS": {"conv_thr": 1e-6, "mixing_beta": 0.4},
}


def slab() -> Atoms:
    atoms = fcc100("Cu", (2, 2, 3), vacuum=6.0)
    add_adsorbate(atoms, "C", 3.0, "hollow")
    atoms.center(vacuum=3.0, axis=2)
    atoms.pbc = True
    atoms.set_constraint(FixAtoms([atom.index for atom in atoms if atom.tag == 3]))
    return atoms


def main(folder: str) -> None:
    os.environ.update(OMP_NUM_THREADS="1")
    atoms = slab()
    input_data = {name.lower(): dict(values) for name, values in PARAMETERS.items()}
    atoms.calc = Espresso(
        profile=EspressoProfile("pw.x", PSEUDOS),
        directory=folder,
        input_data=input_data,
        pseudopotentials=NAMES,
        kpts=KPOINTS,
    )
    steps, begun = [], perf_counter()
    relaxation = BFGS(atoms, logfile="-")
    for _ in relaxation.irun(fmax=FMAX, steps=60):
        forces = atoms.get_forces()
        steps.append(
            {
                "energy": atoms.get_potential_energy(),
                "fmax": float(np.linalg.norm(forces, axis=1).max()),
                "seconds": perf_counter() - begun,
            }
        )
        found = {"labels": len(steps), "steps": steps, "positions": atoms.positions.tolist()}
        (HERE / "direct.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
