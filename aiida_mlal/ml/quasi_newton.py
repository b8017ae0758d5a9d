"""Steps of a quasi-Newton method on the labels themselves, where a model fails."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import (
    FAILURES,
    IMAGE,
    KEPT,
    ORIGIN,
    PREDICTED_ENERGY,
    REASON,
    RUN,
)
from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.simulation.base import Image
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell, travelled
from aiida_mlal.ml.starts import GOOD, NOISE, Beginning, Start, enthalpy, gains, twins
from aiida_mlal.ml.stops import Final, State

STIFFNESS = 70.0
"""Curvature in eV/Å² where labels tell of none, that of BFGS in ASE."""

SOFTEST = 1.0
"""Least curvature in eV/Å² that labels are believed where the cell is fixed: in soft directions
those that contradict each other would send atoms far."""

CURVED = 1e-4
"""Least cosine of a change of positions and of the gradient that has a curvature above 0."""

MEMORY = 20
"""Most changes that tell of curvatures, the last ones."""

REACH = 0.3
"""How far from a structure, in Å, labels tell of its curvatures."""

ON_LABELS = "a quasi-Newton step on the labels, as {why}"
"""Why a structure is to be labelled that no simulation leads to."""


@dataclass(frozen=True)
class QuasiNewton(Start):
    """Another start, and quasi-Newton steps instead where the model fails.

    The other one decides as long as labels at the ends of simulations are lower in energy than
    those at their beginnings: by 1 meV, or with a force that is lower by a tenth. After some in a
    row that are not, and after the first one where the model foresaw no drop of 1 meV either, the
    next label is that of a ``quasi_newton_step`` from the best one, and so on; so too where nothing
    was labelled, as simulations ended at what is known. The model is asked again after a step that
    led down and whose gain it foresaw, to a quarter. Of several simulations those stay where they
    are whose ends are what the stops want.

    Steps go on from a label that is lower in energy or in its largest force, since energies may
    contradict forces; after one that is neither the next is half as long at most.

    Attributes
    ----------
    of
        Name and options of the other start.
    failures
        How many labels in a row that are not lower are followed by steps.
    maxstep
        Largest movement of an atom in a step, in Å.
    """

    of: Mapping[str, Any] = field(default_factory=lambda: {"name": "best"})
    failures: int = 3
    maxstep: float = 0.2

    def __post_init__(self) -> None:
        """Let the other start judge its options."""
        check_positive(self, "failures", "maxstep")
        self.inner  # noqa: B018

    @cached_property
    def inner(self) -> Start:
        """The other start."""
        start: Start = plugins.make("starts", self.of, "of")
        return start

    def after(self, now: Beginning, state: State) -> Beginning:
        """Return the structures of the other start, or those that quasi-Newton steps lead to."""
        dataset = state.dataset
        known, tried = twins(dataset)
        places = {key: i for i, key in enumerate(dataset.keys)}
        failures = FAILURES.of(now.structures).copy()
        origins = ORIGIN.of(now.structures).tolist()
        stepped = [origin in places for origin in origins]
        begun = list(now.structures)
        for i, origin in enumerate(origins):
            if not stepped[i]:
                continue
            best = dataset[places[origin]].bare
            begun[i] = replace(best, fixed=begun[i].fixed).with_columns({KEPT: False})
        before = replace(now, structures=Configurations.concatenate(begun))
        found = self.inner.after(before, state)
        structures, kept = list(found.structures), KEPT.of(found.structures).copy()
        origins, reasons = [""] * len(structures), [""] * len(structures)
        is_stuck = not len(state.new)
        for final in state.ends:
            i = now.places.get(Image(final.run, final.image), -1)
            if i < 0 or kept[i]:
                continue
            if final.run in state.met and final.labelled is not None:
                structures[i] = replace(final.labelled.bare, fixed=structures[i].fixed)
                kept[i] = True
                continue
            tells = tried.find(final.predicted, SAME) is not None
            start = known.find(begun[i], SAME)
            if start is None or not (tells or is_stuck):
                continue
            ended = is_stuck or (not stepped[i] and _sees_nothing_lower(final, state.trajectory))
            if is_stuck or not _gets_on(final, dataset[start]):
                failures[i] = max(failures[i] + 1, self.failures if ended else 0)
            elif not stepped[i] or _is_foreseen(final, dataset[start]):
                failures[i] = 0
            if failures[i] >= self.failures:
                best = _best(final, dataset[start], stepped[i])
                at = replace(best, fixed=structures[i].fixed)
                longest = self.maxstep
                if stepped[i] and tells and best is not final.labelled:
                    longest = min(longest, _way(begun[i], final.predicted) / 2)
                structures[i] = self._step(at, dataset.learnable, final.cell, tried, longest)
                kept[i], origins[i] = True, best.keys[0]
                failed = f"{failures[i]} labels in a row were not lower"
                why = "the model sees nothing lower" if ended else failed
                reasons[i] = ON_LABELS.format(why=why)
        columns = {KEPT: kept, FAILURES: failures, ORIGIN: origins, REASON: reasons}
        begin = Configurations.concatenate(structures)
        touched = failures.any() or kept.any()
        return replace(found, structures=begin.with_columns(columns) if touched else begin)

    def _step(
        self,
        at: Configurations,
        known: Configurations,
        cell: MovingCell,
        tried: Twins,
        longest: float,
    ) -> Configurations:
        """Make a step that leads to nothing that was tried in vain."""
        there = quasi_newton_step(at, known, cell, longest)
        while tried.find(there, SAME) is not None and longest > SAME:
            longest /= 2
            there = quasi_newton_step(at, known, cell, longest)
        return there


def _gets_on(final: Final, before: Configurations) -> bool:
    """Whether a label is lower in energy, by 1 meV or with a force lower by a tenth."""
    if final.labelled is None:
        return False
    gain, drive = gains(final, before)[1], replace(final, labelled=before).drive
    return gain > NOISE or (gain > 0 and final.drive < 0.9 * drive)


def _sees_nothing_lower(final: Final, trajectory: Configurations) -> bool:
    """Whether the energy drops by less than 1 meV in a simulation, as predicted."""
    mine = (RUN.of(trajectory) == final.run) & (IMAGE.of(trajectory) == final.image)
    first = trajectory[int(np.flatnonzero(mine)[0])]
    before, after = (
        enthalpy(final, one, float(PREDICTED_ENERGY.of(one)[0])) for one in (first, final.predicted)
    )
    return before - after < NOISE


def _way(one: Configurations, other: Configurations) -> float:
    return travelled(one.positions, one.cells[0], other.positions, other.cells[0])


def _best(final: Final, before: Configurations, by_force: bool) -> Configurations:
    """Return the lower one of the labels before and at the end of a simulation.

    In energy, or ``by_force`` too: as the method itself goes by forces, energies that contradict
    them are not to keep it where it is.
    """
    if final.labelled is None:
        return before
    is_lower = gains(final, before)[1] >= 0
    if by_force:
        is_lower |= final.drive < replace(final, labelled=before).drive
    return final.labelled if is_lower else before


def _is_foreseen(final: Final, before: Configurations) -> bool:
    """Whether the predicted gain is that of the label to a quarter."""
    wanted, got = gains(final, before)
    return abs(got - wanted) < (1 - GOOD) * got


def quasi_newton_step(
    at: Configurations,
    known: Configurations,
    cell: MovingCell = FIXED,
    longest: float = 0.2,
) -> Configurations:
    r"""Return the structure to which a quasi-Newton step leads from a labelled one.

    The step is :math:`-H \nabla E` with the inverse Hessian H of L-BFGS, J. Nocedal and S. J.
    Wright, Numerical Optimization, 2nd ed., Springer (2006), algorithms 7.4 and 7.5. Its pairs are
    the changes of positions and gradients from each label of these atoms to the next, in their
    order, and from the last one to the structure, however these came about. Pairs without a
    curvature above 0 are left out, and so are labels farther than ``REACH``.

    Parameters
    ----------
    at
        The structure, with its label.
    known
        Labelled structures, that one may be among them.
    cell
        What of the cell moves: energies are enthalpies then, and positions those of ASE's filter.
    longest
        Largest movement of an atom in Å.
    """
    atoms = at.to_ase()[0]
    moving = cell.filter(atoms)
    _, place, slope = cell.coordinates(atoms, atoms)
    visited = [
        cell.coordinates(one.to_ase()[0], atoms)[1:] for one in known if _is_near(one, at, cell)
    ]
    pairs = []
    for (x, g), (next_x, next_g) in pairwise([*visited, (place, slope)]):
        s, y = next_x - x, next_g - g
        if (s * y).sum() > CURVED * np.linalg.norm(s) * np.linalg.norm(y):
            pairs.append((s, y))
    step = -_times_inverse_hessian(slope, pairs[-MEMORY:])
    if not cell:
        longest = min(longest, np.linalg.norm(slope, axis=1).max() / SOFTEST)
    step *= min(1.0, longest / max(np.linalg.norm(step, axis=1).max(), 1e-300))
    moving.set_positions(place + step)
    return replace(at.bare, positions=atoms.positions, cells=atoms.cell.array[None])


def _times_inverse_hessian(
    gradient: Float[np.ndarray, "rows 3"],
    pairs: list[tuple[Float[np.ndarray, "rows 3"], Float[np.ndarray, "rows 3"]]],
) -> Float[np.ndarray, "rows 3"]:
    """Do the two loops of L-BFGS."""
    found, taken = gradient.copy(), []
    for s, y in reversed(pairs):
        taken.append((s * found).sum() / (s * y).sum())
        found -= taken[-1] * y
    if pairs:
        s, y = pairs[-1]
        found *= (s * y).sum() / (y * y).sum()
    else:
        found /= STIFFNESS
    for (s, y), share in zip(pairs, reversed(taken)):
        found += s * (share - (y * found).sum() / (s * y).sum())
    return found


def _is_near(one: Configurations, other: Configurations, cell: MovingCell) -> bool:
    """Whether two structures differ by what moves alone, and not by much."""
    if not np.array_equal(one.numbers, other.numbers) or not np.array_equal(one.pbc, other.pbc):
        return False
    if not cell.leads(other.cells[0], one.cells[0]):
        return False
    if not cell:
        held = np.where(other.fixed, one.positions - other.positions, 0.0)
        if np.abs(held).max(initial=0.0) > SAME:
            return False
    return _way(other, one) < REACH
