"""Degrees of freedom of the cell, and the components of the stress that drive them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.units import GPa
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.options import build

ROUNDING = 1e-6
"""Largest change of a cell (Å, or strain) that is none."""


@dataclass(frozen=True)
class MovingCell:
    """Degrees of freedom of the cell that a simulation changes, and the external pressure.

    Attributes
    ----------
    moves
        Nothing (``fixed``), all of it (``full``), its ``shape`` at constant volume, its
        ``volume`` at constant shape, or strains along the ``axes`` x, y and z, without shear.
    pressure_GPa
        External pressure.
    """

    moves: Literal["fixed", "full", "shape", "volume", "axes"] = "fixed"
    pressure_GPa: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a pressure on a volume that does not change."""
        if self.moves in ("fixed", "shape") and self.pressure_GPa != 0:
            raise ValueError(f"a pressure has no effect with cell '{self.moves}'")

    def __bool__(self) -> bool:
        """Whether any cell parameter moves."""
        return self.moves != "fixed"

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "MovingCell":
        """Read it from the JSON values of the result of a run."""
        return build(cls, run.get("cell") or {}, "cell")

    def imbalance(
        self, stresses: Float[np.ndarray, "structures 3 3"]
    ) -> Float[np.ndarray, "structures 3 3"]:
        """Return the components of stresses (eV/Å³) that drive the cell, in GPa.

        The external pressure is added to the stress; of ``shape`` it is the deviator, of
        ``volume`` the hydrostatic part, of ``axes`` the diagonal. They are zero at equilibrium, and
        for a cell that is fixed.
        """
        if not self:
            return np.zeros_like(stresses)
        whole = np.asarray(stresses) / GPa + self.pressure_GPa * np.eye(3)
        hydrostatic = np.trace(whole, axis1=-2, axis2=-1)[..., None, None] / 3 * np.eye(3)
        return {
            "full": whole,
            "shape": whole - hydrostatic,
            "volume": hydrostatic,
            "axes": whole * np.eye(3),
        }[self.moves]

    def largest(self, stresses: Float[np.ndarray, "structures 3 3"]) -> Float[np.ndarray, " n"]:
        """Return the largest size of a component that moves the cell, in GPa; NaN if unknown."""
        largest: np.ndarray = np.abs(self.imbalance(stresses)).max(axis=(-2, -1))
        return largest

    def check(self, structures: Configurations) -> None:
        """Raise ``ValueError`` for structures whose cell cannot be moved.

        These are those without a cell in all directions, and those with atoms that are fixed.
        """
        if not self:
            return
        if not structures.pbc.all():
            raise ValueError(
                f"cell '{self.moves}' needs structures periodic in all directions, structure "
                f"{int(np.flatnonzero(~structures.pbc.all(axis=1))[0])} is not"
            )
        if structures.fixed.any():
            raise ValueError(
                f"cell '{self.moves}' moves all atoms with the cell, and structure "
                f"{int(structures.owner[structures.fixed.any(axis=1)][0])} has fixed ones"
            )

    def check_labels(self, labelled: Configurations) -> None:
        """Raise ``ValueError`` for good labels of periodic structures that lack the stress."""
        good = labelled.learnable
        missing = good.pbc.all(axis=1) & ~np.isfinite(good.stresses).all(axis=(1, 2))
        if self and missing.any():
            raise ValueError(
                f"cell '{self.moves}' moves by the stress, and {int(missing.sum())} of {len(good)} "
                "labels have none: give labels with stress, or keep the cell 'fixed'"
            )

    def filter(self, atoms: Atoms) -> Any:
        """Wrap atoms in the filter by which an optimiser of ASE moves the cell too, if it moves."""
        from ase.filters import FrechetCellFilter, UnitCellFilter

        if not self:
            return atoms
        # only the slower one, which takes several times as long as a kernel, keeps the volume
        of_cell = FrechetCellFilter if self.moves == "shape" else UnitCellFilter
        return of_cell(
            atoms,
            mask=[1, 1, 1, 0, 0, 0] if self.moves == "axes" else None,
            hydrostatic_strain=self.moves == "volume",
            constant_volume=self.moves == "shape",
            scalar_pressure=self.pressure_GPa * GPa,
        )

    def leads(self, cell: Float[np.ndarray, "3 3"], new_cell: Float[np.ndarray, "3 3"]) -> bool:
        """Whether one cell becomes another one by what moves, but for rounding."""
        if np.array_equal(cell, new_cell) or self.moves == "full":
            return True
        deformation = np.linalg.lstsq(cell, new_cell, rcond=None)[0]
        ratio = np.linalg.det(deformation)
        held = {
            "fixed": new_cell - cell,
            "shape": ratio - 1.0,
            "volume": deformation - np.cbrt(ratio) * np.eye(3),
            "axes": deformation * (1 - np.eye(3)),
        }[self.moves]
        return bool(np.abs(held).max() < ROUNDING)

    def coordinates(
        self, labelled: Atoms, origin: Atoms
    ) -> tuple[float, Float[np.ndarray, "rows 3"], Float[np.ndarray, "rows 3"]]:
        """Return energy, coordinates and the gradient of labelled atoms, as an optimiser sees them.

        Where the cell moves the energy is the enthalpy, and coordinates are those of ``filter``:
        positions as they were in the cell of ``origin``, then the deformation of that cell.
        Components of the gradient that nothing moves along are 0.
        """
        moving, energy = self.filter(labelled), float(labelled.get_potential_energy())
        if self:
            moving.orig_cell = origin.cell.copy()
            energy += self.pressure_GPa * GPa * volume_of(labelled.cell.array)
        return energy, moving.get_positions(), -moving.get_forces()


def travelled(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    new_positions: Float[np.ndarray, "atoms 3"],
    new_cell: Float[np.ndarray, "3 3"],
) -> float:
    """Return the distance between two structures of the same atoms, in Å.

    It is the largest displacement of an atom, what it moved with the cell taken off, or, if that is
    more, the largest strain of the cell times the cube root of the volume of an atom: about what
    the strain changes of the distance of neighbours.
    """
    if np.array_equal(cell, new_cell):
        return float(np.linalg.norm(new_positions - positions, axis=1).max(initial=0.0))
    deformation = np.linalg.solve(cell, new_cell)
    apart = np.linalg.norm(new_positions - positions @ deformation, axis=1).max(initial=0.0)
    spacing = (abs(np.linalg.det(cell)) / max(1, len(positions))) ** (1 / 3)
    return float(max(apart, np.linalg.norm(deformation - np.eye(3), 2) * spacing))


def volume_of(cell: Float[np.ndarray, "3 3"]) -> float:
    """Return the volume of a cell, ``abs(np.linalg.det(cell))``, but faster."""
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return float(abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)))


FIXED = MovingCell()
