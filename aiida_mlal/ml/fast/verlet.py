"""Neighbours of moving atoms: periodic images are ghost atoms, lists are renewed when need be."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.jit import jit
from aiida_mlal.ml.neighbours import complete_cell

MAX_GHOSTS = 20_000_000
"""Most ghost atoms of a structure: a cell that is too flat or too small would need more memory."""

LEAST_ATOMS, MOST_PARTS = 64, 16
"""Fewest atoms of an ``AtomRange``, and the most ranges that a structure is divided into."""

ALIGNED = 8
"""Ranges begin at multiples of it: kernels handle so many atoms together."""

_jit: Callable[[Callable[..., Any]], Any] = jit()


class Neighbours(NamedTuple):
    """Atoms and their neighbours, as compiled code takes them.

    Attributes
    ----------
    positions
        Of the atoms, then of their other neighbours and ghosts, in Å.
    species
        Of the atoms.
    neighbours, begin
        As in ``Verlet``.
    """

    positions: Float[np.ndarray, "images 3"]
    species: Int[np.ndarray, " atoms"]
    neighbours: Int[np.ndarray, " pairs"]
    begin: Int[np.ndarray, " segments"]


@dataclass(frozen=True, eq=False)
class AtomRange:
    """Some of the atoms with their neighbours, as if there were no others.

    Attributes
    ----------
    atoms
        Which ones.
    positions
        Of these atoms, then of their other neighbours and ghosts, in Å.
    owner
        The atom that each of these is an image of.
    species
        Of these atoms.
    neighbours, begin, n_species
        As in ``Verlet``, of these atoms.
    """

    atoms: slice
    positions: Float[np.ndarray, "images 3"]
    owner: Int[np.ndarray, " images"]
    species: Int[np.ndarray, " atoms"]
    neighbours: Int[np.ndarray, " pairs"]
    begin: Int[np.ndarray, " segments"]
    n_species: int

    @property
    def arrays(self) -> Neighbours:
        """For compiled code."""
        return Neighbours(self.positions, self.species, self.neighbours, self.begin)


class Verlet:
    """Positions of atoms and ghosts, and neighbours within the cutoff and a skin.

    The neighbours of atom i that are of species s are
    ``neighbours[begin[i * n_species + s] : begin[i * n_species + s + 1]]``.

    Attributes
    ----------
    positions
        Of the atoms, moved into the cell, then of the ghosts, in Å.
    owner
        The atom that each of these is an image of.
    species
        Of the atoms.
    builds
        How often neighbours have been looked for.
    origin
        Positions and cell at the last time; None before.
    """

    positions: Float[np.ndarray, "images 3"]
    owner: Int[np.ndarray, " images"]
    neighbours: Int[np.ndarray, " pairs"]
    begin: Int[np.ndarray, " segments"]

    def __init__(self, cutoff: float, n_species: int, skin: float) -> None:
        if not skin >= 0:
            raise ValueError(f"expected a skin of 0 Å or more, got {skin}")
        self.cutoff, self.n_species, self.skin = cutoff, n_species, skin
        self.species = np.zeros(0, np.int32)
        self.builds = 0
        self.origin: tuple[np.ndarray, np.ndarray] | None = None
        self._cell, self._pbc = np.zeros((3, 3)), np.zeros(3, bool)
        self._reference = np.zeros((0, 3))
        self._ranges: list[tuple[AtomRange, Int[np.ndarray, " images"] | None]] = []

    def update(
        self,
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        species: Int[np.ndarray, " atoms"],
    ) -> None:
        """Move the atoms; look for neighbours if one moved by more than half of the skin."""
        if not (self.builds and _same(species, self.species) and _same(pbc, self._pbc)):
            return self.search(positions, cell, pbc, species)
        if not _same(cell, self._cell):
            self._cell = np.array(cell)
            self._offsets = self._shifts @ complete_cell(cell, pbc)
        limit = 0.5 * self.skin
        if _leaves(positions, self.owner, self._offsets, self.positions, self._reference, limit):
            self.search(positions, cell, pbc, species)
        return None

    def ranges(self) -> list[AtomRange]:
        """Divide the atoms into ranges, whose number depends on that of the atoms alone."""
        if not self._ranges:
            n = n_parts(len(self.species))
            if n == 1:
                self._ranges = [(self._whole(slice(0, len(self.species))), None)]
            else:
                cuts = [len(self.species) * t // n // ALIGNED * ALIGNED for t in range(n)]
                pairs = pairwise([*cuts, len(self.species)])
                self._ranges = [self._some(low, high) for low, high in pairs]
        for part, images in self._ranges:
            if images is not None:  # by "clip" numpy writes to ``out`` without a copy
                self.positions.take(images, axis=0, out=part.positions, mode="clip")
        return [part for part, _ in self._ranges]

    def _whole(self, atoms: slice) -> AtomRange:
        return AtomRange(
            atoms,
            self.positions,
            self.owner,
            self.species,
            self.neighbours,
            self.begin,
            self.n_species,
        )

    def _some(self, low: int, high: int) -> tuple[AtomRange, Int[np.ndarray, " images"]]:
        """Take the atoms from low to high, and the indices of their images."""
        begin = self.begin[low * self.n_species : high * self.n_species + 1]
        mine = self.neighbours[begin[0] : begin[-1]]
        images, neighbours = _renumber(mine, low, high, len(self.positions))
        part = AtomRange(
            slice(low, high),
            self.positions[images],
            self.owner[images],
            self.species[low:high],
            neighbours,
            begin - begin[0],
            self.n_species,
        )
        return part, images

    def search(
        self,
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        species: Int[np.ndarray, " atoms"],
    ) -> None:
        """Look for neighbours."""
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise ValueError("positions or cell are not finite")
        reach = self.cutoff + self.skin
        complete = complete_cell(cell, pbc)
        inverse = np.linalg.inv(complete)
        fractions = positions @ inverse
        home = -np.floor(fractions) * pbc
        margin = reach * np.linalg.norm(inverse, axis=0) * pbc
        if len(positions) * np.prod(1 + 2 * margin) > MAX_GHOSTS:
            raise ValueError(
                f"the cell is too flat or too small: {reach} Å around it are "
                f"{np.prod(1 + 2 * margin):.3g} cells"
            )
        span = np.ceil(margin).astype(np.int64)
        periodic = np.array(pbc, bool)
        self.owner, self._shifts = _images(fractions + home, home, margin, span, periodic)
        self.species, self._pbc = np.array(species, np.int32), periodic
        self._cell, self._offsets = np.array(cell, float), self._shifts @ complete
        self.positions = positions[self.owner] + self._offsets
        self._reference = self.positions.copy()
        self.neighbours, self.begin = _find_pairs(
            len(positions), self.positions, self.species[self.owner], self.n_species, reach
        )
        self.origin = positions.copy(), self._cell.copy()
        self.builds += 1
        self._ranges = []


def n_parts(n_atoms: int) -> int:
    """Return the number of ranges for so many atoms: a power of 2."""
    return min(MOST_PARTS, 1 << max(n_atoms // LEAST_ATOMS, 1).bit_length() - 1)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.tobytes() == other.tobytes()


@_jit
def fold(
    owner: np.ndarray, positions: np.ndarray, images: np.ndarray, forces: np.ndarray,
    virial: np.ndarray,
) -> None:  # fmt: skip
    """Add the forces on images to those on their owners, and dE / d strain to the virial."""
    for q in range(3):
        xx = yy = zz = 0.0
        for g in range(owner.size):
            force = images[g, q]
            forces[owner[g], q] += force
            xx += positions[g, 0] * force
            yy += positions[g, 1] * force
            zz += positions[g, 2] * force
        virial[0, q] -= xx
        virial[1, q] -= yy
        virial[2, q] -= zz


@_jit
def _renumber(
    neighbours: np.ndarray, low: int, high: int, n_images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give new numbers to the images that some atoms and their neighbours are, the atoms first.

    Return these images, and the new numbers of the neighbours.
    """
    number, images = np.full(n_images, -1, np.int32), np.empty(n_images, np.int64)
    n = high - low
    for i in range(n):
        images[i], number[low + i] = low + i, i
    renumbered = np.empty(neighbours.size, np.int32)
    for p in range(neighbours.size):
        j = neighbours[p]
        if number[j] < 0:
            images[n], number[j] = j, n
            n += 1
        renumbered[p] = number[j]
    return images[:n].copy(), renumbered


