"""What computes energies of structures, and relaxes them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from aiida_mlal.ml.labelling.calculators import Computed, compute
from aiida_mlal.ml.options import check_not_negative, check_positive
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.simulation.optimizers import optimizer_of
from aiida_mlal.ml.stopping import check_stop

Moves = Literal["full", "shape", "volume", "fixed"]


@dataclass(frozen=True)
class Relaxation:
    """Relaxation of the structures that properties are computed of, and of those derived from them.

    Attributes
    ----------
    cell
        What of the cell of a structure is relaxed at the beginning: all of it, its ``shape``, its
        ``volume``, or nothing (``fixed``), where it is the property at the given cell that is
        wanted.
    fmax
        Largest force on an atom at equilibrium, in eV/Å.
    smax_GPa
        Largest component of the stress that moves the cell, at equilibrium.
    max_steps
        Steps after which a relaxation is given up.
    """

    cell: Moves = "full"
    fmax: float = 1e-4
    smax_GPa: float = 0.005
    max_steps: int = 500

    def __post_init__(self) -> None:
        """Refuse criteria that cannot be reached."""
        check_positive(self, "fmax", "smax_GPa")
        check_not_negative(self, "max_steps")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A structure and what was computed of it.

    Attributes
    ----------
    atoms
        With the results, as those of a calculator.
    energy
        In eV.
    forces
        In eV/Å.
    stress
        In eV/Å³, positive in tension; NaN where there is none.
    steps
        Of the relaxation; None where nothing was relaxed.
    converged
        Whether forces, and the stress that moves the cell, are as small as they were to be.
    """

    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray
    steps: int | None = None
    converged: bool = True

    @property
    def fmax(self) -> float:
        """Largest force on an atom, in eV/Å."""
        return float(np.linalg.norm(self.forces, axis=1).max(initial=0.0))

    @property
    def smax_GPa(self) -> float:
        """Largest component of the stress, in GPa; NaN where there is none."""
        return float(np.abs(self.stress).max() / GPa)


class Evaluator:
    """A calculator with the criteria of relaxations. It keeps all structures that it was asked for.

    Attributes
    ----------
    frames
        The structures in the order in which they were computed, with results; ``info`` says by the
        ``purpose`` what each was computed for.
    """

    def __init__(self, calculator: BaseCalculator, relaxation: Relaxation) -> None:
        self.calculator, self.relaxation = calculator, relaxation
        self.frames: list[Atoms] = []

    def evaluate(self, atoms: Atoms, purpose: str) -> Evaluated:
        """Compute a structure as it is.

        Raises
        ------
        ValueError
            If a result is not finite.
        """
        asked = atoms.copy()
        asked.calc = self.calculator
        return self._kept(asked, compute(asked), purpose)

    def relax(self, atoms: Atoms, purpose: str, cell: Moves = "fixed") -> Evaluated:
        """Move the atoms to a minimum of the energy, and what is named of the cell.

        Constraints of the atoms are kept. A relaxation that does not converge is no error, see
        ``Evaluated.converged``.

        Raises
        ------
        ValueError
            If a result is not finite, or a cell is to move and there is no stress.
        """
        moving, wanted = MovingCell(cell), self.relaxation
        if moving and "stress" not in getattr(self.calculator, "implemented_properties", ()):
            raise ValueError(
                "the calculator has no stress to relax a cell by: keep it, by the relaxation "
                "{'cell': 'fixed'}"
            )
        asked = atoms.copy()
        asked.calc = self.calculator
        steps, converged = 0, False
        with optimizer_of("bfgs", moving.filter(asked), 0.1) as optimizer:
            for _ in optimizer.irun(0.0, wanted.max_steps):
                check_stop()
                steps, converged = optimizer.nsteps, self._is_relaxed(asked, moving)
                if converged:
                    break
        return self._kept(asked, compute(asked), purpose, steps, converged)

    def _is_relaxed(self, atoms: Atoms, moving: MovingCell) -> bool:
        forces = np.linalg.norm(atoms.get_forces(), axis=1)
        if not forces.max(initial=0.0) < self.relaxation.fmax:
            return False
        stress = atoms.get_stress(voigt=False) if moving else np.zeros((3, 3))
        return bool(moving.largest(stress[None])[0] < self.relaxation.smax_GPa)

    def _kept(
        self,
        atoms: Atoms,
        computed: Computed,
        purpose: str,
        steps: int | None = None,
        converged: bool = True,
    ) -> Evaluated:
        frame = atoms.copy()
        results = {"energy": computed.energy, "forces": computed.forces}
        if np.isfinite(computed.stress).all():
            results["stress"] = computed.stress.ravel()[[0, 4, 8, 5, 2, 1]]
        frame.calc = SinglePointCalculator(frame, **results)
        frame.info = {"purpose": purpose}
        self.frames.append(frame)
        return Evaluated(frame, computed.energy, computed.forces, computed.stress, steps, converged)
