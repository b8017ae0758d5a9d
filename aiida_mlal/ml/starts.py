"""Where the simulations of the next iteration begin, and how far they may go.

Relaxations that begin anew at the best label, and go as far as the model has been right, are a
trust-region method whose model is the potential: J. Nocedal and S. J. Wright, Numerical
Optimization, 2nd ed., Springer (2006), algorithm 4.1.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from ase.units import GPa

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import PREDICTED_ENERGY
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.simulation.cell import MovingCell, travelled
from aiida_mlal.ml.simulation.guard import UNCERTAIN
from aiida_mlal.ml.stops import Final, State

NOISE = 1e-3
"""Differences of energies in eV that say nothing."""

POOR, GOOD = 0.25, 0.75
"""Ratios of the labelled and the predicted change of the energy at which the trust changes."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """What the simulations of an iteration begin with.

    Attributes
    ----------
    structures
        One for each simulation.
    trust
        How far atoms may go from there, in Å; None where that is not limited.
    """

    structures: Configurations
    trust: float | None = None


@dataclass(frozen=True)
class Start(ABC):
    """Where simulations begin. A subclass is a frozen dataclass, its fields the options."""

    moves: ClassVar[bool] = True
    """Whether beginnings change from iteration to iteration."""

    @abstractmethod
    def after(self, now: Beginning, state: State) -> Beginning:
        """Return the beginning that follows after an iteration that began with ``now``."""


@dataclass(frozen=True)
class Given(Start):
    """All simulations begin where they began in the first iteration."""

    moves: ClassVar[bool] = False

    def after(self, now: Beginning, state: State) -> Beginning:
        """Return the same."""
        return now


@dataclass(frozen=True)
class Best(Start):
    """Each simulation begins at the structure of the lowest labelled energy that it has met.

    Where it moves the cell, that of the lowest enthalpy. Where simulations have a limit of the
    distance (``trust`` of their guard), this adapts: with :math:`r` the ratio of the change of the
    energy from the beginning of a simulation to its end as labelled and as predicted, it becomes
    half of itself where :math:`r < 1/4` or there is no good label, and twice itself where
    :math:`r > 3/4` and the distance was the limit. It stays where the guard ended the simulation as
    uncertain, since that is where the model said that it does not know. Of several simulations the
    one that allows least decides.

    Attributes
    ----------
    smallest, largest
        Limits of the distance in Å.
    """

    smallest: float = 0.05
    largest: float = 1.0

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        if not 0 < self.smallest <= self.largest:
            raise ValueError(
                "expected smallest above 0 and not above largest, got "
                f"{self.smallest} and {self.largest}"
            )

    def after(self, now: Beginning, state: State) -> Beginning:
        """Return the best structures, and how far the model is to be trusted there."""
        known = Twins()
        for i in np.flatnonzero(state.dataset.status == OK):
            known.add(int(i), state.dataset[i])
        structures, radii = list(now.structures), []
        for final in state.finals:
            begun = now.structures[final.run]
            found = known.find(begun, SAME)
            before = None if found is None else state.dataset[found]
            if final.labelled is not None and (
                before is None or _enthalpy(final, final.labelled) < _enthalpy(final, before)
            ):
                structures[final.run] = replace(final.labelled.bare, fixed=begun.fixed)
            if now.trust is not None and before is not None:
                run = state.runs[final.run] if final.run < len(state.runs) else {}
                asked = run.get("reason") == UNCERTAIN
                radii.append(self._radius(now.trust, begun, before, final, asked))
        trust = now.trust if not radii else min(radii)
        return Beginning(Configurations.concatenate(structures), trust)

    def _radius(
        self,
        radius: float,
        begun: Configurations,
        before: Configurations,
        final: Final,
        asked: bool,
    ) -> float:
        """Return how far a simulation is to be trusted next time.

        ``asked`` is whether its end is labelled because it was uncertain.
        """
        if final.labelled is None:
            return max(self.smallest, radius / 2)
        energy = _enthalpy(final, before)
        wanted = energy - _enthalpy(final, final.predicted, float(_predicted(final)))
        got = energy - _enthalpy(final, final.labelled)
        if max(abs(wanted), abs(got)) < NOISE:
            return radius
        if not got > POOR * wanted or not wanted > 0:
            return radius if asked else max(self.smallest, radius / 2)
        if got > GOOD * wanted and _distance(begun, final.predicted) > 0.9 * radius:
            return min(max(self.largest, radius), 2 * radius)
        return radius


def _predicted(final: Final) -> float:
    return float(PREDICTED_ENERGY.of(final.predicted)[0])


def _enthalpy(final: Final, structure: Configurations, energy: float | None = None) -> float:
    """Return the energy (eV) of a structure, or its enthalpy where the cell moves."""
    cell: MovingCell = final.cell
    found = float(structure.energies[0]) if energy is None else energy
    if cell and cell.pressure_GPa:
        found += cell.pressure_GPa * GPa * abs(float(np.linalg.det(structure.cells[0])))
    return found


def _distance(one: Configurations, other: Configurations) -> float:
    return travelled(one.positions, one.cells[0], other.positions, other.cells[0])
