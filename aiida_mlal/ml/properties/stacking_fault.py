"""Energies of stacking faults."""

from dataclasses import dataclass

import numpy as np
from ase.constraints import FixedLine

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found, where
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.cut import area_of, displaced, normal_of, oriented
from aiida_mlal.ml.properties.minimum import minimum
from aiida_mlal.ml.properties.surface import J_PER_M2, Plane

FCC: tuple[Plane, tuple[float, float, float]] = ((1, 1, 1), (1 / 6, 1 / 6, -1 / 3))
"""Plane and slip of the intrinsic fault."""

PRECISE = 0.01
"""To which the part of the slip at the unstable fault is found."""


@dataclass(frozen=True)
class StackingFault(CrystalProperty):
    """Energy of a stacking fault, and of the way there.

    One half of a crystal slips over the other along a plane. Atoms relax along the normal only, so
    that states in between stay what they are.

    Attributes
    ----------
    plane
        Miller indices for the conventional cell; the crystal is cut in the widest gap between
        layers.
    slip
        Displacement in units of the edges of the conventional cell. Without plane and slip it is
        that of the intrinsic fault of fcc metals, 1/6 [11-2] in (111), which other crystals refuse.
    points
        How many displacements, evenly from none to all of ``slip``; 1 for the last alone. With 3 or
        more the unstable fault is searched for, beside the highest of them.
    thickness
        Of the crystal between faults in Å, at least.
    """

    plane: Plane | None = None
    slip: tuple[float, float, float] | None = None
    points: int = 1
    thickness: float = 18.0

    def __post_init__(self) -> None:
        """Refuse slips out of the plane."""
        check_positive(self, "points", "thickness")
        plane, slip = self.plane, self.slip
        if (plane is None) != (slip is None):
            raise ValueError("expected both plane and slip, or none of them, got one")
        if plane is not None and slip is not None and abs(np.dot(plane, slip)) > 1e-4:
            raise ValueError(
                f"expected a slip in the plane {plane}, got {slip}: it leads out of it"
            )

    def of(self, crystal: Crystal) -> Found:
        """Displace, relax along the normal, compare with the perfect crystal."""
        cell = crystal.conventional
        plane, slip = self.plane, self.slip
        if plane is None or slip is None:
            if (len(cell), crystal.symmetry.centring) != (4, "F"):
                raise ValueError(
                    f"a crystal of the space group {crystal.symmetry.name}, with {len(cell)} atoms "
                    "in its conventional cell, is no fcc metal: give plane and slip of the fault"
                )
            plane, slip = FCC
        whole = oriented(cell, plane, self.thickness)
        fractions = np.linspace(0, 1, self.points) if self.points > 1 else np.array([1.0])
        said: list[str] = []

        def excess(fraction: float) -> float:
            slab = displaced(whole, fraction * np.array(slip) @ cell.cell.array)
            slab.set_constraint(FixedLine(range(len(slab)), normal_of(whole)))
            relaxed = crystal.evaluator.relax(slab, "stacking_fault")
            if not relaxed.converged:
                said.append(f"after {fraction:.2g} of the slip atoms are not relaxed")
            above = relaxed.energy - crystal.energy_per_atom * len(slab)
            return float(1e3 * above / area_of(slab) / J_PER_M2)

        energies = np.array([excess(fraction) for fraction in fractions])
        name = where(plane)
        numbers = {f"stacking_fault_energy_{name}_mJ_per_m2": float(energies[-1])}
        if self.points > 2:
            way, top = minimum(lambda at: -excess(at), fractions, -energies, PRECISE)
            if 0 < way < 1:
                numbers[f"unstable_stacking_fault_energy_{name}_mJ_per_m2"] = -top
            else:
                said.append("the energy is highest at an end of the slip: no unstable fault")
        return Found(numbers, {"fraction": fractions, "energy_mJ_per_m2": energies}, said)
