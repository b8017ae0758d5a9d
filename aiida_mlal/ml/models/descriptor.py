"""Potentials that read the energy of an atom off a fixed description of its environment."""

from abc import abstractmethod
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential, Prediction, Prepared


class DescriptorPotential(Potential):
    """A description without weights, then a readout with weights.

    Descriptions and their derivatives do not change while weights are fitted, so training on
    fixed structures computes them once.
    """

    @abstractmethod
    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Describe each atom; what is returned for an atom depends on the edges that leave it."""

    @abstractmethod
    def readout(
        self, features: Float[Tensor, "atoms features"], species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""
        return self.readout(self.features(graph), self.species(graph.numbers))

    def prepare(self, graph: Graph) -> Prepared:
        """Compute the features and their derivatives once."""
        return Described.of(self, graph)


class Described(Prepared):
    r"""The features of fixed structures and all that follows from them linearly.

    With :math:`D_{ij,f} = \partial G_{if} / \partial r_{ij}` summed over the periodic images of
    neighbour :math:`j`, the derivative of the energy by the vector from :math:`i` to :math:`j` is
    :math:`\sum_f \partial E / \partial G_{if} D_{ij,f}`.
    """

    def __init__(
        self,
        graph: Graph,
        species: Int[Tensor, " atoms"],
        features: Float[Tensor, "atoms features"],
        jacobian: Float[Tensor, "pairs features 3"],
        virials: Float[Tensor, "atoms features 3 3"],
    ) -> None:
        super().__init__(graph)
        self.species = species
        self.features, self.jacobian, self.virials = features, jacobian, virials

    @classmethod
    def of(cls, model: DescriptorPotential, graph: Graph) -> "Described":
        """Describe a graph with the descriptor of ``model``."""
        with torch.enable_grad():
            graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
            features = model.features(graph)
            unit = torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
            jacobian = torch.autograd.grad(
                features.sum(0), graph.vectors, unit, is_grads_batched=True
            )[0].transpose(0, 1)  # (features, edges, 3) -> (edges, features, 3)
        graph = replace(graph, vectors=graph.vectors.detach())
        n_atoms = len(graph.numbers)
        virials = jacobian.new_zeros(n_atoms, features.shape[1], 3, 3).index_add(
            0, graph.pairs[0], graph.vectors[:, None, :, None] * jacobian[:, :, None, :]
        )
        key, index = (graph.pairs[0] * n_atoms + graph.pairs[1]).unique(return_inverse=True)
        merged = jacobian.new_zeros(len(key), *jacobian.shape[1:]).index_add(0, index, jacobian)
        graph = replace(
            graph,
            pairs=torch.stack([key // n_atoms, key % n_atoms]),
            vectors=merged.new_full((len(key), 3), torch.nan),
        )
        return cls(graph, model.species(graph.numbers), features.detach(), merged, virials)

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "Described":
        """Return some of the structures, which may repeat."""
        atoms = self.graph.atoms_of(structures)
        return Described(
            self.graph.take(structures),
            self.species[atoms],
            self.features[atoms],
            self.jacobian[self.graph.edges_of(structures)],
            self.virials[atoms],
        )

    def predict(self, potential: DescriptorPotential) -> Prediction:
        """Predict with the weights that the readout of ``potential`` has now."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            features = self.features.detach().requires_grad_()
            energies = self.graph.sum_over_atoms(potential.readout(features, self.species))
            slope = torch.autograd.grad(
                energies.sum(), features, create_graph=learning, materialize_grads=True
            )[0]
        centre, neighbour = self.graph.pairs
        gradient = torch.einsum("pf,pfx->px", slope[centre], self.jacobian)
        forces = gradient.new_zeros(len(self.species), 3)
        forces = forces.index_add(0, centre, gradient).index_add(0, neighbour, -gradient)
        virial = self.graph.sum_over_atoms(torch.einsum("af,afxy->axy", slope, self.virials))
        stresses = (virial + virial.transpose(1, 2)) / (2 * self.graph.volumes[:, None, None])
        prediction = Prediction(energies, forces, stresses)
        return prediction if learning else prediction.detach()
