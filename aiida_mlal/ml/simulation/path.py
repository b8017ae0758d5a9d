"""Paths between two structures of the same atoms: consistency, matching, interpolation."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic, get_distances
from jaxtyping import Bool, Float, Int
from scipy.linalg import orth, polar
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from aiida_mlal.ml import constraints
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.options import within
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell
from aiida_mlal.ml.simulation.vibrations import molecule, unhindered

Interpolation = Literal["linear", "idpp"]

SAME = 0.1
"""Largest displacement in Å of structures that are taken for one."""

SAME_CELL = 1e-5
"""Largest difference in Å of components of cells that are taken for one."""

MOVED = 0.5
"""Displacement in Å from which on an atom counts as one that moves."""

TURNED = 10.0
"""Largest rotation in degrees between cells of a path, and between molecules of which most atoms do
nothing else; strains of some percent come with less."""


def displacements(
    one: Configurations, other: Configurations, minimum_image: bool = True
) -> Float[np.ndarray, "atoms 3"]:
    """Return the displacement of each atom from one structure to another, in Å.

    With ``minimum_image`` it is the way to the nearest periodic image.
    """
    apart = other.positions - one.positions
    if minimum_image and one.pbc.any():
        apart = find_mic(apart, one.cells[0], one.pbc[0])[0]
    return np.asarray(apart)


def check(
    structures: Configurations,
    minimum_image: bool = True,
    any_order: bool = False,
    cell: MovingCell = FIXED,
) -> None:
    """Raise ``ValueError`` for structures that cannot be images of one path.

    Parameters
    ----------
    minimum_image
        Whether atoms go to the nearest periodic image.
    any_order
        Whether to accept structures whose atoms have shorter ways in another order.
    cell
        What of the cell moves along the path.
    """
    for i, one in enumerate(structures):
        _check_alike(structures[0], one, i, cell)
    strained = float(np.abs(structures.cells - structures.cells[0]).max())
    structures = in_first_cell(structures)
    begin, end = structures[0], structures[-1]
    for i in range(1, len(structures)):
        _check_turn(structures[i - 1], structures[i], i)
        _check_drift(structures[i - 1], structures[i], i, minimum_image)
        _check_order(structures[i - 1], structures[i], i, minimum_image, any_order)
    farthest = np.linalg.norm(displacements(begin, end, minimum_image), axis=1).max(initial=0.0)
    if max(farthest, strained) < SAME:
        raise ValueError(
            f"the ends of a path are the same structure: no atom is displaced by more than "
            f"{farthest:.2g} Å, expected {SAME:g} Å or more"
        )


def in_first_cell(structures: Configurations) -> Configurations:
    """Return structures in the cell of the first one, atoms moved with theirs."""
    first = structures.cells[0]
    if np.abs(structures.cells - first).max() <= SAME_CELL:
        return structures
    deformations = np.linalg.solve(structures.cells, np.broadcast_to(first, structures.cells.shape))
    positions = np.einsum("ni,nij->nj", structures.positions, deformations[structures.owner])
    return replace(structures, positions=positions, cells=np.array([first] * len(structures)))


def _check_alike(begin: Configurations, one: Configurations, i: int, cell: MovingCell) -> None:
    if not np.array_equal(np.sort(begin.numbers), np.sort(one.numbers)):
        raise ValueError(
            "the structures of a path have the same atoms: the first one is "
            f"{begin.formulas[0]}, number {i} is {one.formulas[0]}"
        )
    if not np.array_equal(begin.pbc, one.pbc):
        raise ValueError(
            "the structures of a path are periodic in the same directions: the first one is "
            f"{begin.pbc[0].tolist()}, number {i} is {one.pbc[0].tolist()}"
        )
    apart = np.abs(begin.cells - one.cells)[0]
    if apart.max() > SAME_CELL and not (cell and cell.leads(begin.cells[0], one.cells[0])):
        raise ValueError(
            "the structures of a path have the same cell: vectors of number "
            f"{i} differ from those of the first one by up to {apart.max():.3g} Å, and what moves "
            f"of the cell is {cell.moves!r}"
        )
    turned = _turned(begin.cells[0], one.cells[0]) if cell else 0.0
    if turned > TURNED:
        raise ValueError(
            f"the cells of a path are turned alike: that of number {i} is turned by {turned:.0f} "
            "degrees from the first one, beside its strain: turn it back with its atoms, or choose "
            "other lattice vectors"
        )


def _turned(cell: Float[np.ndarray, "3 3"], other: Float[np.ndarray, "3 3"]) -> float:
    """Return the angle in degrees by which one cell is turned to another, what strains it apart."""
    rotation = polar(np.linalg.solve(cell, other))[0]
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1.0, 1.0))))


def groups(
    structures: Configurations,
    n: int,
    what: str,
    minimum_image: bool = True,
    any_order: bool = False,
    cell: MovingCell = FIXED,
) -> list[Configurations]:
    """Return every n structures together, each group as ``check`` wants it.

    Parameters
    ----------
    what
        What a group is called in messages, with its number where there are several.
    """
    paths = [structures[i : i + n] for i in range(0, len(structures), n)]
    for i, group in enumerate(paths):
        with within(f"{what} {i}" if len(paths) > 1 else ""):
            check(group, minimum_image, any_order, cell)
    return paths


def _check_order(
    one: Configurations, other: Configurations, i: int, minimum_image: bool, any_order: bool
) -> None:
    same = np.array_equal(one.numbers, other.numbers)
    if not (same and any_order):
        order = matched(one, other)
        moved = np.linalg.norm(displacements(one, other, minimum_image), axis=1) > MOVED
        better = np.linalg.norm(displacements(one, _ordered(other, order)), axis=1) > MOVED
        if not same or (minimum_image and better.sum() < moved.sum()):
            more = f", so that {better.sum()} atoms move and not {moved.sum()}" if same else ""
            raise ValueError(
                f"the structures of a path have their atoms in the same order: that of number {i} "
                f"fits to the one before as {order.tolist()}{more}"
            )
    if not np.array_equal(one.fixed, other.fixed):
        atom = int(np.flatnonzero((one.fixed != other.fixed).any(axis=1))[0])
        raise ValueError(
            f"the structures of a path have the same fixed atoms: atom {atom} is fixed in "
            f"{other.fixed[atom].tolist()} of number {i}, and in {one.fixed[atom].tolist()} before"
        )
    away = np.where(one.fixed, np.abs(displacements(one, other)), 0.0).max(axis=1, initial=0.0)
    if away.max(initial=0.0) > 1e-3:
        raise ValueError(
            f"fixed atoms stay where they are along a path: atom {int(away.argmax())} is "
            f"displaced by {away.max():.3g} Å in structure {i}"
        )


def _check_drift(one: Configurations, other: Configurations, i: int, minimum_image: bool) -> None:
    """Refuse structures that differ by a translation of most atoms where none is fixed."""
    apart = displacements(one, other, minimum_image)
    drift = np.where(one.fixed.any(axis=0), 0.0, np.median(apart, axis=0))
    together = np.linalg.norm(apart - drift, axis=1) < MOVED
    if np.linalg.norm(drift) > SAME and together.sum() > max(2, len(together) / 2):
        raise ValueError(
            f"the structures of a path do not move as a whole: most atoms of number {i} are "
            f"displaced by {drift.round(3).tolist()} Å, and nothing is fixed there: take that off "
            "all of its positions"
        )


def _check_turn(one: Configurations, other: Configurations, i: int) -> None:
    """Refuse a molecule of which most atoms are only turned as a whole, where none is fixed."""
    begin, end = (molecule(structure.to_ase()[0]) for structure in (one, other))
    same = np.array_equal(one.numbers, other.numbers)
    if begin is None or end is None or one.fixed.any() or not same or len(begin) < 3:
        return
    turn, stay = _turn(begin, end)
    angle = float(np.degrees(turn.magnitude()))
    apart = np.linalg.norm(end - begin - np.median(end - begin, axis=0), axis=1) > MOVED
    n = len(begin)
    if angle > TURNED and stay.sum() > max(2, n / 2) and (~stay).sum() < apart.sum():
        axis = (turn.as_rotvec() / turn.magnitude()).round(4).tolist()
        raise ValueError(
            f"the structures of a path do not turn as a whole: {stay.sum()} of {n} atoms of number "
            f"{i} are where they were before, but for a rotation by {angle:.1f} degrees about "
            f"{axis}, and nothing is fixed: turn it back, such as by "
            f"atoms.rotate({-angle:.1f}, {axis}, center='COP') of ASE"
        )


def _turn(
    begin: Float[np.ndarray, "atoms 3"], end: Float[np.ndarray, "atoms 3"]
) -> tuple[Rotation, Bool[np.ndarray, " atoms"]]:
    """Return the rotation that brings most atoms from where they begin to where they end.

    What does not follow weighs less and less: iteratively reweighted least squares, with Cauchy's
    weights.

    Returns
    -------
    rotation
        About the centre of those atoms that follow it.
    stay
        Which atoms follow it, but for ``MOVED``.
    """
    weights = np.ones(len(begin))
    for _ in range(50):
        centres = [weights @ places / weights.sum() for places in (begin, end)]
        arms = [places - centre for places, centre in zip((begin, end), centres)]
        with warnings.catch_warnings():  # of atoms in a line, about which any angle will do
            warnings.simplefilter("ignore", UserWarning)
            rotation = Rotation.align_vectors(arms[1], arms[0], weights=weights)[0]
        apart = np.linalg.norm(arms[1] - rotation.apply(arms[0]), axis=1)
        weights = 1 / (1 + (apart / SAME) ** 2)
    return rotation, apart < MOVED


def matched(one: Configurations, other: Configurations) -> Int[np.ndarray, " atoms"]:
    """Return the order of the atoms of another structure in which they are nearest to those of one.

    The sum of squared distances of atoms of the same element is the smallest possible: the
    assignment problem.
    """
    order = np.arange(len(one.numbers))
    for element in np.unique(one.numbers):
        mine = np.flatnonzero(one.numbers == element)
        theirs = np.flatnonzero(other.numbers == element)
        _, distances = get_distances(
            one.positions[mine], other.positions[theirs], one.cells[0], one.pbc[0]
        )
        rows, columns = linear_sum_assignment(distances**2)
        order[mine[rows]] = theirs[columns]
    return order


def _ordered(one: Configurations, order: Int[np.ndarray, " atoms"]) -> Configurations:
    return Configurations.from_geometry(
        one.numbers[order], one.positions[order], one.counts, one.cells, one.pbc
    )


def image_indices(structures: Configurations, images: int, minimum_image: bool = True) -> list[int]:
    """Assign structures to images of a path, between which the others lie as evenly as possible."""
    ways = [
        float(np.linalg.norm(displacements(*pair, minimum_image)))
        for pair in pairwise(in_first_cell(structures))
    ]
    intervals = [1] * len(ways)
    for _ in range(images - len(structures)):
        longest = int(np.argmax([way / n for way, n in zip(ways, intervals)]))
        intervals[longest] += 1
    return [0, *np.cumsum(intervals).tolist()]


def interpolated(
    structures: Sequence[Atoms], at: Sequence[int], method: Interpolation, minimum_image: bool
) -> list[Atoms]:
    """Return a path through structures, each of which is the image that ``at`` says.

    ``linear`` interpolates positions; ``idpp`` goes on from there to a path on which distances of
    atoms change evenly: S. Smidstrup et al., J. Chem. Phys. 140, 214106 (2014). Where cells differ
    they are interpolated, and positions as they are in the cell of the first structure.
    """
    from ase.mep.neb import NEB, idpp_interpolate

    cells = [one.cell.array.copy() for one in structures]
    if np.abs(np.array(cells) - cells[0]).max() > SAME_CELL:
        level = [one.copy() for one in structures]
        for one in level:
            one.set_cell(cells[0], scale_atoms=True)
        images = interpolated(level, at, method, minimum_image)
        for i, image in enumerate(images):
            of_cell = [np.interp(i, at, parts) for parts in np.reshape(cells, (-1, 9)).T]
            image.set_cell(np.reshape(of_cell, (3, 3)), scale_atoms=True)
        return images
    images = [structures[0].copy()]
    for (one, other), n in zip(pairwise(structures), np.diff(at)):
        apart = other.positions - one.positions
        if minimum_image and one.pbc.any():
            apart = find_mic(apart, one.cell, one.pbc)[0]
        part = [one.copy() for _ in range(n)] + [other.copy()]
        for i, image in enumerate(part[:-1]):
            image.positions += apart * (i / n)
        if method == "idpp" and n > 1:
            band = NEB(part, method="improvedtangent")
            idpp_interpolate(band, traj=None, log=None, mic=minimum_image)
        images += part[1:]
    return images


def ways(images: Sequence[Any]) -> list[Float[np.ndarray, "moving 3"]]:
    """Return the displacements between neighbours along a path, in Å.

    Of atoms whose cell doesn't move they are without what costs no energy, such as a rotation of a
    molecule: it is taken off halfway between both, where a rotation is orthogonal to all else.
    """
    every = []
    for a, b in pairwise(images):
        way = find_mic(b.positions - a.positions, a.cell, a.pbc)[0]
        if isinstance(a, Atoms):
            between = a.copy()
            between.positions += way / 2
            motions = unhindered(between, constraints.of_ase(a)[0])
            if motions.shape[1]:
                free = orth(motions)
                way -= (free @ (free.T @ way.ravel())).reshape(-1, 3)
        every.append(way)
    return every


def lengths(images: Sequence[Any]) -> Float[np.ndarray, " images"]:
    """Return the coordinate of each image along a path in Å: the sum of the lengths of ``ways``."""
    return np.concatenate([[0.0], np.cumsum([np.linalg.norm(way) for way in ways(images)])])
