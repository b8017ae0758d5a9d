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

from aiida_mlal.ml.fast.gaussian_moments import Program, Radial, program
from aiida_mlal.ml.fast.gmnn_training import Described, Edges
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import Prediction, forces_and_stresses
from aiida_mlal.ml.models.prepared import Prepared

if TYPE_CHECKING:
    from aiida_mlal.ml.models.gmnn import GMNN


PORTION = 256
"""Atoms that are predicted together when nothing is learned."""


class PreparedGMNN(Prepared):
    """Fixed structures, of which energies and forces can be differentiated by the weights once."""

    def __init__(
        self, graph: Graph, species: Int[Tensor, " atoms"], radial: Radial, program: Program
    ) -> None:
        super().__init__(graph)
        self.species, self.radial, self.program = species, radial, program
        begin = torch.searchsorted(graph.pairs[0], torch.arange(len(species) + 1))
        self.edges = Edges(
            species.numpy(),
            begin.numpy(),
            species[graph.pairs[1]].numpy(),
            graph.vectors.detach().double().numpy(),
        )

    @classmethod
    def of(cls, potential: "GMNN", graph: Graph) -> "PreparedGMNN":
        """Prepare a graph for networks with the descriptor of a potential."""
        of = potential.descriptor
        options = of.options
        return cls(
            graph,
            potential.species(graph.numbers),
            Radial(of.cutoff, of.centres.double().numpy(), options.n_radial),
            program(options.n_radial, options.invariants),
        )

    def features(self, potential: "GMNN") -> Float[Tensor, "atoms features"]:
        """Return the invariants of each atom, which can be differentiated by the coefficients."""
        features: Tensor = _Features.apply(self, potential.descriptor.coefficients)
        return features

    def tangents(
        self, potential: "GMNN", along: Float[Tensor, "directions edges 3"]
    ) -> tuple[Float[Tensor, "atoms features"], Float[Tensor, "directions atoms features"]]:
        """Return the same, and their derivatives where the edges move along some directions."""
        coefficients = potential.descriptor.coefficients.detach().double().numpy()
        described = Described(self.edges, self.radial, self.program, coefficients)
        n = len(self.species)
        moved = [described.tangents(direction)[:, :n].T for direction in along.double().numpy()]
        found = torch.from_numpy(described.features[:, :n].T), torch.from_numpy(np.stack(moved))
        return found[0].to(potential.dtype), found[1].to(potential.dtype)

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "PreparedGMNN":
        """Return some of the structures, which may repeat."""
        species = self.species[self.graph.atoms_of(structures)]
        return PreparedGMNN(self.graph.take(structures), species, self.radial, self.program)

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
        """Return successive structures of about PORTION atoms, whose slots stay in the caches."""
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
        described = Described(
            prepared.edges, prepared.radial, prepared.program, coefficients.double().numpy()
        )
        ctx.described, ctx.n_atoms = described, len(prepared.species)
        return _tensor(described.features[:, : ctx.n_atoms].T, coefficients)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_features: Tensor) -> tuple[Tensor | None, ...]:
        slopes = np.zeros_like(ctx.described.features)
        slopes[:, : ctx.n_atoms] = by_features.T.numpy()
        return None, _tensor(ctx.described.by_coefficients(slopes), by_features)


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
        described = Described(
            prepared.edges, prepared.radial, prepared.program, coefficients.double().numpy()
        )
        network = _Network(gains, weights[::2], weights[1::2])
        outputs = network.outputs(_tensor(described.features, scale))
        species, n_atoms = prepared.species, len(prepared.species)
        output, own_scale = outputs[0, :n_atoms], scale[species]
        start = torch.zeros_like(outputs)
        start[0, :n_atoms] = own_scale
        gradient = described.gradients(_array(network.slopes(start)))
        ctx.described, ctx.network, ctx.species = described, network, species
        ctx.output, ctx.scale = output, scale
        return own_scale * output + shift[species], _tensor(gradient, scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_energies: Tensor, along: Tensor) -> tuple[Tensor | None, ...]:
        described, network, species, scale = ctx.described, ctx.network, ctx.species, ctx.scale
        n_atoms = len(species)
        dots = network.tangents(_tensor(described.tangents(_array(along)), scale))
        start = torch.zeros_like(dots)
        start[0, :n_atoms] = by_energies * scale[species]
        inward, weights = network.gradients(start)
        coefficients = described.by_coefficients_along(_array(inward))
        by_scale = by_energies * ctx.output + dots[0, :n_atoms]
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

    Nodes are rows, atoms are columns. What each pass finds is kept for the next.
    """

    def __init__(
        self, gains: Sequence[Gains], weights: Sequence[Tensor], biases: Sequence[Tensor]
    ) -> None:
        self._gains, self._weights, self._biases = gains, weights, biases

    def outputs(self, nodes: Float[Tensor, "inputs atoms"]) -> Float[Tensor, "outputs atoms"]:
        """Return the outputs."""
        self._nodes, self._before, self._logistic, self._rises = [nodes], [], [], []
        for gain, weight, bias in zip(self._gains, self._weights, self._biases):
            before = torch.addmm(
                bias[:, None], weight, self._nodes[-1], beta=gain.bias, alpha=gain.weight
            )
            self._before.append(before)
            if len(self._before) < len(self._gains):
                logistic = before.sigmoid()
                silu = before * logistic
                self._logistic.append(logistic)
                self._rises.append(gain.activation * (logistic + silu * (1 - logistic)))
                self._nodes.append(gain.activation * silu)
        return self._before[-1]

    def slopes(self, start: Float[Tensor, "outputs atoms"]) -> Float[Tensor, "inputs atoms"]:
        """Return the derivatives by the inputs of what has these derivatives by the outputs."""
        self._slopes: list[Tensor] = [start]
        self._inward: list[Tensor] = []
        for layer in range(len(self._gains) - 1, -1, -1):
            self._inward.insert(0, self._into(layer, self._slopes[0]))
            if layer:
                self._slopes.insert(0, self._inward[0] * self._rises[layer - 1])
        return self._inward[0]

    def tangents(self, dots: Float[Tensor, "inputs atoms"]) -> Float[Tensor, "outputs atoms"]:
        """Return the tangents of the outputs, after ``slopes``."""
        self._dots, self._before_dots = [dots], []
        for layer, (gain, weight) in enumerate(zip(self._gains, self._weights)):
            self._before_dots.append(gain.weight * (weight @ self._dots[-1]))
            if layer < len(self._gains) - 1:
                self._dots.append(self._before_dots[-1] * self._rises[layer])
        return self._before_dots[-1]

    def gradients(
        self, start: Float[Tensor, "outputs atoms"]
    ) -> tuple[Float[Tensor, "inputs atoms"], list[Tensor]]:
        """Return derivatives by the inputs and, in turns, weights and biases, after ``tangents``.

        Of the sum of what has the derivatives ``start`` by the outputs, and of the tangents of the
        outputs times what was given to ``slopes``.
        """
        found: list[Tensor] = []
        bars = start
        for layer in range(len(self._gains) - 1, -1, -1):
            gain = self._gains[layer]
            weights = bars @ self._nodes[layer].T
            weights.addmm_(self._slopes[layer], self._dots[layer].T)
            found = [weights.mul_(gain.weight), gain.bias * bars.sum(1), *found]
            bars = self._into(layer, bars)
            if layer:
                bend = self._bend(layer - 1) * self._before_dots[layer - 1]
                bars = bars * self._rises[layer - 1] + bend * self._inward[layer]
        return bars, found

    def _into(self, layer: int, slopes: Tensor) -> Tensor:
        return self._gains[layer].weight * (self._weights[layer].T @ slopes)

    def _bend(self, layer: int) -> Tensor:
        """Return the second derivative of the activation behind a layer."""
        s, x = self._logistic[layer], self._before[layer]
        return self._gains[layer].activation * s * (1 - s) * (2 + x * (1 - 2 * s))


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.dtype)


def _array(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.double().contiguous().numpy()
    return found
