"""Bias that drives dynamics towards structures where a committee is uncertain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.engines.base import Members


class Bias:
    """Lowers the energy by a multiple of its standard deviation among the members of a committee.

    E - tau sigma, with the force F - tau mean((E_k - E) F_k) / sigma: C. van der Oord, M. Sachs,
    D. P. Kovács, C. Ortner, G. Csányi, npj Comput. Mater. 9, 168 (2023). As of V. Zaverkin et al.,
    npj Comput. Mater. 10, 83 (2024), tau follows the size of forces: it is ``strength`` times the
    root of the ratio of mean squares of F and of the gradient of sigma, and 0 for the first steps.

    Parameters
    ----------
    strength
        Of the biasing force in units of the others.

    Attributes
    ----------
    energy
        What the bias adds, in eV.
    forces
        In eV/Å.
    """

    MEMORY = 100
    """Number of steps that means of squares reach back, and of those without a bias."""
    SMALL = 1e-12
    """In eV: below it a standard deviation has no gradient."""

    def __init__(self, strength: float, n_atoms: int) -> None:
        self.strength, self.scale, self.energy = strength, 0.0, 0.0
        self.forces: Float[np.ndarray, "atoms 3"] = np.zeros((n_atoms, 3))
        self._steps, self._squares = 0, (0.0, 0.0)

    def update(self, members: Members, forces: Float[np.ndarray, "atoms 3"]) -> float:
        """Take the next step, and return what the change of tau adds to the energy, in eV."""
        self._evaluate(members)
        gradient = self._gradient
        squares = float(np.vdot(forces, forces)), float(np.vdot(gradient, gradient))
        self._steps += 1
        weight = 1 / min(self._steps, self.MEMORY)
        old = self._squares
        self._squares = (
            old[0] + weight * (squares[0] - old[0]), old[1] + weight * (squares[1] - old[1]),
        )  # fmt: skip
        before = self.scale
        if self._steps > self.MEMORY and self._squares[1] > 0:
            self.scale = self.strength * float(np.sqrt(self._squares[0] / self._squares[1]))
        self._apply()
        return -(self.scale - before) * self._deviation

    def resume(self, members: Members) -> None:
        """Find energy and forces at a step that was taken already."""
        self._evaluate(members)
        self._apply()

    def _evaluate(self, members: Members) -> None:
        apart = members.energies - members.energies.mean()
        self._deviation = float(np.sqrt((apart**2).mean()))
        self._gradient = np.zeros_like(self.forces)
        if self._deviation > self.SMALL:
            mean = np.tensordot(apart, members.forces, axes=1) / len(apart)
            self._gradient = -mean / self._deviation

    def _apply(self) -> None:
        self.energy = -self.scale * self._deviation
        self.forces = self.scale * self._gradient

    def remember(self) -> Mapping[str, Any]:
        """Return the state that later steps depend on."""
        return {"scale": self.scale, "steps": self._steps, "squares": list(self._squares)}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned."""
        self.scale, self._steps = memory["scale"], memory["steps"]
        self._squares = tuple(memory["squares"])