@_jit
def nearest(
    n: int, positions: np.ndarray, neighbours: np.ndarray, begin: np.ndarray, n_species: int,
    cutoff: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Nearest neighbour of each species of the first ``n`` atoms, or -1, and its distance² (Å²)."""
    index, squares = np.full((n, n_species), -1), np.full((n, n_species), cutoff * cutoff)
    for i in range(n):
        for s in range(n_species):
            for p in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
                j, square = neighbours[p], 0.0
                for q in range(3):
                    d = positions[j, q] - positions[i, q]
                    square += d * d
                if square < squares[i, s]:
                    index[i, s], squares[i, s] = j, square
    return index, squares


@_jit
def surroundings(
    n: int, positions: np.ndarray, neighbours: np.ndarray, begin: np.ndarray, n_species: int,
    cutoff: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Nearest, crowding and swell of ``Surroundings``, of the first ``n`` atoms."""
    near = np.full((n, n_species), cutoff)
    crowding, swell = np.zeros(n), np.zeros(n)
    for i in range(n):
        for s in range(n_species):
            least = 1.0
            for p in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
                j, square = neighbours[p], 0.0
                for q in range(3):
                    d = positions[j, q] - positions[i, q]
                    square += d * d
                square /= cutoff * cutoff
                if square < 1.0:
                    crowding[i] += (1.0 - square) * (1.0 - square)
                    swell[i] += 4.0 * square * (1.0 - square)
                    least = min(least, square)
            near[i, s] *= np.sqrt(least)
    return near, crowding, swell


@_jit
def _images(
    fractions: np.ndarray, home: np.ndarray, margin: np.ndarray, span: np.ndarray, pbc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Owner and lattice shift of every atom, then of the ghosts within ``margin`` of the cell."""
    n = len(fractions)
    g = n
    owner, shift = np.empty(4 * n + 64, np.int32), np.empty((4 * n + 64, 3))
    for i in range(n):  # assignment of slices would take seconds to compile
        owner[i], shift[i, 0], shift[i, 1], shift[i, 2] = i, home[i, 0], home[i, 1], home[i, 2]
    for a in range(-span[0], span[0] + 1):
        for b in range(-span[1], span[1] + 1):
            for c in range(-span[2], span[2] + 1):
                if a == 0 and b == 0 and c == 0:
                    continue
                for i in range(n):
                    keep = True
                    for q, cells in enumerate((a, b, c)):
                        near = -margin[q] < fractions[i, q] + cells < 1 + margin[q]
                        keep &= near or not pbc[q]
                    if keep:
                        if g == owner.size:
                            owner = np.concatenate((owner, owner))
                            shift = np.concatenate((shift, shift))
                        owner[g] = i
                        shift[g, 0], shift[g, 1] = home[i, 0] + a, home[i, 1] + b
                        shift[g, 2] = home[i, 2] + c
                        g += 1
    return owner[:g].copy(), shift[:g].copy()


@_jit
def _leaves(
    positions: np.ndarray, owner: np.ndarray, offsets: np.ndarray, images: np.ndarray,
    reference: np.ndarray, limit: float,
) -> bool:  # fmt: skip
    """Move all images; tell if one is farther from its reference than the limit (Å)."""
    far = False
    for g in range(owner.size):
        square, i = 0.0, owner[g]
        for q in range(3):
            images[g, q] = positions[i, q] + offsets[g, q]
            moved = images[g, q] - reference[g, q]
            square += moved * moved
        far |= not square <= limit * limit  # nor is NaN
    return far


@_jit
def _find_pairs(
    n: int, positions: np.ndarray, species: np.ndarray, n_species: int, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours, ghosts included, of the first ``n`` atoms; sorted by atom, then by species."""
    n_images = positions.shape[0]
    low = np.zeros(3)
    size, bins = np.empty(3), np.empty(3, np.int64)
    for q in range(3):
        if n_images:
            low[q] = high = positions[0, q]
        else:
            high = 0.0
        for i in range(n_images):
            low[q], high = min(low[q], positions[i, q]), max(high, positions[i, q])
        extent = high - low[q]
        # boxes no smaller than the reach, and not many more of them than atoms
        size[q] = max(reach, extent / (2.0 + 2.0 * np.cbrt(float(n_images))))
        bins[q] = int(extent / size[q]) + 1
    box = np.empty((n_images, 3), np.int64)
    first = np.full(bins[0] * bins[1] * bins[2] * n_species, -1)
    following = np.empty(n_images, np.int64)
    for i in range(n_images - 1, -1, -1):
        for q in range(3):
            box[i, q] = int((positions[i, q] - low[q]) / size[q])
        h = ((box[i, 0] * bins[1] + box[i, 1]) * bins[2] + box[i, 2]) * n_species + species[i]
        following[i], first[h] = first[h], i
    neighbours, begin = np.empty(64 * n, np.int32), np.zeros(n * n_species + 1, np.int64)
    m = 0
    for i in range(n):
        for s in range(n_species):
            for a in range(max(box[i, 0] - 1, 0), min(box[i, 0] + 2, bins[0])):
                for b in range(max(box[i, 1] - 1, 0), min(box[i, 1] + 2, bins[1])):
                    for c in range(max(box[i, 2] - 1, 0), min(box[i, 2] + 2, bins[2])):
                        j = first[((a * bins[1] + b) * bins[2] + c) * n_species + s]
                        while j >= 0:
                            square = 0.0
                            for q in range(3):
                                d = positions[j, q] - positions[i, q]
                                square += d * d
                            if square < reach * reach and j != i:
                                if m == neighbours.size:
                                    more = np.empty(m, np.int32)
                                    neighbours = np.concatenate((neighbours, more))
                                neighbours[m] = j
                                m += 1
                            j = following[j]
            begin[i * n_species + s + 1] = m
    return neighbours[:m].copy(), begin
