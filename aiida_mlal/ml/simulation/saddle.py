"""A saddle point from one structure, without knowledge of the minima that it is between."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import EngineName
from aiida_mlal.ml.options import check_not_negative, check_positive
from aiida_mlal.ml.simulation import path
from aiida_mlal.ml.simulation.base import CONVERGED, Ending, Image, Simulation, check_pace
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.following import ModeFollowing
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.recorder import Recorder
from aiida_mlal.ml.simulation.vibrations import modes

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty


@dataclass(frozen=True)
class Saddle(Simulation):
    """Moves free atoms to a saddle point: a maximum along one mode, a minimum in all others.

    See ``following.ModeFollowing`` for the algorithm. A run has converged where forces vanish and
    the energy is concave along the mode that it follows. Its ``results`` have the ``curvature``
    along the mode in eV/Å², the ``mode``, a unit vector of displacements (atoms, 3), and ``modes``.

    Attributes
    ----------
    mode
        What is followed uphill: the ``softest`` mode from the beginning; or a ``random`` direction,
        or that ``towards`` a second structure, until the energy is concave in some direction, and
        the softest mode from there on. With ``towards`` each run takes two structures.
    fmax
        Largest force on a free atom that counts as none, in eV/Å.
    modes
        Whether all modes are computed where forces vanish, of which exactly one is to be imaginary:
        where there are more, the run goes on along one of them.
    max_steps
        After which a run is over.
    maxstep
        Largest movement of an atom in a step in Å.
    seed
        Of a random direction, and of that which the search for the softest mode begins with.
    every
        Stride of the steps whose frames are kept, with the first and the last one.
    engine, threads
        What computes, as for ``relax``.
    guard
        What ends a run early.
    """

    IDENTITY: ClassVar[tuple[str, ...]] = ("mode", "seed")

    mode: Literal["softest", "random", "towards"] = "softest"
    fmax: float = 0.05
    modes: bool = True
    max_steps: int = 200
    maxstep: float = 0.1
    seed: int = 0
    every: int = 1
    engine: EngineName = "auto"
    threads: int = 1
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        """Refuse limits that cannot be reached."""
        check_positive(self, "fmax", "maxstep")
        check_not_negative(self, "max_steps", "seed")
        check_pace(self.every, self.threads)

    @property
    def given(self) -> int:
        """Number of structures that a run begins from."""
        return 2 if self.mode == "towards" else 1

    def groups(self, structures: Configurations) -> list[Configurations]:
        """Return for each run the structure that it begins from, and the one that it goes to."""
        if self.given == 1:
            return list(structures)
        if not len(structures) or len(structures) % 2:
            raise ValueError(
                "with mode 'towards' a run takes 2 structures, where it begins and one in the "
                f"direction to go, and there are {len(structures)}"
            )
        return path.groups(structures, 2, "run")

    def minimised(self, structures: Configurations) -> list[Image | None]:
        """Return none: no structure goes to a minimum."""
        return [None] * len(structures)

    @property
    def most_steps(self) -> int:
        """``max_steps``."""
        return self.max_steps

    @property
    def reached(self) -> tuple[float, float]:
        """``fmax``."""
        return self.fmax, 0.0

    def simulate(
        self,
        potential: "Potential",
        start: Configurations,
        measure: "Uncertainty | None",
        record: Recorder,
    ) -> Ending:
        """Go from one structure to a saddle point."""
        from aiida_mlal.ml.calculator import MLCalculator

        atoms, fixed, trust = start.to_ase()[0], start[0].fixed, self.guard.trust
        atoms.calc = MLCalculator(potential, measure, engine=self.engine, threads=self.threads)
        # which looks for neighbours at each structure, so that results depend on nothing else
        probe = MLCalculator(potential, skin=0.0, engine=self.engine, threads=self.threads)
        maxstep = self.maxstep if trust is None else min(self.maxstep, trust / 3)
        moving = ModeFollowing(
            atoms, probe, fixed, self._direction(start), self.mode != "softest", maxstep, self.modes
        )
        steps = moving.steps(self.max_steps - record.first_step, self.fmax)
        ending = follow(steps, atoms, self.guard, record, moving)
        results: dict[str, Any] = {}
        if ending.reason == CONVERGED:
            results |= {"curvature": moving.curvature, "mode": moving.displacements.tolist()}
            if self.modes:
                atoms.calc = probe
                found = modes(atoms, fixed)
                results["modes"] = found.as_dict()
                ending = replace(ending, message=found.said)
        return replace(ending, results=results, stationary=(0,))

    def _direction(self, start: Configurations) -> Float[np.ndarray, "atoms 3"]:
        if self.mode == "towards":
            return path.displacements(start[0], start[1])
        return np.random.default_rng(self.seed).normal(size=start[0].positions.shape)
