"""Labels and time that relaxations with pw.x need: direct ones, and campaigns of recipe ``gp``.

    python benchmarks/science/labels/qe.py FOLDER [SYSTEM ...]

Labels are PBE at settings that are cheap, the same for both: a cutoff of 25 Ry, the Gamma point.
The direct relaxation is BFGS of ASE, each label a run of pw.x from atomic densities; jobs of it run
in FOLDER. The campaign trains, simulates and chooses in one job an iteration, and runs in the
default profile, which ``aiida-mlal setup --default --pseudos FOLDER_OF_UPF`` makes. Results are
added to ``qe.json`` beside this file, and ``qe.md`` is written from all of it.
"""

import argparse
import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, fcc100, molecule
from ase.calculators.espresso import Espresso, EspressoProfile
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from systems import systems

HERE = Path(__file__).parent
PSEUDOS = Path(os.environ.get("ESPRESSO_PSEUDO", "/usr/share/espresso/pseudo"))
NAMES = {
    "Cu": "Cu.pbe-kjpaw.UPF",
    "C": "C.pbe-rrkjus.UPF",
    "O": "O.pbe-rrkjus.UPF",
    "N": "N.pbe-kjpaw.UPF",
    "H": "H.pbe-kjpaw.UPF",
}
FMAX, MOST = 0.03, 60
KPOINTS = (1, 1, 1)
SMEARING = {"occupations": "smearing", "smearing": "cold", "degauss": 0.03}


def parameters(metal: bool) -> dict[str, dict[str, Any]]:
    """Return the namelists."""
    electrons = SMEARING if metal else {"occupations": "fixed"}
    return {
        "CONTROL": {"calculation": "scf", "tprnfor": True, "tstress": True},
        "SYSTEM": {"ecutwfc": 25.0, "ecutrho": 150.0, **electrons},
        "ELECTRONS": {"conv_thr": 1e-7, "mixing_beta": 0.4},
    }


def small() -> dict[str, Atoms]:
    """Return the starts, in cells as small as they may be."""
    water = molecule("H2O")
    water.rattle(0.1, seed=1)
    found = {"N2": systems()["N2"].atoms, "water": water}
    for atoms in found.values():
        atoms.center(2.5)
    slab = fcc100("Cu", (1, 1, 3))
    add_adsorbate(slab, "C", 2.0, "hollow")
    slab.positions[-1] += (0.3, 0.2, 0.0)
    slab.center(vacuum=3.0, axis=2)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag == 3]))
    found["C on Cu(100), a monolayer"] = slab
    for atoms in found.values():
        atoms.pbc = True
    return found


def direct(atoms: Atoms, folder: Path) -> dict[str, Any]:
    """Relax by BFGS of ASE."""
    os.environ["OMP_NUM_THREADS"] = "1"
    metal = "Cu" in atoms.symbols
    atoms.calc = Espresso(
        profile=EspressoProfile("pw.x", PSEUDOS),
        directory=folder,
        input_data={name.lower(): dict(values) for name, values in parameters(metal).items()},
        pseudopotentials={element: NAMES[element] for element in set(atoms.symbols)},
        kpts=KPOINTS,
    )
    steps, begun = [], perf_counter()
    for _ in BFGS(atoms, logfile=None).irun(fmax=FMAX, steps=MOST):
        fmax = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        steps.append([atoms.get_potential_energy(), fmax, perf_counter() - begun])
        print(steps[-1], flush=True)
    return {"labels": len(steps), "steps": steps, "positions": atoms.positions.tolist()}


def campaign(atoms: Atoms) -> dict[str, Any]:
    """Relax by a campaign."""
    from aiida import load_profile, orm
    from aiida.engine import run_get_node
    from aiida.plugins import WorkflowFactory

    load_profile()
    fixed = [int(i) for constraint in atoms.constraints for i in constraint.index]
    atoms.calc = None
    atoms.set_constraint()
    pw = {
        "parameters": parameters("Cu" in atoms.symbols),
        "metadata": {"options": {"withmpi": False}},
    }
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        {"mlal": orm.load_code("mlal@localhost"), "label": orm.load_code("pw@localhost")},
        orm.StructureData(ase=atoms),
        labels="quantumespresso",
        overrides={"label": {"pseudo_family": "mlal", "pw": pw}},
        fixed=fixed,
        recipe="gp",
        one_job=True,
    )
    builder.label["kpoints"] = orm.KpointsData()
    builder.label["kpoints"].set_kpoints_mesh(KPOINTS)
    builder.label.pop("kpoints_distance", None)
    begun = perf_counter()
    results, node = run_get_node(builder)
    seconds = perf_counter() - begun
    relaxed = results["relaxed"].configurations
    jobs = [one for one in node.called_descendants if one.process_label == "PwCalculation"]
    of_labels = sum(job.outputs.output_parameters["wall_time_seconds"] for job in jobs)
    return {
        "outcome": "converged" if node.is_finished_ok else node.exit_message,
        "labels": len(results["dataset"].configurations),
        "first_energy": float(results["dataset"].configurations.energies[0]),
        "energy": float(relaxed.energies[0]),
        "fmax": float(relaxed.max_forces[0]),
        "positions": relaxed.positions.tolist(),
        "seconds": seconds,
        "seconds_of_pw": of_labels,
    }


def table(results: dict[str, Any]) -> str:
    """Return the rows."""
    lines = [
        "Labels of pw.x (PBE, 25/150 Ry, Gamma point), to 0.03 eV/Å; seconds of wall time, those "
        "that pw.x reports in brackets.",
        "",
        "| system | BFGS | gp | BFGS, s | gp, s | largest force, eV/Å | above BFGS, eV | "
        "apart, Å |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        if len(found) < 2:
            continue
        one, other = found["direct"], found["gp"]
        last = one["steps"][-1]
        apart = np.linalg.norm(np.array(one["positions"]) - other["positions"], axis=1).max()
        lines.append(
            f"| {name} | {one['labels']} | {other['labels']} | {last[2]:.0f} | "
            f"{other['seconds']:.0f} ({other['seconds_of_pw']:.0f}) | {other['fmax']:.3f} | "
            f"{other['energy'] - last[0]:+.4f} | {apart:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("system", nargs="*")
    asked = parser.parse_args()
    stored = HERE / "qe.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for name, atoms in small().items():
        if asked.system and not any(name.startswith(one) for one in asked.system):
            continue
        for kind in ("direct", "gp"):
            one = atoms.copy()
            found = direct(one, asked.folder) if kind == "direct" else campaign(one)
            results.setdefault(name, {})[kind] = found
            stored.write_text(json.dumps(results, indent=1) + "\n")
            (HERE / "qe.md").write_text(table(results))
            print(name, kind, found["labels"], "labels", flush=True)
