"""Images of a path whose cell moves: coordinates of the solid-state nudged elastic band."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.units import GPa
from jaxtyping import Float

from aiida_mlal.ml.simulation.cell import MovingCell, volume_of


class Strained:
    """Atoms and their cell as a band or an optimiser of ASE sees them.

    Coordinates are the positions that atoms have in a reference cell, then the deformation of that
    cell times a length, which makes a strain comparable with displacements: D. Sheppard et al.,
    J. Chem. Phys. 136, 074103 (2012). Forces are minus the gradient by these.

    Parameters
    ----------
    atoms
        What is moved; it has a calculator when forces are asked for.
    moving
        What of the cell moves.
    reference
        The reference cell.

    Attributes
    ----------
    cell, pbc
        Those that displacements are to be seen in.
    """

    def __init__(
        self, atoms: Atoms, moving: MovingCell, reference: Float[np.ndarray, "3 3"]
    ) -> None:
        self._atoms, self._filter = atoms, moving.filter(atoms)
        self._filter.orig_cell = reference
        self._filter.cell_factor = length(reference, len(atoms))
        self.cell, self.pbc = Cell(reference), atoms.pbc

    def __len__(self) -> int:
        return len(self._filter)

    def __ase_optimizable__(self) -> Any:
        """Return the object whose variables optimisers of ASE change."""
        return self._filter.__ase_optimizable__()

    @property
    def calc(self) -> Any:
        """The calculator of the atoms."""
        return self._atoms.calc

    @property
    def positions(self) -> Float[np.ndarray, "rows 3"]:
        """The coordinates in Å: a row for each atom, and three of the cell."""
        return self.get_positions()

    def get_positions(self) -> Float[np.ndarray, "rows 3"]:
        """Return the coordinates in Å: a row for each atom, and three of the cell."""
        return np.asarray(self._filter.get_positions())

    def set_positions(self, positions: Float[np.ndarray, "rows 3"]) -> None:
        """Move atoms and cell to coordinates."""
        self._filter.set_positions(positions)

    def get_forces(self, apply_constraint: bool = True) -> Float[np.ndarray, "rows 3"]:
        """Return the forces along the coordinates in eV/Å."""
        return np.asarray(self._filter.get_forces(apply_constraint=apply_constraint))

    def get_potential_energy(self) -> float:
        """Return the energy in eV, the enthalpy under pressure."""
        return float(self._filter.get_potential_energy(force_consistent=False))

    def get_atomic_numbers(self) -> np.ndarray:
        """Return those of the atoms."""
        return np.asarray(self._atoms.numbers)


def strained(
    atoms: Atoms, moving: MovingCell, reference: Float[np.ndarray, "3 3"]
) -> Atoms | Strained:
    """Return atoms with the coordinates of their cell, or atoms alone where it is fixed."""
    return Strained(atoms, moving, reference) if moving else atoms


def length(cell: Float[np.ndarray, "3 3"], atoms: int) -> float:
    """Return the length in Å that a strain is multiplied by: that of an atom times their root."""
    return float((volume_of(cell) / atoms) ** (1 / 3) * atoms**0.5)


def largest(
    forces: Float[np.ndarray, "images rows 3"], atoms: int, reference: Float[np.ndarray, "3 3"]
) -> tuple[float, float]:
    """Return the largest force on an atom in eV/Å, and the largest stress component in GPa.

    Parameters
    ----------
    forces
        Of images of so many ``atoms``; rows behind these are those of the cell.
    """
    in_GPa = length(reference, atoms) / volume_of(reference) / GPa if forces.shape[1] > atoms else 0
    of_atoms, of_cell = forces[:, :atoms], forces[:, atoms:]
    fmax = float(np.linalg.norm(of_atoms, axis=-1).max(initial=0.0))
    return fmax, float(np.abs(of_cell).max(initial=0.0)) * in_GPa
