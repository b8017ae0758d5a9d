"""Fixed structures for the training of Gaussian-moment networks on the CPU.

Forces are derivatives of the energy by hand, and so are those of a loss of energies and forces by
the weights: the energy and its derivative along a tangent of the edges go through the network
together, forwards and backwards. Invariants are made in double precision by kernels in numba, the
network has the precision of its weights.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml.fast.gather import from_edges
from aiida_mlal.ml.fast.gaussian_moments import Gaussians, Program, program
from aiida_mlal.ml.fast.gmnn_training import Described
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.backends import Backend
from aiida_mlal.ml.models.prediction import Prediction, forces_and_stresses
from aiida_mlal.ml.models.prepared import Prepared

if TYPE_CHECKING:
    from aiida_mlal.ml.models.gmnn import GMNN


PORTION = 256
"""Atoms that are predicted together when nothing is learned, so that slots stay in caches."""


class GMNNBackend(Backend):
    """Kernels for predictions, invariants and their derivatives."""

    name = "numba"
    potential: "GMNN"

    def interaction(self, graph: Graph) -> Prediction:
        """Predict without reference energies."""
        potential = self.potential
        energies, gradients = potential.kernel([potential]).of_edges(
            potential.species(graph.numbers).numpy(),
            graph.pairs.numpy(),
            graph.vectors.detach().double().numpy(),
        )
        energy = graph.sum_over_atoms(torch.from_numpy(energies[0]))
        gradient = torch.from_numpy(gradients[0]).to(potential.dtype)
        return Prediction(energy, *forces_and_stresses(graph, gradient))

    def prepare(self, graph: Graph) -> "PreparedGMNN":
        """Arrange the edges for the kernels."""
        return PreparedGMNN.of(self.potential, graph)

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Compute the invariants of each atom."""
        return self.prepare(graph).features(self.potential)

    def last_layer_tangents(
        self, graph: Graph, along: Float[Tensor, "directions edges 3"]
    ) -> Float[Tensor, "directions atoms weights"]:
        """Differentiate ``last_layer`` along displacements (Å) of the edges, layer by layer."""
        potential = self.potential
        with torch.no_grad():
            nodes, tangents = self.prepare(graph).tangents(potential, along)
            for layer in potential.layers[:-1]:
                before = layer(nodes)
                sigmoid = before.sigmoid()
                slope = layer.activation * sigmoid * (1 + before * (1 - sigmoid))
                tangents = slope * (layer.gain * (tangents @ layer.weight.T))
                nodes = layer.activation * before * sigmoid
            scale = potential.scale[potential.species(graph.numbers), None]
            return scale * potential.layers[-1].gain * tangents


