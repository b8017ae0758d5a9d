"""Energies, forces and stresses that a potential predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.graph import Graph


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energies, forces and stresses; those of a committee have a leading axis ``members``.

    Attributes
    ----------
    energies
        In eV, one for each structure.
    forces
        In eV/Å, one vector for each atom.
    stresses
        In eV/Å³, positive in tension; NaN for structures not periodic in all directions.
    """

    energies: Float[Tensor, "*members structures"]
    forces: Float[Tensor, "*members atoms 3"]
    stresses: Float[Tensor, "*members structures 3 3"]

    def __add__(self, other: "Prediction") -> "Prediction":
        """Add two predictions; a single one is added to each member of a committee."""
        return Prediction(
            self.energies + other.energies,
            self.forces + other.forces,
            self.stresses + other.stresses,
        )

    def mean(self) -> "Prediction":
        """Return the mean over the members of a committee."""
        return Prediction(self.energies.mean(0), self.forces.mean(0), self.stresses.mean(0))

    def detach(self) -> "Prediction":
        """Detach the values from the computational graph."""
        return Prediction(self.energies.detach(), self.forces.detach(), self.stresses.detach())

    def take(self, graph: Graph, structures: Int[np.ndarray, " chosen"]) -> "Prediction":
        """Select structures of ``graph``, which may repeat."""
        return Prediction(
            self.energies[..., structures],
            self.forces[..., graph.atoms_of(structures), :],
            self.stresses[..., structures, :, :],
        )

    @staticmethod
    def stack(predictions: Sequence["Prediction"]) -> "Prediction":
        """Join the predictions of single models to those of a committee."""
        return Prediction(
            torch.stack([p.energies for p in predictions]),
            torch.stack([p.forces for p in predictions]),
            torch.stack([p.stresses for p in predictions]),
        )


def forces_and_stresses(
    graph: Graph, gradient: Float[Tensor, "edges 3"]
) -> tuple[Float[Tensor, "atoms 3"], Float[Tensor, "structures 3 3"]]:
    """Compute forces (eV/Å) and stresses (eV/Å³) from dE/dr of each edge (eV/Å)."""
    centre, neighbour = graph.pairs
    forces = gradient.new_zeros(len(graph.numbers), 3)
    forces = forces.index_add(0, centre, gradient).index_add(0, neighbour, -gradient)
    virial = gradient.new_zeros(len(graph.volumes), 3, 3).index_add(
        0, graph.owner[centre], graph.vectors[:, :, None] * gradient[:, None, :]
    )
    return forces, stresses_of(virial, graph.volumes)


def stresses_of(
    virials: Float[Tensor, "... structures 3 3"], volumes: Float[Tensor, " structures"]
) -> Float[Tensor, "... structures 3 3"]:
    """Compute stresses (eV/Å³) from virials (eV); NaN where there is no volume.

    A NaN that no loss looks at leaves the derivatives of the others finite.
    """
    nowhere = volumes.isnan()
    twice = 2 * volumes.masked_fill(nowhere, 1.0)[:, None, None]
    stresses = (virials + virials.transpose(-1, -2)) / twice
    return stresses.masked_fill(nowhere[:, None, None], torch.nan)
