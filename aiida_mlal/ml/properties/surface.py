"""Energies of surfaces."""

from dataclasses import dataclass

import numpy as np
from ase.units import J, m

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found, where
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.cut import area_of, displaced, normal_of, oriented

Plane = tuple[int, int, int]


@dataclass(frozen=True)
class Surface(CrystalProperty):
    """Energies of surfaces, relaxed and not.

    A slab of the composition of the crystal, cut in the widest gap between layers: the mean of its
    two surfaces, where they differ.

    Attributes
    ----------
    planes
        Miller indices for the conventional cell.
    thickness
        Of the slab in Å, at least.
    vacuum
        Between slabs in Å.
    """

    planes: tuple[Plane, ...] = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
    thickness: float = 15.0
    vacuum: float = 12.0

    def __post_init__(self) -> None:
        """Refuse slabs that are none."""
        check_positive(self, "thickness", "vacuum")

    def of(self, crystal: Crystal) -> Found:
        """Cut and relax a slab for each plane."""
        numbers: dict[str, float | np.ndarray] = {}
        said = []
        for plane in self.planes:
            whole = oriented(crystal.conventional, plane, self.thickness)
            slab = displaced(whole, self.vacuum * normal_of(whole))
            unrelaxed = crystal.evaluator.evaluate(slab, "surface")
            relaxed = crystal.evaluator.relax(slab, "surface")
            bulk, area = crystal.energy_per_atom * len(slab), 2 * area_of(slab)
            for name, evaluated in (("surface", relaxed), ("unrelaxed_surface", unrelaxed)):
                energy = (evaluated.energy - bulk) / area / J_PER_M2
                numbers[f"{name}_energy_{where(plane)}_J_per_m2"] = float(energy)
            if not relaxed.converged:
                said.append(f"the surface {where(plane)} is not relaxed: {relaxed.fmax:.2g} eV/Å")
        return Found(numbers, warnings=said)


J_PER_M2 = J / m**2
"""In eV/Å²."""
