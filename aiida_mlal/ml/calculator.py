"""Any potential as an ASE calculator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from aiida_mlal.ml.engines.base import Contacts, EngineName, Evaluation, Members
from aiida_mlal.ml.engines.choose import choose
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.simulation.cell import volume_of
from aiida_mlal.ml.uncertainty.base import Uncertainty

_VOIGT, _TRANSPOSED = [0, 4, 8, 5, 2, 1], [0, 4, 8, 7, 6, 3]
"""Places of xx, yy, zz, yz, xz, xy in a matrix, and in its transpose."""


class MLCalculator(Calculator):
    """Energy, forces and stress of a potential for ASE.

    Beside the properties of ASE, ``results`` has ``uncertainty`` (a number) and, where the measure
    has them, ``uncertainties`` (one for each atom).

    Parameters
    ----------
    potential
        What predicts; the mean, if it is a committee.
    uncertainty
        What measures how far the prediction may be wrong; nothing does without it.
    skin
        How much farther than the cutoff neighbours are looked for, in Å: the list of neighbours
        is made again when an atom has moved by half of it.
    engine
        What computes: kernels in ``numba``, ``torch``, or ``auto``: kernels on the CPU where the
        potential has them and they find all that the measure needs, else torch. Both agree to
        rounding.
    threads
        Among how many threads kernels divide the atoms, which changes no result.

    Attributes
    ----------
    engine
        The engine in use, see ``engines.base.Engine``.
    watching
        Whether the uncertainty is measured: it may be left out where nobody asks.
    members
        What each member of a committee finds for the last structure; None before.
    contacts
        Returns pairs of atoms of the last structure and their distances in Å: for each atom at
        least its nearest neighbour of each element within the cutoff.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential,
        uncertainty: Uncertainty | None = None,
        skin: float = 0.5,
        engine: EngineName = "auto",
        threads: int = 1,
    ) -> None:
        super().__init__()
        if threads < 1:
            raise ValueError(f"expected one thread or more, got {threads}")
        if not skin >= 0:
            raise ValueError(f"expected a skin of 0 Å or more, got {skin}")
        self.potential, self.uncertainty = potential, uncertainty
        self._measure = None if uncertainty is None else uncertainty.bind(potential)
        self._domain = None if uncertainty is None else uncertainty.domain(potential)
        self._gradients = self._measure is not None and self._measure.needs_gradients
        self.engine = choose(potential, engine, skin, threads, self._gradients)
        self.watching = True
        self.contacts: Contacts = _no_contacts
        self.members: Members | None = None

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """List what has changed since the last calculation, by any amount.

        ASE's own check with a tolerance would take longer than a fast potential.
        """
        if self.atoms is None:
            return list(all_changes)
        last = self.atoms
        pairs = {
            "positions": (atoms.positions, last.positions),
            "numbers": (atoms.numbers, last.numbers),
            "cell": (atoms.cell.array, last.cell.array),
            "pbc": (atoms.pbc, last.pbc),
        }
        return [
            name
            for name, (new, old) in pairs.items()
            if new.shape != old.shape or new.tobytes() != old.tobytes()
        ]

    def remember(self) -> Mapping[str, Any]:
        """Return the state that results depend on to the last bit, beside the atoms."""
        return self.engine.remember()

    def recall(self, atoms: Atoms, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned: results are the same to the last bit."""
        self.engine.recall(atoms, memory)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Predict everything at once."""
        if atoms is not None:
            self._remember(atoms)
        atoms = self.atoms
        periodic = all(atoms.pbc.tolist())
        if "stress" in properties and not periodic:
            raise PropertyNotImplementedError("only a structure periodic in all directions has one")
        evaluation = self.engine(atoms, self._gradients and self.watching)
        self.contacts, self.members = evaluation.contacts, evaluation.members
        self.results = {
            "energy": evaluation.energy,
            "free_energy": evaluation.energy,
            "forces": evaluation.forces,
        }
        if periodic:
            virial = evaluation.virial.ravel()
            twice = virial.take(_VOIGT) + virial.take(_TRANSPOSED)
            self.results["stress"] = twice / (2 * volume_of(atoms.cell.array))
        if self.watching:
            self._know(evaluation)

    def watch(self) -> None:
        """Measure the uncertainty of the last structure, if that was left out."""
        if self._measure is not None and "uncertainty" not in self.results:
            self._know(self.engine(self.atoms, self._gradients))

    def _remember(self, atoms: Atoms) -> None:
        """Keep what results depend on; to copy all of it would take a while at every step."""
        mine = self.atoms
        if mine is None or mine.numbers.tobytes() != atoms.numbers.tobytes():
            self.atoms = atoms.copy()
            return
        mine.positions[:] = atoms.positions
        mine.cell.array[:] = atoms.cell.array
        mine.pbc[:] = atoms.pbc

    def _know(self, evaluation: Evaluation) -> None:
        if self._measure is None:
            return
        uncertainties = self._measure(evaluation)
        if self._domain is not None and self.uncertainty is not None:
            numbers, domain = self.atoms.numbers, self._domain
            scores = domain.scores(numbers, evaluation.surroundings())
            owner, measure = np.zeros(len(numbers), int), self.uncertainty
            uncertainties = domain.widen(
                uncertainties, scores, owner, measure.is_variance, measure.is_of_forces
            )
        self.results["uncertainty"] = float(uncertainties.values[0])
        if uncertainties.per_atom is not None:
            self.results["uncertainties"] = np.asarray(uncertainties.per_atom)


def _no_contacts() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((2, 0), int), np.zeros(0)
