"""Relaxation of atoms, and of the cell where it is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms
from ase.units import GPa

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.base import Ending, Frame, Simulation, follow
from aiida_mlal.ml.simulation.guard import Guard

if TYPE_CHECKING:
    from ase.optimize.optimize import Optimizer

    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty


@dataclass(frozen=True)
class Relax(Simulation):
    """Moves free atoms to a minimum of the energy.

    Attributes
    ----------
    optimizer
        Algorithm, as ASE has it.
    fmax
        Largest force on a free atom that counts as none, in eV/Å.
    smax_GPa
        Where the cell moves: largest component of what of the stress moves it, the outer pressure
        taken off, that counts as none.
    cell
        What of the cell moves: nothing, all of it, its ``shape`` at constant volume, or its
        ``volume`` at constant shape.
    pressure_GPa
        Outer pressure on a cell that moves.
    max_steps
        After which a run is over.
    maxstep
        Largest movement of an atom in a step in Å.
    threads
        Cores for a potential that has kernels; worth it from some hundred atoms on.
    guard
        What ends a run early.
    """

    optimizer: Literal["bfgs", "fire", "lbfgs"] = "bfgs"
    fmax: float = 0.05
    smax_GPa: float = 0.1
    max_steps: int = 200
    maxstep: float = 0.2
    cell: Literal["fixed", "full", "shape", "volume"] = "fixed"
    pressure_GPa: float = 0.0
    threads: int = 1
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        """Refuse limits that cannot be reached."""
        for name in ("fmax", "smax_GPa", "maxstep"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0, got {getattr(self, name)}")
        if self.max_steps < 0:
            raise ValueError(f"expected max_steps of 0 or more, got {self.max_steps}")
        if self.threads < 1:
            raise ValueError(f"expected one thread or more, got {self.threads}")
        if self.cell in ("fixed", "shape") and self.pressure_GPa != 0:
            raise ValueError(f"a pressure has no effect with cell '{self.cell}'")

    def check(self, structures: Configurations) -> None:
        """Refuse to move the cell of a structure that has none, or whose atoms are held."""
        if self.cell == "fixed":
            return
        if not structures.pbc.all():
            raise ValueError(
                f"cell '{self.cell}' needs structures periodic in all directions, structure "
                f"{int(np.flatnonzero(~structures.pbc.all(axis=1))[0])} is not"
            )
        if structures.fixed.any():
            raise ValueError(
                f"cell '{self.cell}' moves all atoms with the cell, and structure "
                f"{int(structures.owner[structures.fixed.any(axis=1)][0])} has fixed ones"
            )

    def simulate(
        self,
        potential: "Potential",
        structure: Configurations,
        measure: "Uncertainty | None",
        record: Callable[[Frame], None],
    ) -> Ending:
        """Relax one structure."""
        from ase.filters import FrechetCellFilter, UnitCellFilter
        from ase.optimize import BFGS, FIRE, LBFGS

        from aiida_mlal.ml.calculator import MLCalculator

        algorithm: type[Optimizer] = {"bfgs": BFGS, "fire": FIRE, "lbfgs": LBFGS}[self.optimizer]
        atoms = structure.to_ase()[0]
        atoms.calc = MLCalculator(potential, measure, threads=self.threads)
        moving: Any = atoms
        if self.cell != "fixed":
            # only the slower one, which takes several times as long as a kernel, keeps the volume
            of_cell = FrechetCellFilter if self.cell == "shape" else UnitCellFilter
            moving = of_cell(
                atoms,
                hydrostatic_strain=self.cell == "volume",
                constant_volume=self.cell == "shape",
                scalar_pressure=self.pressure_GPa * GPa,
            )
        with algorithm(moving, logfile=None, maxstep=self.maxstep) as optimizer:
            return follow(self._steps(optimizer, atoms), atoms, self.guard, record)

    def _steps(self, optimizer: "Optimizer", atoms: Atoms) -> Iterator[bool]:
        """Take steps, and say after each whether the structure is relaxed."""
        for _ in optimizer.irun(0.0, self.max_steps):  # which never finds it relaxed by itself
            yield self._is_relaxed(atoms)

    def _is_relaxed(self, atoms: Atoms) -> bool:
        forces = np.linalg.norm(atoms.get_forces(), axis=1)
        if not forces.max(initial=0.0) < self.fmax:
            return False
        if self.cell == "fixed":
            return True
        moving = atoms.get_stress(voigt=False) / GPa + self.pressure_GPa * np.eye(3)
        hydrostatic = np.eye(3) * np.trace(moving) / 3
        if self.cell == "volume":
            moving = hydrostatic
        elif self.cell == "shape":
            moving = moving - hydrostatic
        return bool(np.abs(moving).max() < self.smax_GPa)
