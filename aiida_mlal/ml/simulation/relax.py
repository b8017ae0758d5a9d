"""Relaxation of atoms, and of the cell where it is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase import Atoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import EngineName
from aiida_mlal.ml.frames import KEPT
from aiida_mlal.ml.options import check_not_negative, check_positive
from aiida_mlal.ml.simulation.base import MAX_STEPS, Ending, Simulation, check_pace
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.optimizers import OptimizerMemory, OptimizerName, optimizer_of
from aiida_mlal.ml.simulation.recorder import Recorder

if TYPE_CHECKING:
    from ase.optimize.optimize import Optimizer

    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.uncertainty.base import Uncertainty


@dataclass(frozen=True)
class Relax(Simulation):
    """Moves free atoms to a minimum of the energy; structures of the column ``kept`` stay.

    Attributes
    ----------
    optimizer
        Algorithm, as ASE has it.
    fmax
        Largest force on a free atom that counts as none, in eV/Å.
    smax_GPa
        Where the cell moves: largest component of what of the stress moves it, the external
        pressure taken off, that counts as none.
    cell
        What of the cell moves: nothing, all of it, its ``shape`` at constant volume, or its
        ``volume`` at constant shape.
    pressure_GPa
        External pressure on a cell that moves.
    max_steps
        After which a run is over.
    maxstep
        Largest movement of an atom in a step in Å.
    every
        Stride of the steps whose frames are kept; the first, the last, and from the uncertainty
        ``guard.select`` on all are kept anyway.
    engine
        What computes: kernels in ``numba``, ``torch``, or ``auto``: kernels on the CPU where the
        potential has them and they find what the measure of the guard needs, else torch.
    threads
        Cores for a potential that has kernels; worth it from some hundred atoms on. Results are
        the same with any number.
    guard
        What ends a run early.
    """

    IDENTITY: ClassVar[tuple[str, ...]] = ("optimizer", "cell", "pressure_GPa")

    optimizer: OptimizerName = "bfgs"
    fmax: float = 0.05
    smax_GPa: float = 0.1
    max_steps: int = 200
    maxstep: float = 0.2
    cell: Literal["fixed", "full", "shape", "volume"] = "fixed"
    pressure_GPa: float = 0.0
    every: int = 1
    engine: EngineName = "auto"
    threads: int = 1
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        """Refuse limits that cannot be reached."""
        check_positive(self, "fmax", "smax_GPa", "maxstep")
        check_not_negative(self, "max_steps")
        check_pace(self.every, self.threads)
        MovingCell(self.cell, self.pressure_GPa)

    @property
    def moving_cell(self) -> MovingCell:
        """The components of the cell that are relaxed."""
        return MovingCell(self.cell, self.pressure_GPa)

    @property
    def most_steps(self) -> int:
        """``max_steps``."""
        return self.max_steps

    @property
    def reached(self) -> tuple[float, float]:
        """``fmax``, and ``smax_GPa`` where the cell moves."""
        return self.fmax, self.smax_GPa if self.moving_cell else 0.0

    def simulate(
        self,
        potential: "Potential",
        start: Configurations,
        measure: "Uncertainty | None",
        record: Recorder,
    ) -> Ending:
        """Relax one structure."""
        from aiida_mlal.ml.calculator import MLCalculator

        atoms = start.to_ase()[0]
        atoms.calc = MLCalculator(potential, measure, engine=self.engine, threads=self.threads)
        moving = self.moving_cell.filter(atoms)
        trust = self.guard.trust
        maxstep = self.maxstep if trust is None else min(self.maxstep, trust / 3)
        kept = bool(KEPT.of(start)[0])
        max_steps = 0 if kept else self.max_steps
        with optimizer_of(self.optimizer, moving, maxstep) as optimizer:
            steps = self._steps(optimizer, atoms, max_steps - record.first_step)
            memory = OptimizerMemory(optimizer, self.optimizer)
            ending = follow(steps, atoms, self.guard, record, memory)
        if kept and ending.reason == MAX_STEPS:
            return replace(ending, message="it was to stay as it is")
        return ending

    def _steps(self, optimizer: "Optimizer", atoms: Atoms, n: int) -> Iterator[bool]:
        """Take steps, and say after each whether the structure is relaxed."""
        for _ in optimizer.irun(0.0, n):  # which never finds it relaxed by itself
            yield self._is_relaxed(atoms)

    def _is_relaxed(self, atoms: Atoms) -> bool:
        forces = np.linalg.norm(atoms.get_forces(), axis=1)
        if not forces.max(initial=0.0) < self.fmax:
            return False
        moving = self.moving_cell
        return not moving or bool(
            moving.largest(atoms.get_stress(voigt=False)[None])[0] < self.smax_GPa
        )
