"""Energies of stacking faults."""

from dataclasses import dataclass

import numpy as np
from ase.constraints import FixedLine

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found, where
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.cut import area_of, displaced, normal_of, oriented
from aiida_mlal.ml.properties.surface import J_PER_M2, Plane


@dataclass(frozen=True)
class StackingFault(CrystalProperty):
    """Energy of a stacking fault, and of the way there.

    One half of a crystal slips over the other along a plane. Atoms relax along the normal only, so
    that states in between stay what they are. By default the intrinsic stacking fault of fcc.

    Attributes
    ----------
    plane
        Miller indices for the conventional cell.
    slip
        Displacement in units of the edges of the conventional cell.
    points
        How many displacements, evenly from none to all of ``slip``; 1 for the last alone.
    thickness
        Of the crystal between faults in Å, at least.
    """

    plane: Plane = (1, 1, 1)
    slip: tuple[float, float, float] = (1 / 6, 1 / 6, -1 / 3)
    points: int = 1
    thickness: float = 18.0

    def __post_init__(self) -> None:
        """Refuse slips out of the plane."""
        check_positive(self, "points", "thickness")
        if abs(np.dot(self.plane, self.slip)) > 1e-4:
            raise ValueError(
                f"expected a slip in the plane {list(self.plane)}, got {list(self.slip)}, which "
                "leads out of it"
            )

    def of(self, crystal: Crystal) -> Found:
        """Displace, relax along the normal, compare with the perfect crystal."""
        cell = crystal.conventional
        whole = oriented(cell, self.plane, self.thickness)
        fractions = np.linspace(0, 1, self.points) if self.points > 1 else np.array([1.0])
        energies, said = [], []
        for fraction in fractions:
            slab = displaced(whole, fraction * np.array(self.slip) @ cell.cell.array)
            slab.set_constraint(FixedLine(range(len(slab)), normal_of(whole)))
            found = crystal.evaluator.relax(slab, "stacking_fault")
            excess = found.energy - crystal.energy_per_atom * len(slab)
            energies.append(1e3 * excess / area_of(slab) / J_PER_M2)
            if not found.converged:
                said.append(f"after {fraction:.2g} of the slip atoms are not relaxed")
        name = where(self.plane)
        numbers = {f"stacking_fault_energy_{name}_mJ_per_m2": float(energies[-1])}
        if self.points > 2:
            numbers[f"unstable_stacking_fault_energy_{name}_mJ_per_m2"] = float(max(energies))
        return Found(numbers, {"fraction": fractions, "energy_mJ_per_m2": np.array(energies)}, said)
