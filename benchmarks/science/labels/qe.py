"""Labels and time that relaxations with pw.x need: direct ones, and campaigns of recipe ``gp``.

    python benchmarks/science/labels/qe.py FOLDER [SYSTEM ...]

Labels are of settings that are cheap, the same for both: a cutoff of 25 Ry, the Gamma point; PBE
for molecules, LDA for slabs of aluminium, of whose pseudopotentials there are families ``pbe`` and
``lda`` in the default profile (``aiida-mlal setup --family pbe --pseudos FOLDER``, and once more).
The direct relaxation is BFGS of ASE, each label a run of pw.x from atomic densities; jobs of it run
in FOLDER. The campaign trains, simulates and chooses in one job an iteration. Seconds of pw.x are
of CPU time, as it prints them, on one core. Results are added to ``qe.json`` beside this file, and
``qe.md`` is written from all of it.
"""

import argparse
import json
import os
import re
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
    "pbe": {"O": "O.pbe-rrkjus.UPF", "N": "N.pbe-kjpaw.UPF", "H": "H.pbe-kjpaw.UPF"},
    "lda": {"Al": "Al.pz-vbc.UPF", "C": "C.pz-rrkjus.UPF"},
}
FMAX, MOST = 0.03, 60
SMEARING = {"occupations": "smearing", "smearing": "cold", "degauss": 0.03}


def functional(atoms: Atoms) -> str:
    """Return the name of the family of pseudopotentials."""
    return next(name for name, known in NAMES.items() if set(atoms.symbols) <= set(known))


def parameters(atoms: Atoms) -> dict[str, dict[str, Any]]:
    """Return the namelists."""
    electrons = SMEARING if "Al" in atoms.symbols else {"occupations": "fixed"}
    return {
        "CONTROL": {"calculation": "scf", "tprnfor": True, "tstress": True},
        "SYSTEM": {"ecutwfc": 25.0, "ecutrho": 150.0, **electrons},
        "ELECTRONS": {"conv_thr": 1e-7, "mixing_beta": 0.4},
    }


def cpu_seconds(output: str) -> float:
    """Return the CPU time that pw.x prints at its end."""
    said = re.findall(r"PWSCF\s+:\s+(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:([\d.]+)s)? CPU", output)
    return sum(float(part or 0) * unit for part, unit in zip(said[-1], (3600, 60, 1)))


def small() -> dict[str, Atoms]:
    """Return the starts, in cells as small as they may be."""
    water = molecule("H2O")
    water.rattle(0.1, seed=1)
    found = {"N2": systems()["N2"].atoms, "water": water}
    for atoms in found.values():
        atoms.center(2.5)
    slab = fcc100("Al", (2, 2, 2))
    add_adsorbate(slab, "C", 1.8, "hollow")
    slab.positions[-1] += (0.3, 0.2, 0.0)
    slab.center(vacuum=3.0, axis=2)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag == 2]))
    found["C on Al(100)"] = slab
    for atoms in found.values():
        atoms.pbc = True
    return found


def direct(atoms: Atoms, folder: Path) -> dict[str, Any]:
    """Relax by BFGS of ASE."""
    os.environ["OMP_NUM_THREADS"] = "1"
    names = NAMES[functional(atoms)]
    atoms.calc = Espresso(
        profile=EspressoProfile("pw.x", PSEUDOS),
        directory=folder,
        input_data={name.lower(): dict(values) for name, values in parameters(atoms).items()},
        pseudopotentials={element: names[element] for element in set(atoms.symbols)},
        kpts=None,
    )
    steps, seconds, begun = [], 0.0, perf_counter()
    for _ in BFGS(atoms, logfile=None).irun(fmax=FMAX, steps=MOST):
        fmax = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        seconds += cpu_seconds((folder / "espresso.pwo").read_text())
        steps.append([atoms.get_potential_energy(), fmax])
        print(steps[-1], flush=True)
    return {
        "labels": len(steps),
        "steps": steps,
        "positions": atoms.positions.tolist(),
        "seconds": perf_counter() - begun,
        "seconds_of_pw": seconds,
    }


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
        "parameters": parameters(atoms),
        "settings": {"gamma_only": True},
        "metadata": {"options": {"withmpi": False}},
    }
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        {"mlal": orm.load_code("mlal@localhost"), "label": orm.load_code("pw@localhost")},
        orm.StructureData(ase=atoms),
        labels="quantumespresso",
        overrides={"label": {"pseudo_family": functional(atoms), "pw": pw}},
        fixed=fixed,
        recipe="gp",
        one_job=True,
    )
    builder.label["kpoints"] = orm.KpointsData()
    builder.label["kpoints"].set_kpoints_mesh((1, 1, 1))
    builder.label.pop("kpoints_distance", None)
    begun = perf_counter()
    results, node = run_get_node(builder)
    seconds = perf_counter() - begun
    relaxed = results["relaxed"].configurations
    jobs = [one for one in node.called_descendants if one.process_label == "PwCalculation"]
    files = [job.outputs.retrieved.get_object_content("aiida.out") for job in jobs]
    return {
        "outcome": "converged" if node.is_finished_ok else node.exit_message,
        "labels": len(results["dataset"].configurations),
        "first_energy": float(results["dataset"].configurations.energies[0]),
        "energy": float(relaxed.energies[0]),
        "fmax": float(relaxed.max_forces[0]),
        "positions": relaxed.positions.tolist(),
        "seconds": seconds,
        "seconds_of_pw": sum(map(cpu_seconds, files)),
    }


def cpu(found: dict[str, Any]) -> str:
    """Return the seconds of pw.x in words, which were not kept at first."""
    return f"{found['seconds_of_pw']:.0f}" if "seconds_of_pw" in found else "–"


def table(results: dict[str, Any]) -> str:
    """Return the rows."""
    lines = [
        "Labels of pw.x (25/150 Ry, Gamma point), to 0.03 eV/Å; seconds of CPU time of pw.x, "
        "and of wall time, on a machine that is shared.",
        "",
        "| system | BFGS | gp | BFGS, CPU s | gp, CPU s | BFGS, s | gp, s | largest force, eV/Å | "
        "above BFGS, eV | apart, Å |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        if len(found) < 2:
            continue
        one, other = found["direct"], found["gp"]
        last = one["steps"][-1]
        apart = np.linalg.norm(np.array(one["positions"]) - other["positions"], axis=1).max()
        lines.append(
            f"| {name} | {one['labels']} | {other['labels']} | {cpu(one)} | "
            f"{cpu(other)} | {one['seconds']:.0f} | {other['seconds']:.0f} | "
            f"{other['fmax']:.3f} | "
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