class PreparedGMNN(Prepared):
    """Fixed structures, of which energies and forces can be differentiated by the weights once."""

    def __init__(
        self,
        graph: Graph,
        species: Int[Tensor, " atoms"],
        n_elements: int,
        gaussians: Gaussians,
        program: Program,
    ) -> None:
        super().__init__(graph)
        self.species, self.gaussians, self.program = species, gaussians, program
        self._n_elements = n_elements
        vectors = graph.vectors.detach().double().numpy()
        self.edges = from_edges(species.numpy(), graph.pairs.numpy(), vectors, n_elements)

    @classmethod
    def of(cls, potential: "GMNN", graph: Graph) -> "PreparedGMNN":
        """Prepare a graph for networks with the descriptor of a potential."""
        of = potential.descriptor
        options = of.options
        return cls(
            graph,
            potential.species(graph.numbers),
            len(potential.elements),
            Gaussians.of(of.cutoff, of.centres.double().numpy(), options.n_radial),
            program(options.n_radial, options.invariants),
        )

    def features(self, potential: "GMNN") -> Float[Tensor, "atoms features"]:
        """Compute the invariants of each atom, differentiable by the radial coefficients."""
        features: Tensor = _Features.apply(self, potential.descriptor.coefficients)
        return features

    def tangents(
        self, potential: "GMNN", along: Float[Tensor, "directions edges 3"]
    ) -> tuple[Float[Tensor, "atoms features"], Float[Tensor, "directions atoms features"]]:
        """Compute invariants, and their derivatives along displacements (Å) of the edges."""
        described = self.described(potential.descriptor.coefficients)
        n = len(self.species)
        moved = [described.tangents(direction)[:, :n].T for direction in along.double().numpy()]
        features = torch.from_numpy(described.features[:, :n].T)
        return features.to(potential.dtype), torch.from_numpy(np.stack(moved)).to(potential.dtype)

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "PreparedGMNN":
        """Return some of the structures, which may repeat."""
        species = self.species[self.graph.atoms_of(structures)]
        graph = self.graph.take(structures)
        return PreparedGMNN(graph, species, self._n_elements, self.gaussians, self.program)

    def described(self, coefficients: Tensor) -> Described:
        """Compute the invariants with coefficients, in double precision."""
        values = coefficients.detach().double().numpy()
        return Described(self.edges, self.gaussians, self.program, values)

    def predict(self, potential: "GMNN") -> Prediction:
        """Predict with the weights that ``potential`` has now."""
        portions = self._portions()
        if not torch.is_grad_enabled() and len(portions) > 1:
            said = [self.take(portion).predict(potential) for portion in portions]
            return Prediction(
                torch.cat([part.energies for part in said]),
                torch.cat([part.forces for part in said]),
                torch.cat([part.stresses for part in said]),
            )
        gains = [Gains(layer.gain, layer.bias_gain, layer.activation) for layer in potential.layers]
        weights = [w for layer in potential.layers for w in (layer.weight, layer.bias)]
        coefficients = potential.descriptor.coefficients
        energies, gradient = _Predict.apply(
            self, gains, coefficients, potential.scale, potential.shift, *weights
        )
        energies = self.graph.sum_over_atoms(energies)
        return Prediction(energies, *forces_and_stresses(self.graph, gradient))

    def energies(self, potential: "GMNN") -> Float[Tensor, " structures"]:
        """Return the energies (eV) alone."""
        portions = self._portions()
        if not torch.is_grad_enabled() and len(portions) > 1:
            return torch.cat([self.take(portion).energies(potential) for portion in portions])
        return self.graph.sum_over_atoms(potential.read(self.features(potential), self.species))

    def _portions(self) -> list[np.ndarray]:
        """Divide the structures into successive groups of about PORTION atoms."""
        counts = self.graph.counts.numpy()
        portion = (np.cumsum(counts) - 1) // PORTION
        return np.split(np.arange(len(counts)), np.flatnonzero(np.diff(portion)) + 1)

    def derivatives(
        self, potential: "GMNN", weights: Sequence[nn.Parameter] | None = None
    ) -> Prediction:
        """Return the derivatives of the prediction by each weight, by the model in torch."""
        return Prepared(self.graph).derivatives(potential, weights)


class _Features(torch.autograd.Function):
    """Invariants of atoms, which can be differentiated by the coefficients once."""

    @staticmethod
    def forward(ctx: Any, prepared: PreparedGMNN, coefficients: Tensor) -> Tensor:
        described = prepared.described(coefficients)
        ctx.described, ctx.n_atoms = described, len(prepared.species)
        return _tensor(described.features[:, : ctx.n_atoms].T, coefficients)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_features: Tensor) -> tuple[Tensor | None, ...]:
        adjoints = np.zeros_like(ctx.described.features)
        adjoints[:, : ctx.n_atoms] = by_features.T.numpy()
        return None, _tensor(ctx.described.by_coefficients(adjoints), by_features)


class Gains(NamedTuple):
    """Factors of the weights, of the biases and of the activation of a layer."""

    weight: float
    bias: float
    activation: float


