"""A simulation."""

from dataclasses import dataclass, field

import numpy as np

from aiida_mlal.ml.simulation.base import Simulation
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard


@dataclass(frozen=True)
class Descent(Simulation):
    """Move free atoms along the forces, by at most ``step`` Å."""

    step: float = 0.05
    max_steps: int = 5
    guard: Guard = field(default_factory=Guard)

    def simulate(self, potential, start, measure, record):
        from aiida_mlal.ml.calculator import MLCalculator  # torch is slow to import

        atoms = start.to_ase()[0]
        atoms.calc = MLCalculator(potential, measure)
        return follow(self._steps(atoms, record.first_step), atoms, self.guard, record)

    def _steps(self, atoms, first):
        for _ in range(first, self.max_steps + 1):
            forces = atoms.get_forces()
            largest = np.linalg.norm(forces, axis=1).max()
            yield bool(largest < 0.05)
            atoms.positions += self.step * forces / max(largest, 1.0)
