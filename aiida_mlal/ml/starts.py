"""Where the simulations of the next iteration begin, and how far they may go.

Relaxations that begin anew at the best label, and go as far as the model has been right, are a
trust-region method whose model is the potential: J. Nocedal and S. J. Wright, Numerical
Optimization, 2nd ed., Springer (2006), algorithm 4.1.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from ase.units import GPa

from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.frames import KEPT, PREDICTED_ENERGY
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.simulation.base import Image
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
        One for each simulation, or several that it moves together. Those of the column ``kept``
        stay as they are: they are relaxed already, or it is they that a label is wanted of.
    trust
        How far atoms may go from there, in Å; None where that is not limited.
    minimised
        For each structure the image of a run that is moved from there to a minimum, None where
        none is; by default structures are those of a run each. See ``Simulation.minimised``.
    given
        What the simulations of the first iteration began with; None if it is ``structures``.
    """

    structures: Configurations
    trust: float | None = None
    minimised: Sequence[Image | None] | None = None
    given: Configurations | None = None

    @property
    def places(self) -> dict[Image, int]:
        """Which structure each image begins at that is moved to a minimum."""
        images = self.minimised
        if images is None:
            images = [Image(run, 0) for run in range(len(self.structures))]
        return {image: i for i, image in enumerate(images) if image is not None}


@dataclass(frozen=True)
class Start(ABC):
    """Where simulations begin. A subclass is a frozen dataclass, its fields the options.

    Attributes
    ----------
    moves
        Whether beginnings change from iteration to iteration, by labels of the last frames; true by
        default. The query then has to label these (``Strategy.wants_final``).
    """

    moves: ClassVar[bool] = True

    @abstractmethod
    def after(self, now: Beginning, state: State) -> Beginning:
        """Decide where the next iteration begins, after one that began with ``now``."""


@dataclass(frozen=True)
class Given(Start):
    """All simulations begin where they began in the first iteration."""

    moves: ClassVar[bool] = False

    def after(self, now: Beginning, state: State) -> Beginning:
        """Return those of the first iteration."""
        return now if now.given is None else replace(now, structures=now.given)


@dataclass(frozen=True)
class Best(Start):
    """Each simulation begins at the structure of the lowest labelled energy that it has met.

    Where it moves the cell, that of the lowest enthalpy. Where simulations have a limit of the
    distance (``trust`` of their guard), this adapts: with :math:`r` the ratio of the change of the
    energy from the beginning of a simulation to its end as labelled and as predicted, it becomes
    half of itself where :math:`r < 1/4` or there is no good label, and twice itself where
    :math:`r > 3/4` and the distance was the limit. It stays where the guard ended the simulation as
    uncertain, since that is where the model said that it does not know; and where another image of
    the same run was labelled instead. Of several simulations the one that allows least decides.

    Attributes
    ----------
    smallest, largest
        Limits of the distance in Å.
    keep_below
        Largest labelled force on a free atom, in eV/Å, below which a structure is relaxed: it is
        kept, and simulations of paths don't move it any more. None are without it.
    """

    smallest: float = 0.05
    largest: float = 1.0
    keep_below: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        if self.keep_below is not None and not self.keep_below > 0:
            raise ValueError(f"expected keep_below above 0 or null, got {self.keep_below}")
        if not 0 < self.smallest <= self.largest:
            raise ValueError(
                "expected smallest above 0 and not above largest, got "
                f"{self.smallest} and {self.largest}"
            )

    def after(self, now: Beginning, state: State) -> Beginning:
        """Return the best structures, and how far the model is to be trusted there."""
        known, tried = twins(state.dataset)
        structures, kept, radii = list(now.structures), KEPT.of(now.structures).tolist(), []
        places = now.places
        for final in state.ends:
            index = places.get(Image(final.run, final.image))
            if index is None or kept[index]:
                continue
            begun = now.structures[index]
            label = known.find(begun, SAME)
            before = None if label is None else state.dataset[label]
            relaxed = self._relaxed(final, before)
            if relaxed is not None:
                structures[index] = replace(relaxed.bare, fixed=begun.fixed)
                kept[index] = True
            elif final.labelled is not None and (
                before is None or enthalpy(final, final.labelled) < enthalpy(final, before)
            ):
                structures[index] = replace(final.labelled.bare, fixed=begun.fixed)
            waits = any(
                one.labelled is not None
                for one in state.ends
                if one.run == final.run and one.image != final.image
            ) and (tried.find(final.predicted, SAME) is None)
            if now.trust is not None and before is not None and not waits:
                run = state.runs[final.run] if final.run < len(state.runs) else {}
                asked = run.get("reason") == UNCERTAIN
                radii.append(self._radius(now.trust, begun, before, final, asked))
        trust = now.trust if not radii else min(radii)
        begin = Configurations.concatenate(structures)
        if any(kept):
            begin = begin.with_columns({KEPT: kept})
        return replace(now, structures=begin, trust=trust)

    def _relaxed(self, final: Final, before: Configurations | None) -> Configurations | None:
        """Return a structure that is relaxed as its label says: at the end, or at the beginning."""
        if self.keep_below is None or final.cell:
            return None
        for one in (final.labelled, before):
            if one is not None and one.max_forces[0] < self.keep_below:
                return one
        return None

    def _radius(
        self,
        radius: float,
        begun: Configurations,
        before: Configurations,
        final: Final,
        asked: bool,
    ) -> float:
        """Return the trust radius of a simulation in the next iteration, in Å.

        ``asked`` is whether its end is labelled because it was uncertain.
        """
        if final.labelled is None:
            return max(self.smallest, radius / 2)
        wanted, got = gains(final, before)
        if max(abs(wanted), abs(got)) < NOISE:
            return radius
        if not got > POOR * wanted or not wanted > 0:
            return radius if asked else max(self.smallest, radius / 2)
        if got > GOOD * wanted and _distance(begun, final.predicted) > 0.9 * radius:
            return min(max(self.largest, radius), 2 * radius)
        return radius


def twins(dataset: Configurations) -> tuple[Twins, Twins]:
    """Return the structures that have a good label, and all that were tried, by their places."""
    known, tried = Twins(), Twins()
    for i in np.flatnonzero(dataset.status != UNLABELLED):
        tried.add(int(i), dataset[i])
        if dataset.status[i] == OK:
            known.add(int(i), dataset[i])
    return known, tried


def gains(final: Final, before: Configurations) -> tuple[float, float]:
    """Compute the drop in energy (eV) from a label before to a labelled end.

    As the potential predicted it, and as the label says; of the enthalpy where the cell moves.
    """
    energy = enthalpy(final, before)
    predicted = float(PREDICTED_ENERGY.of(final.predicted)[0])
    wanted = energy - enthalpy(final, final.predicted, predicted)
    if final.labelled is None:
        raise ValueError(f"{final.where} has no label")
    return wanted, energy - enthalpy(final, final.labelled)


def enthalpy(final: Final, structure: Configurations, energy: float | None = None) -> float:
    """Return the energy (eV) of a structure, or its enthalpy where the cell moves."""
    cell: MovingCell = final.cell
    enthalpy = float(structure.energies[0]) if energy is None else energy
    if cell and cell.pressure_GPa:
        enthalpy += cell.pressure_GPa * GPa * abs(float(np.linalg.det(structure.cells[0])))
    return enthalpy


def _distance(one: Configurations, other: Configurations) -> float:
    return travelled(one.positions, one.cells[0], other.positions, other.cells[0])
