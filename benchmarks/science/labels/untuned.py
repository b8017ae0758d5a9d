"""Twelve structures to relax that nothing was tuned on: they were first tried when all stood."""

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, graphene, molecule
from ase.spacegroup import crystal
from systems import System, slab

from aiida_mlal.ml.simulation.cell import MovingCell


def untuned() -> dict[str, System]:
    """Return each start by its name."""
    return {name: System(atoms) for name, atoms in _of_fixed_cells().items()} | {
        name: System(atoms, MovingCell("full"), ("7net",)) for name, atoms in _of_cells().items()
    }


def _of_fixed_cells() -> dict[str, Atoms]:
    found = {}
    atoms, water = fcc111("Pt", (2, 2, 3), vacuum=8.0), molecule("H2O")
    water.rotate(70, "x")
    add_adsorbate(atoms, water, 2.6, "ontop", offset=(0.1, 0.05))
    found["H2O on Pt(111)"] = slab(atoms, 2)
    atoms, ammonia = fcc100("Cu", (2, 2, 3), vacuum=8.0), molecule("NH3")
    ammonia.rotate(180, "x")
    add_adsorbate(atoms, ammonia, 2.4, "bridge")
    found["NH3 on Cu(100)"] = slab(atoms, 2)
    found["benzene"] = _in_vacuum(molecule("C6H6"), 0.06, seed=1)
    water, other = molecule("H2O"), molecule("H2O")
    other.rotate(110, "y")
    other.translate((3.1, 0.2, 0.1))
    found["two molecules of water"] = _in_vacuum(water + other, 0.05, seed=2)
    found["acetic acid"] = _in_vacuum(molecule("CH3COOH"), 0.07, seed=4)
    atoms = bulk("MgO", "rocksalt", a=4.21, cubic=True) * (2, 1, 1)
    del atoms[1]
    found["O vacancy in MgO"] = _rattled(atoms, 0.06, seed=3)
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.append("Si")
    atoms.positions[-1] = atoms.positions[0] + (2.4, 1.2, 2.6)
    found["Si interstitial"] = _rattled(atoms, 0.05, seed=5)
    atoms = graphene(size=(3, 3, 1), vacuum=6.0)
    atoms.pbc = (True, True, False)
    found["graphene"] = _rattled(atoms, 0.08, seed=6)
    atoms = bulk("Fe", "bcc", a=2.83, cubic=True) * (2, 2, 2)
    atoms.append("C")
    atoms.positions[-1] = (1.4, 1.4, 0.1)
    found["C in Fe"] = _rattled(atoms, 0.05, seed=7)
    return found


def _of_cells() -> dict[str, Atoms]:
    rutile = {"spacegroup": 136, "cellpar": [4.4, 4.4, 3.1, 90, 90, 90]}
    built = crystal(["Ti", "O"], [(0, 0, 0), (0.32, 0.32, 0)], **rutile)
    atoms = Atoms(built.symbols, built.positions, cell=built.cell, pbc=True)
    found = {"TiO2, cell": _rattled(atoms, 0.06, seed=9)}
    atoms = bulk("LiF", "rocksalt", a=4.3, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * np.eye(3, k=1)), scale_atoms=True)
    found["LiF, cell"] = _rattled(atoms, 0.08, seed=10)
    atoms = bulk("Ti", "hcp", a=3.1, c=4.5) * (2, 1, 1)
    found["Ti, cell"] = _rattled(atoms, 0.08, seed=11)
    return found


def _in_vacuum(atoms: Atoms, stdev: float, seed: int) -> Atoms:
    atoms = _rattled(atoms, stdev, seed)
    atoms.center(5)
    return atoms


def _rattled(atoms: Atoms, stdev: float, seed: int) -> Atoms:
    atoms.rattle(stdev, seed=seed)
    return atoms
