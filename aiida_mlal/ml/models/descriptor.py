"""Potentials that read the energy of an atom off a fixed description of its environment."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import (
    Potential,
    Prediction,
    Prepared,
    forces_and_stresses,
    stresses_of,
)


class DescriptorPotential(Potential):
    """A description without weights, then a readout with weights for each element.

    Descriptions and their derivatives do not change while weights are fitted, so training on
    fixed structures computes them once.
    """

    @abstractmethod
    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Describe each atom; what is returned for an atom depends on the edges that leave it."""

    @abstractmethod
    def readout(
        self, features: Float[Tensor, "... features"], element: int
    ) -> Float[Tensor, " ..."]:
        """Return the energy in eV of atoms of one element, given by its row in the tables."""

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""
        return self.read(self.features(graph), self.species(graph.numbers))

    def read(
        self, features: Float[Tensor, "atoms features"], species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV from its features."""
        energies = features.new_zeros(len(species))
        for element in range(len(self.elements)):
            mine = torch.nonzero(species == element)[:, 0]
            energies = energies.index_copy(0, mine, self.readout(features[mine], element))
        return energies

    def describes_like(self, other: Potential) -> bool:
        """Return whether another potential of the same elements has the same features."""
        return False

    @classmethod
    def together(cls, members: Sequence[Potential], graph: Graph) -> Prediction:
        """Predict with several potentials: if they have the same features, these only once."""
        first = members[0]
        alike = [
            member
            for member in members
            if isinstance(member, DescriptorPotential) and member.describes_like(first)
        ]
        if not isinstance(first, DescriptorPotential) or len(alike) < len(members):
            return super().together(members, graph)
        weights = [w for member in members for w in member.parameters()]
        learning = torch.is_grad_enabled() and any(w.requires_grad for w in weights)
        with torch.enable_grad():
            graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
            features = first.features(graph)
            given = features.detach().requires_grad_()
            species = first.species(graph.numbers)
            energies = [member.read(given, species) for member in alike]
            slopes = [
                torch.autograd.grad(
                    mine.sum(), given, create_graph=learning, materialize_grads=True
                )[0]
                for mine in energies
            ]
            gradients = [
                torch.autograd.grad(
                    features,
                    graph.vectors,
                    slope,
                    retain_graph=True,
                    create_graph=learning,
                    materialize_grads=True,
                )[0]
                for slope in slopes
            ]
        graph = replace(graph, vectors=graph.vectors.detach())
        parts = [
            (graph.sum_over_atoms(mine), *forces_and_stresses(graph, gradient))
            for mine, gradient in zip(energies, gradients)
        ]
        prediction = Prediction(*(torch.stack(values) for values in zip(*parts)))
        return prediction if learning else prediction.detach()

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
    def of(cls, potential: DescriptorPotential, graph: Graph) -> "Described":
        """Describe a graph with the descriptor of a potential."""
        with torch.enable_grad():
            graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
            features = potential.features(graph)
            unit = torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
            jacobian = torch.autograd.grad(
                features.sum(0),
                graph.vectors,
                unit,
                is_grads_batched=True,
                materialize_grads=True,
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
        species = potential.species(graph.numbers)
        return cls(graph, species, features.detach(), merged, virials)

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
            energies = potential.read(features, self.species)
            slopes = torch.autograd.grad(
                energies.sum(), features, create_graph=learning, materialize_grads=True
            )[0]
        prediction = self._linear(energies, slopes)
        return prediction if learning else prediction.detach()

    def derivatives(
        self, potential: DescriptorPotential, weights: Sequence[nn.Parameter] | None = None
    ) -> Prediction:
        """Return the derivatives of the prediction by each weight, along a leading axis."""
        energies, slopes = readout_derivatives(potential, self.features, self.species, weights)
        n = len(energies)
        forces = energies.new_zeros(n, len(self.species), 3)
        virials = energies.new_zeros(n, len(self.graph.volumes), 3, 3)
        start = 0
        for structure, count in enumerate(self.graph.counts.tolist()):
            atoms = slice(start, start + count)
            flat = slopes[:, atoms].reshape(n, -1)
            forces[:, atoms] = (flat @ self._force_matrix(structure, atoms)).reshape(n, -1, 3)
            virials[:, structure] = (flat @ self.virials[atoms].reshape(-1, 9)).reshape(n, 3, 3)
            start += count
        summed = vmap(self.graph.sum_over_atoms)(energies)
        return Prediction(summed, forces, stresses_of(virials, self.graph.volumes))

    def _force_matrix(self, structure: int, atoms: slice) -> Float[Tensor, "slopes components"]:
        """Return the linear map from the slopes of one structure to its forces."""
        edges = self.graph.edges_of(np.array([structure]))
        centre, neighbour = self.graph.pairs[:, edges] - atoms.start
        n_atoms, n_features = atoms.stop - atoms.start, self.features.shape[1]
        matrix = self.features.new_zeros(n_atoms, n_atoms, n_features, 3)
        matrix.index_put_((centre, centre), self.jacobian[edges], accumulate=True)
        matrix.index_put_((centre, neighbour), -self.jacobian[edges], accumulate=True)
        return matrix.transpose(1, 2).reshape(n_atoms * n_features, n_atoms * 3)

    def _linear(
        self, energies: Float[Tensor, " atoms"], slopes: Float[Tensor, "atoms features"]
    ) -> Prediction:
        """Return what follows from atomic energies and their derivatives by the features."""
        centre, neighbour = self.graph.pairs
        gradient = torch.einsum("pf,pfx->px", slopes[centre], self.jacobian)
        forces = gradient.new_zeros(len(self.species), 3)
        forces = forces.index_add(0, centre, gradient).index_add(0, neighbour, -gradient)
        virial = self.graph.sum_over_atoms(torch.einsum("af,afxy->axy", slopes, self.virials))
        return Prediction(
            self.graph.sum_over_atoms(energies), forces, stresses_of(virial, self.graph.volumes)
        )


class _Readout(nn.Module):
    """The readout as a module, so that its weights can be replaced."""

    def __init__(self, potential: DescriptorPotential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, features: Tensor, element: int) -> Tensor:
        return self.potential.readout(features, element)


def readout_derivatives(
    potential: DescriptorPotential,
    features: Float[Tensor, "atoms features"],
    species: Int[Tensor, " atoms"],
    chosen: Sequence[nn.Parameter] | None = None,
) -> tuple[Float[Tensor, "weights atoms"], Float[Tensor, "weights atoms features"]]:
    """Return derivatives of atomic energies, and of their slopes by the features, by each weight.

    Weights stand in the order of ``potential.parameters()``, those that are fixed left out, or
    they are only those ``chosen``.
    """
    readout = _Readout(potential)
    named = {k: w for k, w in readout.named_parameters() if w.requires_grad}
    if chosen is None:
        weights = named
    else:
        names = {id(w): k for k, w in named.items()}
        weights = {names[id(w)]: w for w in chosen}
    sizes = [w.numel() for w in weights.values()]
    n_atoms, n_features = features.shape
    energies = features.new_zeros(sum(sizes), n_atoms)
    slopes = features.new_zeros(sum(sizes), n_atoms, n_features)
    for element in range(len(potential.elements)):
        mine = torch.nonzero(species == element)[:, 0]
        if not len(mine):
            continue
        with torch.enable_grad():
            probe = readout(features[mine[:1]], element).sum()
        moved = torch.autograd.grad(probe, list(weights.values()), allow_unused=True)
        used = {k: w.detach() for (k, w), g in zip(weights.items(), moved) if g is not None}

        def energy(x: Tensor, w: dict[str, Tensor], element: int = element) -> Tensor:
            return functional_call(readout, w, (x, element))

        def both(w: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.cat([energy(x, w)[None], grad(energy)(x, w)])

        found = vmap(jacrev(both), (None, 0))(used, features[mine])
        start = 0
        for name, size in zip(weights, sizes):
            if name in used:
                rows = found[name].reshape(len(mine), 1 + n_features, size).permute(2, 0, 1)
                energies[start : start + size, mine] = rows[:, :, 0]
                slopes[start : start + size, mine] = rows[:, :, 1:]
            start += size
    return energies, slopes
