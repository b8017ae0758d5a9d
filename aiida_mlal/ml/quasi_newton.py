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
from aiida_mlal.ml.frames import FAILURES, KEPT, ORIGIN
from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.selection.filters import SAME, Twins
from aiida_mlal.ml.simulation.base import Image
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell, travelled
from aiida_mlal.ml.starts import GOOD, NOISE, Beginning, Start, gains, twins
from aiida_mlal.ml.stops import Final, State

STIFFNESS = 70.0
"""Curvature in eV/Å² where labels tell of none, that of BFGS in ASE."""

CURVED = 1e-4
"""Least cosine of a change of positions and of the gradient that has a curvature above 0."""

MEMORY = 20
"""Most changes that tell of curvatures, the last ones."""

REACH = 0.3
"""How far from a structure, in Å, labels tell of its curvatures."""


@dataclass(frozen=True)
class QuasiNewton(Start):
    """Another start, and quasi-Newton steps instead where the model fails.

    The other one decides as long as labels at the ends of simulations are lower in energy than
    those at their beginnings: by 1 meV, or with a force that is lower by a tenth. After some in a
    row that are not, the next label is that of a ``quasi_newton_step`` from the best one, and so
    on. The model is asked again after a step that led down and whose gain it foresaw, to a quarter.
    So it costs no more labels than steps alone, but for those in a row.

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
        if not self.inner.moves:
            raise ValueError(f"of: {self.of['name']!r} begins always alike, such as no step does")

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
        origins = [""] * len(structures)
        for final in state.ends:
            i = now.places.get(Image(final.run, final.image), -1)
            if i < 0 or kept[i] or tried.find(final.predicted, SAME) is None:
                continue
            label, start = known.find(structures[i], SAME), known.find(begun[i], SAME)
            if label is None or start is None:
                continue
            if not _gets_on(final, dataset[start]):
                failures[i] += 1
            elif not stepped[i] or _is_foreseen(final, dataset[start]):
                failures[i] = 0
            if failures[i] >= self.failures:
                at = replace(dataset[label], fixed=structures[i].fixed)
                structures[i] = self._step(at, dataset.learnable, final.cell, tried)
                kept[i], origins[i] = True, dataset.keys[label]
        columns = {KEPT: kept, FAILURES: failures, ORIGIN: origins}
        begin = Configurations.concatenate(structures)
        return replace(found, structures=begin.with_columns(columns) if failures.any() else begin)

    def _step(
        self, at: Configurations, known: Configurations, cell: MovingCell, tried: Twins
    ) -> Configurations:
        """Make a step that leads to nothing that was tried in vain."""
        longest = self.maxstep
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
    return travelled(other.positions, other.cells[0], one.positions, one.cells[0]) < REACH
