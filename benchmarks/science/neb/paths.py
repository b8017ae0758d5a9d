"""Paths between two minima: ends that are not relaxed."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, molecule
from ase.constraints import FixAtoms


def _slab(atoms: Atoms, fixed_layers: int) -> Atoms:
    atoms.pbc = (True, True, False)
    tags = atoms.get_tags()
    atoms.set_constraint(FixAtoms(np.flatnonzero(tags > tags.max() - fixed_layers)))
    return atoms


def _hop(atoms: Atoms, way: np.ndarray) -> list[Atoms]:
    other = atoms.copy()
    other.positions[-1] += way
    return [atoms, other]


def paths() -> dict[str, list[Atoms]]:
    """Return the ends of each path by its name."""
    found = {}
    atoms = fcc100("Cu", (2, 2, 3), vacuum=4.0)
    add_adsorbate(atoms, "O", 1.7, "hollow")
    found["O on Cu(100)"] = _hop(_slab(atoms, 2), atoms.cell[0] / 2)
    crystal = bulk("Al", cubic=True) * (2, 2, 2)
    begin, end = crystal.copy(), crystal.copy()
    near = int(np.argsort(crystal.get_distances(0, range(len(crystal)), mic=True))[1])
    begin.positions[near] = crystal.positions[near]
    end.positions[near] = crystal.positions[0]
    del begin[0], end[0]
    found["vacancy in Al"] = [begin, end]
    atoms = fcc111("Pt", (2, 2, 3), vacuum=6.0)
    add_adsorbate(atoms, "H", 1.0, "fcc")
    other = atoms.copy()
    del other[-1]
    add_adsorbate(other, "H", 1.0, "hcp")
    found["H on Pt(111)"] = [_slab(atoms, 2), _slab(other, 2)]
    atoms = fcc100("Al", (3, 3, 3), vacuum=6.0)
    add_adsorbate(atoms, "Al", 1.9, "hollow")
    found["adatom on Al(100)"] = _hop(_slab(atoms, 2), atoms.cell[0] / 3)
    atoms = molecule("C2H6")
    other = atoms.copy()
    turned = [i for i in range(len(atoms)) if atoms.positions[i, 2] > 0]
    part = other[turned]
    part.rotate(120, "z")
    other.positions[turned] = part.positions
    found["rotation in ethane"] = [atoms, other]
    crystal = bulk("Ni", cubic=True) * (2, 2, 2)
    atoms, other = crystal.copy(), crystal.copy()
    atoms += Atoms("C", [0.5 * bulk("Ni", cubic=True).cell.sum(axis=0)])
    other += Atoms("C", [atoms.positions[-1] + np.array([1, 1, 0]) * crystal.cell[0, 0] / 4])
    found["C in Ni"] = [atoms, other]
    return found


OPTIONS: dict[str, dict[str, Any]] = {
    "rotation in ethane": {"any_order": True},
    "C in Ni": {"cell": "full"},
}
"""Options of the simulation that a path wants: hydrogen atoms change places, or the cell moves."""

KINDS = {"rotation in ethane": ("7net",)}
"""Paths for some kinds of labels only: EMT knows no such molecule."""


def rattled(ends: list[Atoms], seed: int) -> list[Atoms]:
    """Return ends whose free atoms are displaced at random by 0.03 Å; with seed 0 as they are."""
    if not seed:
        return ends
    rng = np.random.default_rng(seed)
    found = []
    for atoms in ends:
        other = atoms.copy()
        other.set_positions(other.positions + rng.normal(0.0, 0.03, other.positions.shape))
        found.append(other)
    return found
