"""Fourteen structures to relax."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, fcc211, molecule
from ase.cluster import Icosahedron, Octahedron
from ase.constraints import FixAtoms

from aiida_mlal.ml.simulation.cell import FIXED, MovingCell


class System(NamedTuple):
    """A start, what of its cell moves, and which calculators know its elements."""

    atoms: Atoms
    cell: MovingCell = FIXED
    kinds: tuple[str, ...] = ("emt", "7net")


def slab(atoms: Atoms, fixed_layers: int = 1) -> Atoms:
    atoms.pbc = (True, True, False)
    tags = atoms.get_tags()
    atoms.set_constraint(FixAtoms(np.flatnonzero(tags > tags.max() - fixed_layers)))
    return atoms


def systems() -> dict[str, System]:
    """Return each start by its name."""
    found = {}
    atoms = fcc100("Cu", (2, 2, 3), vacuum=10.0)
    add_adsorbate(atoms, "C", 3.0, "hollow")
    found["C on Cu(100)"] = System(slab(atoms))
    atoms = fcc111("Pt", (2, 2, 3), vacuum=8.0)
    add_adsorbate(atoms, "O", 2.0, "ontop")
    atoms.positions[-1] += (0.3, 0.2, 0.0)
    found["O on Pt(111)"] = System(slab(atoms, 2))
    atoms = molecule("N2")
    atoms.positions *= 1.13 / atoms.get_distance(0, 1)
    atoms.center(5)
    found["N2"] = System(atoms)
    atoms = molecule("CH3OH")
    atoms.rattle(0.08, seed=2)
    atoms.center(5)
    found["methanol"] = System(atoms)
    atoms = bulk("Al", cubic=True) * (2, 2, 2)
    del atoms[0]
    atoms.rattle(0.08, seed=3)
    found["vacancy in Al"] = System(atoms)
    atoms = Octahedron("Au", 3, 0)
    atoms.rattle(0.2, seed=5)
    atoms.center(6)
    found["Au19"] = System(atoms)
    atoms = fcc111("Pd", (2, 2, 3), vacuum=8.0)
    carbon_monoxide = Atoms("CO", [(0, 0, 0), (0.4, 0.1, 1.1)])
    add_adsorbate(atoms, carbon_monoxide, 1.8, "bridge")
    found["CO on Pd(111)"] = System(slab(atoms, 2))
    atoms = Icosahedron("Pd", 2)
    atoms.symbols[[0, 3, 4, 7, 9]] = "Au"
    atoms.rattle(0.15, seed=7)
    atoms.center(6)
    found["Au5Pd8"] = System(atoms)
    atoms = bulk("Ni", cubic=True) * (2, 2, 2)
    atoms.append("C")
    atoms.positions[-1] = atoms.cell.sum(axis=0) / 4 + (0.25, 0.1, 0.0)  # from its octahedral site
    found["C in Ni"] = System(atoms)
    atoms = fcc211("Ag", (3, 2, 3), vacuum=7.0)
    heights = atoms.positions[:, 2]
    atoms.set_constraint(FixAtoms(np.argsort(heights)[:12]))
    atoms.append("Ag")
    atoms.positions[-1] = atoms.positions[heights.argmax()] + (1.4, 1.6, 1.4)
    found["Ag at a step of Ag(211)"] = System(atoms)
    atoms = molecule("trans-butane")
    atoms.rotate_dihedral(0, 1, 2, 3, 60.0, indices=[2, 3, 5, 8, 9, 12, 13])
    atoms.rattle(0.03, seed=8)
    atoms.center(5)
    found["butane, twisted"] = System(atoms)
    atoms = Atoms("CO", [(0, 0, 0), (0, 0, 1.6)])
    atoms.center(5)
    found["CO far apart"] = System(atoms)
    atoms = bulk("NaCl", "rocksalt", a=5.9, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * np.eye(3, k=1)), scale_atoms=True)
    atoms.rattle(0.1, seed=4)
    found["NaCl, cell"] = System(atoms, MovingCell("full"), ("7net",))
    atoms = bulk("Cu", a=3.85, cubic=True)
    atoms.set_cell(atoms.cell @ np.diag([1.0, 1.0, 0.95]), scale_atoms=True)
    atoms.rattle(0.1, seed=6)
    found["Cu, cell"] = System(atoms, MovingCell("full"))
    return found


def rattled(system: System, start: int) -> System:
    """Return one of several starts: the first is as it stands, atoms that move are rattled."""
    atoms = system.atoms.copy()
    if start:
        atoms.rattle(0.05, seed=100 + start)
    return system._replace(atoms=atoms)
