"""Six structures to relax."""

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, molecule
from ase.cluster import Octahedron
from ase.constraints import FixAtoms


def _slab(atoms: Atoms, fixed_layers: int = 1) -> Atoms:
    atoms.pbc = (True, True, False)
    tags = atoms.get_tags()
    atoms.set_constraint(FixAtoms(np.flatnonzero(tags > tags.max() - fixed_layers)))
    return atoms


def systems() -> dict[str, Atoms]:
    """Return each start by its name."""
    found = {}
    atoms = fcc100("Cu", (2, 2, 3), vacuum=10.0)
    add_adsorbate(atoms, "C", 3.0, "hollow")
    found["C on Cu(100)"] = _slab(atoms)
    atoms = fcc111("Pt", (2, 2, 3), vacuum=8.0)
    add_adsorbate(atoms, "O", 2.0, "ontop")
    atoms.positions[-1] += (0.3, 0.2, 0.0)
    found["O on Pt(111)"] = _slab(atoms, 2)
    atoms = molecule("N2")
    atoms.positions *= 1.13 / atoms.get_distance(0, 1)
    atoms.center(5)
    found["N2"] = atoms
    atoms = molecule("CH3OH")
    atoms.rattle(0.08, seed=2)
    atoms.center(5)
    found["methanol"] = atoms
    atoms = bulk("Al", cubic=True) * (2, 2, 2)
    del atoms[0]
    atoms.rattle(0.08, seed=3)
    found["vacancy in Al"] = atoms
    atoms = Octahedron("Au", 3, 0)
    atoms.rattle(0.2, seed=5)
    atoms.center(6)
    found["Au19"] = atoms
    return found