class _Predict(torch.autograd.Function):
    """Energies of atoms and their derivatives by the edges."""

    @staticmethod
    def forward(
        ctx: Any,
        prepared: PreparedGMNN,
        gains: Sequence[Gains],
        coefficients: Tensor,
        scale: Tensor,
        shift: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        described = prepared.described(coefficients)
        network = _Network(gains, weights[::2], weights[1::2])
        outputs = network.outputs(_tensor(described.features, scale))
        species, n_atoms = prepared.species, len(prepared.species)
        output, own_scale = outputs[0, :n_atoms], scale[species]
        start = torch.zeros_like(outputs)
        start[0, :n_atoms] = own_scale
        gradient = described.gradients(_array(network.adjoints(start)))
        ctx.described, ctx.network, ctx.species = described, network, species
        ctx.output, ctx.scale = output, scale
        return own_scale * output + shift[species], _tensor(gradient, scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_energies: Tensor, along: Tensor) -> tuple[Tensor | None, ...]:
        described, network, species, scale = ctx.described, ctx.network, ctx.species, ctx.scale
        n_atoms = len(species)
        tangents = network.tangents(_tensor(described.tangents(_array(along)), scale))
        start = torch.zeros_like(tangents)
        start[0, :n_atoms] = by_energies * scale[species]
        by_features, weights = network.gradients(start)
        coefficients = described.by_coefficients_along(_array(by_features))
        by_scale = by_energies * ctx.output + tangents[0, :n_atoms]
        zero = torch.zeros_like(scale)
        return (
            None,
            None,
            _tensor(coefficients, scale),
            zero.index_add(0, species, by_scale),
            zero.index_add(0, species, by_energies),
            *weights,
        )


class _Network:
    """A network passed forwards and backwards, first itself, then along a tangent of its inputs.

    Nodes are rows, atoms are columns. Each pass keeps what the next needs.
    """

    def __init__(
        self, gains: Sequence[Gains], weights: Sequence[Tensor], biases: Sequence[Tensor]
    ) -> None:
        self._gains, self._weights, self._biases = gains, weights, biases

    def outputs(self, nodes: Float[Tensor, "inputs atoms"]) -> Float[Tensor, "outputs atoms"]:
        """Compute the outputs."""
        self._nodes, self._before, self._logistic, self._slopes = [nodes], [], [], []
        for gain, weight, bias in zip(self._gains, self._weights, self._biases):
            before = torch.addmm(
                bias[:, None], weight, self._nodes[-1], beta=gain.bias, alpha=gain.weight
            )
            self._before.append(before)
            if len(self._before) < len(self._gains):
                logistic = before.sigmoid()
                silu = before * logistic
                self._logistic.append(logistic)
                self._slopes.append(gain.activation * (logistic + silu * (1 - logistic)))
                self._nodes.append(gain.activation * silu)
        return self._before[-1]

    def adjoints(self, start: Float[Tensor, "outputs atoms"]) -> Float[Tensor, "inputs atoms"]:
        """Back-propagate dE/d(outputs) to the inputs."""
        self._adjoints: list[Tensor] = [start]
        self._inward: list[Tensor] = []
        for layer in range(len(self._gains) - 1, -1, -1):
            self._inward.insert(0, self._into(layer, self._adjoints[0]))
            if layer:
                self._adjoints.insert(0, self._inward[0] * self._slopes[layer - 1])
        return self._inward[0]

    def tangents(self, start: Float[Tensor, "inputs atoms"]) -> Float[Tensor, "outputs atoms"]:
        """Propagate tangents of the inputs to the outputs, after ``adjoints``."""
        self._tangents, self._before_tangents = [start], []
        for layer, (gain, weight) in enumerate(zip(self._gains, self._weights)):
            self._before_tangents.append(gain.weight * (weight @ self._tangents[-1]))
            if layer < len(self._gains) - 1:
                self._tangents.append(self._before_tangents[-1] * self._slopes[layer])
        return self._before_tangents[-1]

    def gradients(
        self, start: Float[Tensor, "outputs atoms"]
    ) -> tuple[Float[Tensor, "inputs atoms"], list[Tensor]]:
        """Back-propagate a loss L to the inputs and, in turns, to weights and biases.

        After ``tangents``. L has the derivatives ``start`` by the outputs and, by their tangents,
        those that ``adjoints`` was given.
        """
        by_weights: list[Tensor] = []
        adjoints = start
        for layer in range(len(self._gains) - 1, -1, -1):
            gain = self._gains[layer]
            weights = adjoints @ self._nodes[layer].T
            weights.addmm_(self._adjoints[layer], self._tangents[layer].T)
            by_weights = [weights.mul_(gain.weight), gain.bias * adjoints.sum(1), *by_weights]
            adjoints = self._into(layer, adjoints)
            if layer:
                bend = self._curvature(layer - 1) * self._before_tangents[layer - 1]
                adjoints = adjoints * self._slopes[layer - 1] + bend * self._inward[layer]
        return adjoints, by_weights

    def _into(self, layer: int, adjoints: Tensor) -> Tensor:
        return self._gains[layer].weight * (self._weights[layer].T @ adjoints)

    def _curvature(self, layer: int) -> Tensor:
        """Return the second derivative of the activation behind a layer."""
        s, x = self._logistic[layer], self._before[layer]
        return self._gains[layer].activation * s * (1 - s) * (2 + x * (1 - 2 * s))


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.dtype)


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.double().contiguous().numpy()
    return array
