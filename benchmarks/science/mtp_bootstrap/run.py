"""Relax 200 cells of Cu-Au with a moment tensor potential that begins knowing nothing.

    python run.py PROTOCOL [configuration|neighbourhood]

runs ``mlal.offline`` by its recipe ``bootstrap`` with labels of ASE's EMT, in the default profile,
which ``aiida-mlal setup --default`` makes, and relaxes the same cells by EMT itself. Adds a row to
results.json and table.md. Structures are up to eight atoms on the lattices fcc, bcc and hcp, as in
section 6 of I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021).
"""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from aiida import load_profile
from aiida.engine import run_get_node
from aiida.orm import load_code
from aiida.plugins import DataFactory, WorkflowFactory
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.units import GPa

HERE = Path(__file__).resolve().parent
N = 200
CONSTANTS = {"fcc": 3.61, "bcc": 2.87, "hcp": 2.55}
"""Of Cu in Å; those of Au are larger by 13 percent."""

CELLS = {
    "fcc": [(1, 1, n) for n in range(1, 9)] + [(1, 2, 2), (2, 2, 2), (1, 2, 3), (1, 2, 4)],
    "bcc": [(1, 1, n) for n in range(1, 9)] + [(1, 2, 2), (2, 2, 2), (1, 2, 3), (1, 2, 4)],
    "hcp": [(1, 1, n) for n in range(1, 5)] + [(1, 2, 1), (1, 2, 2), (2, 2, 1), (1, 3, 1)],
}


def alloys(n: int, seed: int = 0) -> list[Atoms]:
    """Random occupations of random supercells, a little strained and rattled."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        lattice = str(rng.choice(list(CONSTANTS)))
        cells = CELLS[lattice]
        atoms = bulk("Cu", lattice, a=CONSTANTS[lattice]).repeat(cells[rng.integers(len(cells))])
        atoms.symbols = rng.choice(["Cu", "Au"], len(atoms))
        growth = 1 + 0.13 * np.mean(atoms.symbols == "Au")
        strain = growth * (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.rattle(0.03, rng=rng)
        found.append(atoms)
    return found


def relaxed_by_emt(atoms: Atoms, fmax: float, smax_GPa: float) -> tuple[Atoms, int]:
    """Return the structure relaxed to the tolerances of the campaign, and what it cost."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    calls = 0
    with BFGS(FrechetCellFilter(atoms), logfile=None) as optimizer:
        for _ in optimizer.irun(0.0, 500):
            calls += 1
            stress = np.abs(atoms.get_stress()).max() / GPa
            if np.linalg.norm(atoms.get_forces(), axis=1).max() < fmax and stress < smax_GPa:
                break
    return atoms, calls


def direct(start: list[Atoms], fmax: float, smax_GPa: float) -> dict[str, Any]:
    """Relax by EMT, or read what direct.json has of that."""
    path, name = HERE / "direct.json", f"{fmax:g} eV/Å, {smax_GPa:g} GPa"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if name not in known:
        ends = [relaxed_by_emt(atoms, fmax, smax_GPa) for atoms in start]
        known[name] = {
            "energies": [atoms.get_potential_energy() / len(atoms) for atoms, _ in ends],
            "calls": sum(calls for _, calls in ends),
        }
        path.write_text(json.dumps(known, indent=1) + "\n")
    found: dict[str, Any] = known[name]
    return found


def row(protocol: str, mode: str) -> dict[str, Any]:
    start = alloys(N)
    overrides: dict[str, Any] = {"uncertainty": {"name": "grade", "mode": mode}}
    for query in ("query", "first_query"):
        overrides[query] = {"name": "maxvol", "mode": mode}
    builder = WorkflowFactory("mlal.offline").get_builder_from_protocol(
        load_code("mlal@localhost"),
        DataFactory("mlal.dataset").from_ase(start),
        protocol,
        overrides,
        labels="emt",
        recipe="bootstrap",
    )
    simulation = builder.simulation.get_dict()
    begun = perf_counter()
    results, node = run_get_node(builder)
    seconds = perf_counter() - begun

    relaxed = results["relaxed"].configurations
    predicted = relaxed.info["predicted_energy"] / relaxed.counts
    here = []  # what EMT says of the very structures that the potential relaxed
    for atoms in relaxed.to_ase():
        atoms.calc = EMT()
        here.append(atoms.get_potential_energy() / len(atoms))
    reference = direct(start, simulation["fmax"], simulation["smax_GPa"])
    errors = {
        "same_structure_meV": 1e3 * (predicted - np.array(here)),
        "direct_relaxation_meV": 1e3 * (predicted - np.array(reference["energies"])),
    }
    rows = results["curve"].get_dict()["rows"]
    return {
        "protocol": protocol,
        "level": builder.model["level"],
        "mode": mode,
        "outcome": "converged" if node.is_finished_ok else node.exit_message,
        "iterations": len(rows),
        "labels": len(results["dataset"]),
        "direct_calls": reference["calls"],
        "seconds": round(seconds),
        "runs": last_runs(node),
        "curve": [{k: r[k] for k in ("labels", "interrupted", "converged")} for r in rows],
        **{name: summary(values) for name, values in errors.items()},
    }


def last_runs(node: Any) -> dict[str, int]:
    """Count how the last simulations ended."""
    found = [n for n in node.called if n.process_label == "SimulateBaseWorkChain"]
    reasons = [run["reason"] for run in max(found, key=lambda n: n.pk).outputs.results["runs"]]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def summary(errors: np.ndarray) -> dict[str, Any]:
    sizes = np.abs(errors)
    found = {
        "mae": sizes.mean(),
        "rmse": np.sqrt((errors**2).mean()),
        "median": np.median(sizes),
        "max": sizes.max(),
    }
    rounded = {name: round(float(value), 2) for name, value in found.items()}
    return {**rounded, "above_5_meV": int((sizes > 5).sum())}


def table(rows: list[dict[str, Any]]) -> str:
    heads = ["protocol, mode", "level", "iterations", "labels", "EMT calls of direct relaxations"]
    heads += ["of 200 runs", "error at the relaxed structure: MAE, max (meV/atom)"]
    heads += ["to the direct relaxation: median, MAE (meV/atom), runs above 5", "s"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for r in rows:
        here, there = r["same_structure_meV"], r["direct_relaxation_meV"]
        ends = ", ".join(f"{count} {reason}" for reason, count in r["runs"].items())
        cells = [f"{r['protocol']}, {r['mode']}", r["level"], r["iterations"], r["labels"]]
        cells += [r["direct_calls"], ends, f"{here['mae']}, {here['max']}"]
        cells += [f"{there['median']}, {there['mae']}, {there['above_5_meV']}", r["seconds"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    protocol = sys.argv[1] if len(sys.argv) > 1 else "balanced"
    mode = sys.argv[2] if len(sys.argv) > 2 else "configuration"
    load_profile()
    found = row(protocol, mode)
    print(json.dumps({key: found[key] for key in found if key != "curve"}))
    path = HERE / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows.append(found)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (HERE / "table.md").write_text(table(rows))


if __name__ == "__main__":
    main()
