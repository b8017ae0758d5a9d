"""Potentials that read the energy of an atom off a fixed description of its environment."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential, learning
from aiida_mlal.ml.models.capabilities import HasDescriptors
from aiida_mlal.ml.models.prediction import Prediction, forces_and_stresses, stresses_of
from aiida_mlal.ml.models.prepared import Prepared

LARGEST = 2**24
"""Most numbers in a map from dE/dG to forces (128 MiB in float64)."""


class DescriptorPotential(Potential, HasDescriptors):
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

    def readout_derivatives(
        self,
        features: Float[Tensor, "structures atoms features"],
        along: Float[Tensor, "structures components atoms features"],
        element: int,
    ) -> dict[nn.Parameter, tuple[Float[Tensor, "structures ..."], Float[Tensor, "..."]]]:
        r"""Differentiate the readout of atoms of one element by each weight that takes part in it.

        Return, for each weight (``...`` is its shape), the derivatives of the sum of the energies
        of each structure (structures x ...), and those of the slopes of this sum along each
        direction, :math:`\sum_{if} T_{c,if}\, \partial E / \partial G_{if}` (structures x
        components x ...).
        """
        readout = _Readout(self)
        weights = dict(readout.named_parameters())
        values = {name: weight.detach() for name, weight in weights.items()}

        def energy(values: dict[str, Tensor], features: Tensor) -> Tensor:
            return functional_call(readout, values, (features, element)).sum()

        def slope(values: dict[str, Tensor], features: Tensor, along: Tensor) -> Tensor:
            return (grad(energy, 1)(values, features) * along).sum()

        of_energy = vmap(grad(energy), (None, 0))(values, features)
        by_component = vmap(grad(slope), (None, None, 0))
        of_slopes = vmap(by_component, (None, 0, 0))(values, features, along)
        return {weight: (of_energy[name], of_slopes[name]) for name, weight in weights.items()}

    def describes_like(self, other: Potential) -> bool:
        """Tell if another potential of the same elements has the same features."""
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
        differentiable = learning(members)
        with torch.enable_grad():
            graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
            features = first.features(graph)
            given = features.detach().requires_grad_()
            species = first.species(graph.numbers)
            energies = [member.read(given, species) for member in alike]
            slopes = [
                torch.autograd.grad(
                    mine.sum(), given, create_graph=differentiable, materialize_grads=True
                )[0]
                for mine in energies
            ]
            gradients = [
                torch.autograd.grad(
                    features,
                    graph.vectors,
                    slope,
                    retain_graph=True,
                    create_graph=differentiable,
                    materialize_grads=True,
                )[0]
                for slope in slopes
            ]
        graph = replace(graph, vectors=graph.vectors.detach())
        parts = [
            (
                member.absolute(graph, graph.sum_over_atoms(mine.double())),
                *forces_and_stresses(graph, gradient),
            )
            for member, mine, gradient in zip(alike, energies, gradients)
        ]
        prediction = Prediction(*(torch.stack(values) for values in zip(*parts)))
        return prediction if differentiable else prediction.detach()

    def prepare_in_torch(self, graph: Graph) -> "Described":
        """Compute the features and their derivatives once."""
        return Described.of(self, graph)


class Described(Prepared):
    r"""The features of fixed structures and all that follows from them linearly.

    With :math:`D_{ij,f} = \partial G_{if} / \partial r_{ij}` summed over the periodic images of
    neighbour :math:`j`, the derivative of the energy by the vector from :math:`i` to :math:`j` is
    :math:`\sum_f \partial E / \partial G_{if} D_{ij,f}`. ``squares`` are those of the derivatives
    by each vector, summed over all neighbours and images of an atom.
    """

    def __init__(
        self,
        graph: Graph,
        species: Int[Tensor, " atoms"],
        features: Float[Tensor, "atoms features"],
        jacobian: Float[Tensor, "pairs features 3"],
        virials: Float[Tensor, "atoms features 3 3"],
        squares: Float[Tensor, "atoms features"],
    ) -> None:
        super().__init__(graph)
        self.species, self.features = species, features
        self.jacobian, self.virials, self.squares = jacobian, virials, squares

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
        squares = torch.zeros_like(features.detach()).index_add(
            0, graph.pairs[0], jacobian.square().sum(2)
        )
        joined, index = without_images(graph)
        merged = jacobian.new_zeros(len(joined.shifts), *jacobian.shape[1:])
        merged = merged.index_add(0, index, jacobian)
        species = potential.species(graph.numbers)
        return cls(joined, species, features.detach(), merged, virials, squares)

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "Described":
        """Select structures, which may repeat."""
        atoms = self.graph.atoms_of(structures)
        return Described(
            self.graph.take(structures),
            self.species[atoms],
            self.features[atoms],
            self.jacobian[self.graph.edges_of(structures)],
            self.virials[atoms],
            self.squares[atoms],
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

    def energies(self, potential: DescriptorPotential) -> Float[Tensor, " structures"]:
        """Return the energies (eV) alone."""
        return self.graph.sum_over_atoms(potential.read(self.features, self.species))

    def derivatives(
        self, potential: DescriptorPotential, weights: Sequence[nn.Parameter] | None = None
    ) -> Prediction:
        r"""Differentiate the prediction by each weight, along a leading axis.

        With :math:`T_k` what a component of a force, or of a virial, takes from the slopes
        :math:`\partial E / \partial G`, its derivative by a weight is that of the slope of the
        energy along :math:`T_k`.
        """
        if weights is None:
            weights = [w for w in potential.parameters() if w.requires_grad]
        n = sum(w.numel() for w in weights)
        energies = self.features.new_zeros(len(self.graph.volumes), n)
        forces = self.features.new_zeros(len(self.species), 3, n)
        virials = self.features.new_zeros(len(self.graph.volumes), 3, 3, n)
        for structures, atoms in self.alike():
            maps = self.maps(structures, atoms)
            kinds = self.species[atoms[0]]
            of_energy = self.features.new_zeros(len(structures), n)
            of_slopes = self.features.new_zeros(len(structures), maps.shape[1], n)
            for element in kinds.unique().tolist():
                mine = torch.nonzero(kinds == element)[:, 0]
                by_weight = potential.readout_derivatives(
                    self.features[atoms[:, mine]], maps[:, :, mine], element
                )
                column = 0
                for weight in weights:
                    here = slice(column, column := column + weight.numel())
                    if weight in by_weight:
                        by_energy, by_slopes = by_weight[weight]
                        of_energy[:, here] += by_energy.reshape(len(structures), -1)
                        of_slopes[..., here] += by_slopes.reshape(*maps.shape[:2], -1)
            energies[structures] = of_energy
            forces[atoms] = of_slopes[:, :-9].reshape(*atoms.shape, 3, n)
            virials[structures] = of_slopes[:, -9:].reshape(len(structures), 3, 3, n)
        virials = virials.movedim(-1, 0)
        stresses = stresses_of(virials, self.graph.volumes)
        return Prediction(energies.T, forces.movedim(-1, 0), stresses)

    def alike(self) -> Iterator[tuple[Int[Tensor, " alike"], Int[Tensor, "alike atoms"]]]:
        """Yield structures of one composition, and their atoms in the order of their elements."""
        counts = self.graph.counts.tolist()
        groups: dict[tuple[int, ...], list[int]] = {}
        atoms, start = [], 0
        for structure, mine in enumerate(self.species.split(counts)):
            kinds, order = mine.sort(stable=True)
            if len(mine):
                groups.setdefault(tuple(kinds.tolist()), []).append(structure)
            atoms.append(start + order)
            start += len(mine)
        for kinds, members in groups.items():
            size = len(kinds) * (3 * len(kinds) + 9) * self.features.shape[1]
            for some in torch.tensor(members).split(max(1, LARGEST // size)):
                yield some.to(self.species.device), torch.stack([atoms[i] for i in some.tolist()])

    def maps(
        self, structures: Int[Tensor, " alike"], atoms: Int[Tensor, "alike atoms"]
    ) -> Float[Tensor, "alike components atoms features"]:
        """Make the linear map from dE/dG to forces and virials, of structures of one size."""
        n, n_atoms = atoms.shape
        edges = self.graph.edges_of(structures.numpy(force=True))
        centre, neighbour = self.graph.pairs[:, edges]
        row = self.features.new_zeros(len(self.species), dtype=torch.long)
        row[atoms] = torch.arange(n_atoms, device=row.device)
        of = torch.empty_like(row)
        of[atoms] = torch.arange(n, device=row.device)[:, None].expand_as(atoms)
        by_force = self.features.new_zeros(n, n_atoms, n_atoms, self.features.shape[1], 3)
        of, at, near = of[centre], row[centre], row[neighbour]
        by_force.index_put_((of, at, at), self.jacobian[edges], accumulate=True)
        by_force.index_put_((of, near, at), -self.jacobian[edges], accumulate=True)
        by_force = by_force.permute(0, 1, 4, 2, 3).flatten(1, 2)
        by_virial = self.virials[atoms].flatten(-2).permute(0, 3, 1, 2)
        return torch.cat([by_force, by_virial], dim=1)

    def _linear(
        self, energies: Float[Tensor, " atoms"], slopes: Float[Tensor, "atoms features"]
    ) -> Prediction:
        """Predict from atomic energies (eV) and their derivatives dE/dG by the features."""
        centre, neighbour = self.graph.pairs
        gradient = torch.einsum("pf,pfx->px", slopes[centre], self.jacobian)
        forces = gradient.new_zeros(len(self.species), 3)
        forces = forces.index_add(0, centre, gradient).index_add(0, neighbour, -gradient)
        virial = self.graph.sum_over_atoms(torch.einsum("af,afxy->axy", slopes, self.virials))
        return Prediction(
            self.graph.sum_over_atoms(energies), forces, stresses_of(virial, self.graph.volumes)
        )


def without_images(graph: Graph) -> tuple[Graph, Int[Tensor, " edges"]]:
    """Merge the edges to periodic images: one for each pair of atoms; and the index of each edge.

    An edge may stand for several images, so that its vector is unknown.
    """
    n_atoms = len(graph.numbers)
    key, index = (graph.pairs[0] * n_atoms + graph.pairs[1]).unique(return_inverse=True)
    joined = replace(
        graph,
        pairs=torch.stack([key // n_atoms, key % n_atoms]),
        vectors=graph.vectors.new_full((len(key), 3), torch.nan),
        shifts=key.new_zeros(len(key), 3),
    )
    return joined, index


class _Readout(nn.Module):
    """The readout as a module, so that its weights can be replaced."""

    def __init__(self, potential: DescriptorPotential) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, features: Tensor, element: int) -> Tensor:
        return self.potential.readout(features, element)
