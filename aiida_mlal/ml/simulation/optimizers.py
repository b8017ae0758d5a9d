"""Optimisers of ASE, and their internal state from one step to the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from aiida_mlal.ml.simulation.state import Attributes

if TYPE_CHECKING:
    from ase.optimize.optimize import Optimizer

OptimizerName = Literal["bfgs", "fire", "lbfgs"]

REMEMBERED: Mapping[OptimizerName, tuple[str, ...]] = {
    "bfgs": ("state.hessian", "pos0", "forces0"),
    "fire": ("vel", "dt", "a", "Nsteps"),
    "lbfgs": ("state.iteration", "state.s", "state.y", "state.rho", "r0", "f0"),
}
"""Attributes of each optimiser that its steps change."""

BEFORE: Mapping[OptimizerName, tuple[str, str]] = {
    "bfgs": ("pos0", "forces0"),
    "lbfgs": ("r0", "f0"),
}
"""Where optimisers keep the positions of the step before, and the forces there."""


def optimizer_of(name: OptimizerName, moving: Any, maxstep: float) -> "Optimizer":
    """Return an optimiser of what moves: atoms, a filter of them, or a band."""
    from ase.optimize import BFGS, FIRE

    cls = {"bfgs": BFGS, "fire": FIRE, "lbfgs": _downhill_lbfgs()}[name]
    return cls(moving, logfile=None, maxstep=maxstep)


@cache
def _downhill_lbfgs() -> type["Optimizer"]:
    """Return the LBFGS of ASE with steps that go downhill.

    Steps of negative curvature are left out of its memory, as J. Nocedal and S. J. Wright,
    Numerical Optimization, 2nd ed., Springer (2006), say in section 18.3: with them its Hessian has
    negative eigenvalues, and it goes uphill, as where a cell is far from equilibrium.
    """
    from ase.optimize import LBFGS

    class DownhillLBFGS(LBFGS):
        def update(self, pos: Any, forces: Any, r0: Any, f0: Any) -> None:
            """Learn from the last step, if the gradient grew along it."""
            if self.state.iteration > 0 and not (f0 - forces) @ (pos - r0) > 0:
                self.state.iteration = len(self.state.s)  # how many it looks at
            else:
                super().update(pos, forces, r0, f0)

    return DownhillLBFGS


@dataclass(frozen=True)
class OptimizerMemory:
    """State of an optimiser of ASE from one step to the next; empty before its first step."""

    optimizer: Any
    name: OptimizerName

    def remember(self) -> Mapping[str, Any]:
        """Return copies of the attributes that steps change."""
        if getattr(self.optimizer, "state", True) is None:  # the Hessian of BFGS is made by a step
            return {}
        return Attributes(self.optimizer, REMEMBERED[self.name]).remember()

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the attributes."""
        if "state.hessian" in memory:
            self.optimizer.update(None, None, None, None)  # makes a Hessian, which is replaced
        Attributes(self.optimizer, ()).recall(memory)

    def renew(self) -> None:
        """Recompute the forces of the step before: their difference is a curvature.

        Those of two potentials differ by more than that.
        """
        positions, forces = BEFORE.get(self.name, ("", ""))
        before = getattr(self.optimizer, positions, None)
        if before is None:
            return
        moving = self.optimizer.optimizable
        now = moving.get_x()
        moving.set_x(before)
        setattr(self.optimizer, forces, -moving.get_gradient())
        moving.set_x(now)
