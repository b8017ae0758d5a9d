"""Neighbour lists: what a potential sees of a batch of structures."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import edge_vectors, neighbours


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
    shifts
        How many lattice vectors the image of the neighbour is away from the neighbour.
    positions
        Cartesian coordinates of each atom, in Å.
    cells
        Lattice vectors of each structure as rows, in Å; a row of zeros where there is none.
    pbc
        Along which lattice vectors each structure is periodic.
    volumes
        Volume of the cell of each structure in Å³; NaN where it is not periodic in all directions.

    Notes
    -----
    Local models differentiate by ``vectors`` alone, which are
    ``positions[j] - positions[i] + shifts @ cell``. What is not a sum over neighbours, such as an
    energy from another code, reads positions and cells.
    """

    numbers: Int[Tensor, " atoms"]
    owner: Int[Tensor, " atoms"]
    pairs: Int[Tensor, "2 edges"]
    vectors: Float[Tensor, "edges 3"]
    shifts: Int[Tensor, "edges 3"]
    positions: Float[Tensor, "atoms 3"]
    cells: Float[Tensor, "structures 3 3"]
    pbc: Bool[Tensor, "structures 3"]
    volumes: Float[Tensor, " structures"]

    @classmethod
    def of(
        cls,
        configurations: Configurations,
        cutoff: float,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> "Graph":
        """Return the graph of all pairs closer than ``cutoff`` (Å), periodic images included.

        A position or cell that is not finite raises ``ValueError``.
        """
        configurations.check_geometry()
        pairs, vectors = [np.zeros((2, 0), int)], [np.zeros((0, 3))]
        shifts = [np.zeros((0, 3), int)]
        for i in range(len(configurations)):
            atoms = slice(configurations.offsets[i], configurations.offsets[i + 1])
            edges, images = neighbours(
                configurations.positions[atoms],
                configurations.cells[i],
                configurations.pbc[i],
                cutoff,
            )
            pairs.append(edges + configurations.offsets[i])
            shifts.append(images)
            vectors.append(
                edge_vectors(
                    configurations.positions[atoms], configurations.cells[i], edges, images
                )
            )
        cells, periodic = configurations.cells, configurations.pbc.all(axis=1)
        volumes = np.where(periodic, np.abs(np.linalg.det(cells)), np.nan)
        return cls(
            numbers=torch.tensor(configurations.numbers, device=device),
            owner=torch.tensor(configurations.owner, device=device),
            pairs=torch.tensor(np.concatenate(pairs, axis=1), device=device),
            vectors=torch.tensor(np.concatenate(vectors), dtype=dtype, device=device),
            shifts=torch.tensor(np.concatenate(shifts), device=device),
            positions=torch.tensor(configurations.positions, device=device),
            cells=torch.tensor(cells, device=device),
            pbc=torch.tensor(configurations.pbc, device=device),
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
        return replace(
            self, pairs=self.pairs[:, near], vectors=self.vectors[near], shifts=self.shifts[near]
        )

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "Graph":
        """Return the graph of some of the structures, which may repeat."""
        atoms, edges = self.atoms_of(structures), self.edges_of(structures)
        index = torch.as_tensor(structures, device=atoms.device)
        counts, n_edges = self.counts[index], self._edge_counts[index]
        moved = (counts.cumsum(0) - counts) - (self.counts.cumsum(0) - self.counts)[index]
        return Graph(
            numbers=self.numbers[atoms],
            owner=torch.arange(len(index), device=atoms.device).repeat_interleave(counts),
            pairs=self.pairs[:, edges] + moved.repeat_interleave(n_edges),
            vectors=self.vectors[edges],
            shifts=self.shifts[edges],
            positions=self.positions[atoms],
            cells=self.cells[index],
            pbc=self.pbc[index],
            volumes=self.volumes[index],
        )

    def atoms_of(self, structures: Int[np.ndarray, " chosen"]) -> Int[Tensor, " atoms"]:
        """Return the indices of the atoms of some structures, one structure after the other."""
        return _ranges(self.counts, structures)

    def edges_of(self, structures: Int[np.ndarray, " chosen"]) -> Int[Tensor, " edges"]:
        """Return the indices of the edges of some structures, one structure after the other."""
        return _ranges(self._edge_counts, structures)

    @cached_property
    def counts(self) -> Int[Tensor, " structures"]:
        """How many atoms each structure has."""
        return torch.bincount(self.owner, minlength=len(self.volumes))

    @cached_property
    def _edge_counts(self) -> Int[Tensor, " structures"]:
        return torch.bincount(self.owner[self.pairs[0]], minlength=len(self.volumes))

    def sum_over_neighbours(self, values: Float[Tensor, "edges ..."]) -> Float[Tensor, "atoms ..."]:
        """Sum values of edges at their central atoms."""
        zero = values.new_zeros(len(self.numbers), *values.shape[1:])
        return zero.index_add(0, self.pairs[0], values)

    def sum_over_atoms(self, values: Float[Tensor, "atoms ..."]) -> Float[Tensor, "structures ..."]:
        """Sum values of atoms over each structure."""
        zero = values.new_zeros(len(self.volumes), *values.shape[1:])
        return zero.index_add(0, self.owner, values)


def _ranges(counts: Tensor, which: np.ndarray) -> Tensor:
    """Return the members of some of the groups that stand one after the other."""
    index = torch.as_tensor(which, device=counts.device)
    chosen = counts[index]
    start = (counts.cumsum(0) - counts)[index] - (chosen.cumsum(0) - chosen)
    return torch.arange(int(chosen.sum()), device=counts.device) + start.repeat_interleave(chosen)
