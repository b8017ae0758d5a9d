"""Symmetry of crystals, by spglib: conventional cells, and rotations in their frame."""

import warnings
from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms
from jaxtyping import Float, Int

SYMPREC = 1e-3
"""Distance in Å by which atoms may be off their symmetric places."""


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Space group of a crystal.

    Attributes
    ----------
    name
        International symbol and number of the space group.
    frame
        Rotation from the axes of the structure to those of the conventional cell.
    rotations
        Point group, Cartesian, in the frame of the conventional cell.
    conventional
        The standardised conventional cell (of spglib), in its frame.
    equivalent
        For each atom of the conventional cell the first one that it is equivalent to.
    """

    name: str
    frame: Float[np.ndarray, "3 3"]
    rotations: Float[np.ndarray, "operations 3 3"]
    conventional: Atoms
    equivalent: Int[np.ndarray, " atoms"]

    @property
    def centring(self) -> str:
        """Letter of the centring of the conventional cell: P, F, I, A, C or R."""
        return self.name[0]

    @classmethod
    def of(cls, atoms: Atoms, symprec: float = SYMPREC) -> "Symmetry":
        """Find the symmetry of a structure that is periodic in all directions.

        Raises
        ------
        ValueError
            If it is not, or none is found.
        """
        if not atoms.pbc.all():
            raise ValueError(f"expected a crystal, {atoms.symbols} is not periodic everywhere")
        dataset = _dataset(atoms, symprec)
        cell = np.array(dataset.std_lattice)
        conventional = Atoms(
            dataset.std_types, scaled_positions=dataset.std_positions, cell=cell, pbc=True
        )
        standard = _dataset(conventional, symprec)
        lattice = cell.T
        rotations = [lattice @ w @ np.linalg.inv(lattice) for w in standard.rotations]
        return cls(
            f"{dataset.international} ({dataset.number})",
            np.array(dataset.std_rotation_matrix),
            _distinct(np.array(rotations)),
            conventional,
            np.array(standard.equivalent_atoms),
        )


def _dataset(atoms: Atoms, symprec: float) -> "spglib.SpglibDataset":
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():  # which it gives about its own future, whatever happens
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
        except Exception:  # of the kind that this future has
            dataset = None
    if dataset is None:
        raise ValueError(f"no symmetry of {atoms.symbols} is found within {symprec:g} Å")
    return dataset


def _distinct(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "m 3 3"]:
    """Return each rotation once: those with different translations are the same."""
    _, first = np.unique(rotations.round(6) + 0.0, axis=0, return_index=True)
    return rotations[np.sort(first)]
