"""Properties of four crystals against values by hand, with energies alone where that is possible.

``python run.py Cu Al Si NaCl`` computes lattice and elastic constants, the vacancy and phonons at X
as ``mlal properties`` does, and once more without any code of it: the lattice constant by
minimising energies, elastic constants as second derivatives of energies of relaxed strained cells,
the vacancy by a supercell of ASE, phonons by frozen displacements in the conventional cell, whose
modes at Γ are those at Γ and X of the primitive one. Cu and Al by EMT of ASE, Si and NaCl by
SevenNet-0 (PyPI sevenn). Rows go to results.json and table.md.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from ase.units import GPa, fs
from scipy.optimize import minimize_scalar

from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.elastic import Elastic
from aiida_mlal.ml.properties.evaluator import Evaluator, Relaxation
from aiida_mlal.ml.properties.lattice import Lattice
from aiida_mlal.ml.properties.phonons import Phonons
from aiida_mlal.ml.properties.vacancy import Vacancy

HERE = Path(__file__).parent
LENGTH = 10.0


def seven() -> Calculator:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


CRYSTALS = {
    "Cu": (lambda: bulk("Cu", cubic=True), EMT, "EMT"),
    "Al": (lambda: bulk("Al", cubic=True), EMT, "EMT"),
    "Si": (lambda: bulk("Si", cubic=True), seven, "SevenNet-0"),
    "NaCl": (lambda: bulk("NaCl", "rocksalt", a=5.6, cubic=True), seven, "SevenNet-0"),
}
STRAIN = 0.005
"""Energies of SevenNet are in single precision: smaller ones are lost in it."""


def ours(atoms: Atoms, calculator: Calculator, kind: str) -> dict[str, float]:
    relaxation = Relaxation() if kind == "EMT" else Relaxation(fmax=5e-4, smax_GPa=0.01)
    crystal = Crystal.at_equilibrium(atoms, Evaluator(calculator, relaxation))
    found = {**Lattice().of(crystal).numbers, **Elastic(strain=STRAIN).of(crystal).numbers}
    found |= {**Vacancy(length=LENGTH).of(crystal).numbers}
    phonons = Phonons(length=LENGTH).of(crystal)
    x = phonons.numbers["X_THz"]
    values = {name: found[name] for name in ("a_A", "C11_GPa", "C12_GPa", "C44_GPa")}
    kinds = [name for name in found if name.endswith("energy_eV") and "unrelaxed" not in name]
    values |= {kinds[0]: found[kinds[0]], "X lowest_THz": x.min(), "X highest_THz": x.max()}
    print(crystal.warnings, phonons.warnings)
    return {name: float(value) for name, value in values.items()}


def by_hand(atoms: Atoms, calculator: Calculator) -> dict[str, float]:
    def energy(cell: np.ndarray, relax: bool = False) -> float:
        strained = atoms.copy()
        strained.set_cell(cell, scale_atoms=True)
        strained.calc = calculator
        if relax and len(atoms) > 4:
            BFGS(strained, logfile=None).run(fmax=5e-4, steps=40)
        return float(strained.get_potential_energy())

    unit = np.eye(3)
    guess = atoms.cell[0, 0]
    bracket = (0.98 * guess, 1.02 * guess)
    a = minimize_scalar(lambda a: energy(a * unit), bracket, tol=1e-7).x

    def second(strain: np.ndarray, step: float = STRAIN) -> float:
        ends = [energy(a * (unit + s * strain), True) for s in (step, 0.0, -step)]
        return (ends[0] - 2 * ends[1] + ends[2]) / step**2 / a**3 / GPa

    uniaxial, volume = second(np.diag([1.0, 0, 0])), second(unit)
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = 0.5
    c44 = second(shear, 4 * STRAIN)  # so soft in NaCl that smaller ones are lost in rounding
    c12 = (volume - 3 * uniaxial) / 6
    values = {"a_A": a, "C11_GPa": uniaxial, "C12_GPa": c12, "C44_GPa": c44}

    cell = atoms.copy()
    cell.set_cell(a * unit, scale_atoms=True)
    cell.calc = calculator
    e = cell.get_potential_energy() / len(cell)
    perfect = cell.repeat(int(np.ceil(LENGTH / a)))
    total, elements = 0.0, sorted(set(cell.symbols))
    for element in elements:
        hole = perfect.copy()
        del hole[list(hole.symbols).index(element)]
        hole.calc = calculator
        BFGS(hole, logfile=None).run(fmax=1e-3, steps=200)
        total += hole.get_potential_energy() - e * len(perfect) + e
    values["vacancy_energy_eV" if len(elements) == 1 else "schottky_energy_eV"] = total

    n, size = len(cell), 0.01
    force_constants = np.zeros((3 * n, 3 * n))
    for k in range(3 * n):
        ends = []
        for sign in (1, -1):
            moved = cell.copy()
            moved.positions[k // 3, k % 3] += sign * size
            moved.calc = calculator
            ends.append(moved.get_forces().ravel())
        force_constants[k] = (ends[1] - ends[0]) / (2 * size)
    masses = cell.get_masses().repeat(3)
    dynamical = (force_constants + force_constants.T) / 2 / np.sqrt(np.outer(masses, masses))
    squares, modes = np.linalg.eigh(dynamical)
    frequencies = np.sign(squares) * np.sqrt(abs(squares)) * fs * 1000 / (2 * np.pi)
    at_x = [f for f, mode in zip(frequencies, modes.T) if not _is_gamma(cell, mode, masses)]
    return values | {"X lowest_THz": min(at_x), "X highest_THz": max(at_x)}


def _is_gamma(cell: Atoms, mode: np.ndarray, masses: np.ndarray) -> bool:
    """Return whether atoms of a species (of one basis site) all move alike."""
    moves = (mode / np.sqrt(masses)).reshape(-1, 3)
    first = cell.get_scaled_positions()
    sites = (first * 4).round().astype(int)
    parity = sites.sum(axis=1) % 4 if len(set(cell.symbols)) == 1 else cell.numbers
    means = [np.linalg.norm(moves[parity == p].mean(axis=0)) for p in set(parity)]
    return max(means) > 1e-2 * np.abs(moves).max()


def table(rows: list[dict]) -> str:
    lines = [
        "| crystal | by | | `mlal properties` | by hand | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        for name, value in row["ours"].items():
            quantity, _, unit = name.rpartition("_")
            hand = row["by_hand"][name]
            what = f"{quantity.replace('_', ' ')}, {unit}"
            lines.append(
                f"| {row['crystal']} | {row['calculator']} | {what} | {value:.4f} | {hand:.4f} | "
                f"{100 * (value / hand - 1):+.2f} % |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    path = HERE / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    for name in sys.argv[1:] or CRYSTALS:
        make, calculator, kind = CRYSTALS[name]
        begin = time.process_time()
        row = {"crystal": name, "calculator": kind, "ours": ours(make(), calculator(), kind)}
        row["cpu_s"] = round(time.process_time() - begin, 1)
        row["by_hand"] = by_hand(make(), calculator())
        rows = [old for old in rows if old["crystal"] != name] + [row]
        path.write_text(json.dumps(rows, indent=1) + "\n")
        (HERE / "table.md").write_text(table(rows))
        print(table([row]))


if __name__ == "__main__":
    main()
