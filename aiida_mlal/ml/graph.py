"""Neighbour lists: what a potential sees of a batch of structures."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
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
