"""Relaxation of atoms, and of the cell where it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

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
    max_steps
        After which a run is over.
    maxstep
        Largest movement of an atom in a step in Å.
    guard
        What ends a run early.
    """

    optimizer: Literal["bfgs", "fire", "lbfgs"] = "bfgs"
    fmax: float = 0.05
    max_steps: int = 200
    maxstep: float = 0.2
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        """Refuse limits that cannot be reached."""
        for name in ("fmax", "maxstep"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0, got {getattr(self, name)}")
        if self.max_steps < 0:
            raise ValueError(f"expected max_steps of 0 or more, got {self.max_steps}")

    def simulate(
        self,
        potential: "Potential",
        structure: Configurations,
        measure: "Uncertainty | None",
        record: Callable[[Frame], None],
    ) -> Ending:
        """Relax one structure."""
        from ase.optimize import BFGS, FIRE, LBFGS

        from aiida_mlal.ml.calculator import MLCalculator

        algorithm: type[Optimizer] = {"bfgs": BFGS, "fire": FIRE, "lbfgs": LBFGS}[self.optimizer]
        atoms = structure.to_ase()[0]
        atoms.calc = MLCalculator(potential, measure)
        with algorithm(atoms, logfile=None, maxstep=self.maxstep) as optimizer:
            return follow(optimizer.irun(self.fmax, self.max_steps), atoms, self.guard, record)
