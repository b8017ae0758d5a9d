"""Neighbour lists: what a potential sees of a batch of structures."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from vesin import NeighborList

from aiida_mlal.ml.configurations import Configurations


@dataclass(frozen=True, eq=False)
class Graph:
    """Atoms, and an edge for each ordered pair of neighbours.

    Attributes
    ----------
    numbers
        Atomic number of each atom.
    owner
        The structure that each atom belongs to.
    pairs
        The central atom of each edge and its neighbour; sorted by the central atom.
    vectors
        From the central atom to (the periodic image of) the neighbour, in Å.
    volumes
        Volume of the cell of each structure in Å³; NaN where it is not periodic in all directions.
    """

    numbers: Int[Tensor, " atoms"]
    owner: Int[Tensor, " atoms"]
    pairs: Int[Tensor, "2 edges"]
    vectors: Float[Tensor, "edges 3"]
    volumes: Float[Tensor, " structures"]

    @classmethod
    def of(
        cls,
        configurations: Configurations,
        cutoff: float,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "Graph":
        """Return the graph of all pairs closer than ``cutoff`` (Å), periodic images included."""
        pairs, vectors = [np.zeros((2, 0), int)], [np.zeros((0, 3))]
        for i in range(len(configurations)):
            atoms = slice(configurations.offsets[i], configurations.offsets[i + 1])
            found, shifts = neighbours(
                configurations.positions[atoms],
                configurations.cells[i],
                configurations.pbc[i],
                cutoff,
            )
            pairs.append(found + configurations.offsets[i])
            vectors.append(
                edge_vectors(
                    configurations.positions[atoms], configurations.cells[i], found, shifts
                )
            )
        cells, periodic = configurations.cells, configurations.pbc.all(axis=1)
        volumes = np.where(periodic, np.abs(np.linalg.det(cells)), np.nan)
        return cls(
            numbers=torch.tensor(configurations.numbers, device=device),
            owner=torch.tensor(configurations.owner, device=device),
            pairs=torch.tensor(np.concatenate(pairs, axis=1), device=device),
            vectors=torch.tensor(np.concatenate(vectors), dtype=dtype, device=device),
            volumes=torch.tensor(volumes, dtype=dtype, device=device),
        )

    @property
    def distances(self) -> Float[Tensor, " edges"]:
        """Length of each edge in Å."""
        return self.vectors.norm(dim=1)

    def within(self, cutoff: float) -> "Graph":
        """Return the graph without the edges longer than ``cutoff`` (Å)."""
        near = self.distances < cutoff
        if bool(near.all()):
            return self
        return replace(self, pairs=self.pairs[:, near], vectors=self.vectors[near])

    def sum_over_neighbours(self, values: Float[Tensor, "edges ..."]) -> Float[Tensor, "atoms ..."]:
        """Sum values of edges at their central atoms."""
        zero = values.new_zeros(len(self.numbers), *values.shape[1:])
        return zero.index_add(0, self.pairs[0], values)

    def sum_over_atoms(self, values: Float[Tensor, "atoms ..."]) -> Float[Tensor, "structures ..."]:
        """Sum values of atoms over each structure."""
        zero = values.new_zeros(len(self.volumes), *values.shape[1:])
        return zero.index_add(0, self.owner, values)


def neighbours(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: np.ndarray,
    cutoff: float,
) -> tuple[Int[np.ndarray, "2 edges"], Int[np.ndarray, "edges 3"]]:
    """Return all ordered pairs within ``cutoff`` (Å), and the shift of the second in cells."""
    complete = complete_cell(cell, pbc)
    finder = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    i, j, shifts = finder.compute(positions, complete, list(map(bool, pbc)), "ijS")
    return np.stack([i, j]).astype(np.int64), shifts.astype(np.int64)


def edge_vectors(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pairs: Int[np.ndarray, "2 edges"],
    shifts: Int[np.ndarray, "edges 3"],
) -> Float[np.ndarray, "edges 3"]:
    """Return the vectors of edges from the positions that the atoms have now, in Å."""
    return positions[pairs[1]] - positions[pairs[0]] + shifts @ cell


def complete_cell(cell: Float[np.ndarray, "3 3"], pbc: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Return the cell with missing, non-periodic lattice vectors replaced by perpendicular ones."""
    for axis in range(3):
        if pbc[axis] and not cell[axis].any():
            raise ValueError(f"periodic along lattice vector {axis}, which is zero")
    kept = [axis for axis in range(3) if cell[axis].any()]
    if len(kept) == 3:
        return cell
    complete = np.array(cell, dtype=float)
    rest = [axis for axis in range(3) if axis not in kept]
    perpendicular = np.linalg.svd(complete[kept])[2][len(kept) :] if kept else np.eye(3)
    complete[rest] = perpendicular
    return complete
