"""A structure at equilibrium, from which properties begin."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.vacuum import vacuum
from aiida_mlal.ml.properties.evaluator import Evaluated, Evaluator
from aiida_mlal.ml.properties.symmetry import Symmetry
from aiida_mlal.ml.simulation.cell import MovingCell

STRESSED_GPa = 0.1
"""Stress from which a cell is said not to be at equilibrium."""
VACUUM = 6.0
"""Gap between layers of atoms in Å above which it is vacuum; between those of MoS2 it is 3."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A structure as it was given, and at equilibrium by what computes its properties.

    Attributes
    ----------
    given
        As it was given.
    relaxed
        At equilibrium, or at the end of the relaxation.
    evaluator
        Computes other structures.
    """

    given: Atoms
    relaxed: Evaluated
    evaluator: Evaluator

    @classmethod
    def at_equilibrium(cls, atoms: Atoms, evaluator: Evaluator) -> "Crystal":
        """Relax a structure; the cell of one that isn't periodic in all directions stays fixed."""
        bare = atoms.copy()
        bare.info = {}
        cell = evaluator.relaxation.cell if bare.pbc.all() else "fixed"
        return cls(bare, evaluator.relax(bare, "equilibrium", cell), evaluator)

    @property
    def atoms(self) -> Atoms:
        """The structure at equilibrium."""
        return self.relaxed.atoms

    @property
    def energy_per_atom(self) -> float:
        """In eV."""
        return self.relaxed.energy / len(self.atoms)

    @cached_property
    def symmetry(self) -> Symmetry:
        """That of the structure at equilibrium."""
        return Symmetry.of(self.atoms)

    @property
    def conventional(self) -> Atoms:
        """The conventional cell of the structure at equilibrium."""
        return self.symmetry.conventional.copy()

    def supercell(self, length: float) -> Atoms:
        """Return the smallest multiple of the conventional cell with planes ``length`` Å apart."""
        cell = self.conventional
        repeated: Atoms = cell.repeat(multiples(cell, length))
        return repeated

    @property
    def warnings(self) -> list[str]:
        """What a reader has to know: no equilibrium, stress left, symmetry not kept, vacuum.

        An equilibrium by symmetry alone is found out by phonons and elastic constants only.
        """
        said, relaxed = [], self.relaxed
        moved = MovingCell(self.evaluator.relaxation.cell)
        if not relaxed.converged:
            said.append(
                f"not at equilibrium: after {relaxed.steps} steps there are forces of "
                f"{relaxed.fmax:.2g} eV/Å and a stress of {relaxed.smax_GPa:.2g} GPa"
            )
        elif self.atoms.pbc.all() and relaxed.smax_GPa > STRESSED_GPa:
            left = "fixed" if not moved else f"relaxed in its {moved.moves} only"
            said.append(
                f"the cell is no minimum, as it is {left}: a stress of {relaxed.smax_GPa:.3g} "
                "GPa is left"
            )
        if self.atoms.pbc.all():
            before, after = Symmetry.of(self.given, 1e-2), self.symmetry
            if after.name != before.name and len(after.rotations) <= len(before.rotations):
                said.append(
                    f"symmetry is not kept: {before.name} as given, {after.name} at equilibrium"
                )
            gaps = vacuum(Configurations.from_ase([self.atoms]))
            if gaps.max() > VACUUM:
                said.append(
                    f"there is {gaps.max():.3g} Å of vacuum along cell vector {gaps.argmax()}: "
                    "what is per volume, such as density and elastic constants, is of the cell "
                    "with the vacuum"
                )
        return said


def multiples(atoms: Atoms, length: float) -> list[int]:
    """Repetitions of a cell along its axes that put opposite faces ``length`` Å apart."""
    heights = 1 / np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    return [max(1, int(np.ceil(length / height - 1e-6))) for height in heights]
