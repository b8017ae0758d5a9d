"""Behler-Parrinello neural network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aiida_mlal.ml.descriptors.symmetry_functions import SymmetryFunctionOptions, SymmetryFunctions
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasKernels, HasLastLayer, HasLayers
from aiida_mlal.ml.models.descriptor import Described, DescriptorPotential
from aiida_mlal.ml.models.layers import LayerGradient, outer_products
from aiida_mlal.ml.models.of_options import OfOptions
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.models.references import SMALLEST


@dataclass(frozen=True)
class BPNNOptions:
    """Hyper-parameters of a Behler-Parrinello network; the defaults are those of the paper.

    Attributes
    ----------
    cutoff
        In Å.
    hidden
        Widths of the hidden layers of each element's network.
    descriptor
        The symmetry functions.
    """

    cutoff: float = 6.0
    hidden: tuple[int, ...] = (20, 20)
    descriptor: SymmetryFunctionOptions = field(default_factory=SymmetryFunctionOptions)

    def __post_init__(self) -> None:
        """Refuse layers without nodes."""
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"expected widths of hidden layers above 0, got {list(self.hidden)}")


STRAIN = 0.1
r"""The least that the range of a feature stands for.

In few structures features may hardly differ, those of one volume above all; scaled by that, other
structures have hundreds. So half of a range is not below what an isotropic strain of this size
changes, to first order: :math:`\varepsilon |\sum_j r_{ij} \cdot \partial G_i / \partial r_{ij}|`,
the mean over the atoms of an element.
"""


class BPNN(OfOptions, DescriptorPotential, HasLastLayer, HasLayers, HasKernels):
    """Symmetry functions and a feed-forward network for each element.

    J. Behler and M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007). The output is linear; the
    activation is the area hyperbolic sine, which is like tanh near zero but has no limit, so that
    forces, and what members of a committee think of them, do not end where features are unlike
    those of the training set. Features enter scaled by the smallest and largest training value for
    each element, which become -1 and 1 (see ``STRAIN`` for those that hardly differ); energies
    leave with a scale and a shift for each element.
    """

    Options = BPNNOptions
    usual_training = MappingProxyType(
        {
            "epochs": 100,
            "optimizer": {"name": "levenberg_marquardt"},
            "loss": {"energy": 100.0, "force": 1.0, "stress": 1.0},
            "bootstrap": False,
        }
    )

    low: Tensor
    high: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, elements: Sequence[str], options: BPNNOptions) -> None:
        super().__init__(elements, options.cutoff)
        self.options = options
        n = len(self.elements)
        self.descriptor = SymmetryFunctions(n, options.cutoff, options.descriptor)
        widths = [self.descriptor.n_features, *options.hidden, 1]
        self.networks = nn.ModuleList(_network(widths) for _ in range(n))
        for name, value in (("low", -1.0), ("high", 1.0)):
            fill = torch.full((n, self.descriptor.n_features), value, dtype=torch.float64)
            self.register_buffer(name, fill)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(n, dtype=torch.float64))

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the symmetry functions of each atom."""
        features: Tensor = self.descriptor(graph, self.species(graph.numbers))
        return features

    def readout(
        self, features: Float[Tensor, "... features"], element: int
    ) -> Float[Tensor, " ..."]:
        """Return the energy in eV of atoms of one element."""
        energies: Tensor = self.networks[element](self._scaled(features, element))[..., 0]
        return self.scale * energies + self.shift[element]

    def last_layer(self, graph: Graph) -> Float[Tensor, "atoms weights"]:
        """Differentiate each atomic energy (eV) by the weights of the last layer.

        Networks of different elements have nothing in common, so each has columns of its own.
        """
        features, species = self.features(graph), self.species(graph.numbers)
        blocks = []
        for element, network in enumerate(cast(list[nn.Sequential], list(self.networks))):
            mine = torch.nonzero(species == element)[:, 0]
            hidden = network[:-1](self._scaled(features[mine], element))
            block = features.new_zeros(len(species), hidden.shape[1])
            blocks.append(block.index_copy(0, mine, self.scale * hidden))
        return torch.cat(blocks, dim=1)

    def last_weights(self) -> Float[Tensor, " weights"]:
        """Return the weights of the last layer of each network."""
        networks = cast(list[nn.Sequential], list(self.networks))
        return torch.cat([cast(nn.Linear, network[-1]).weight[0] for network in networks])

    def layer_gradients(self, graph: Graph) -> list[LayerGradient]:
        """Differentiate by the weights of each layer of each network."""
        with torch.no_grad():
            features, species = self.features(graph), self.species(graph.numbers)
        gradients = []
        for element, network in enumerate(self.networks):
            mine = torch.nonzero(species == element)[:, 0]
            linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
            energies = partial(self.readout, features[mine], element)
            gradients += outer_products(energies, linear, mine)
        return gradients

    def readout_derivatives(
        self,
        features: Float[Tensor, "structures atoms features"],
        along: Float[Tensor, "structures components atoms features"],
        element: int,
    ) -> dict[nn.Parameter, tuple[Float[Tensor, "structures ..."], Float[Tensor, "..."]]]:
        """Differentiate energies and their slopes by the weights of an element's network.

        Values and tangents (derivatives along each direction) go forward through the layers, their
        adjoints backward. Adjoints of tangents are those of values for the energy, and the same for
        all directions.
        """
        network = cast(nn.Sequential, self.networks[element])
        values = self._scaled(features, element)
        tangents = along * (2 / (self.high[element] - self.low[element]))
        passed = []
        for layer in network:
            passed.append((values, tangents))
            if isinstance(layer, nn.Linear):
                values, tangents = layer(values), tangents @ layer.weight.T
            else:
                tangents = tangents * _slope(values)[:, None]
                values = layer(values)
        of_energy = self.scale.expand(*features.shape[:2], 1)
        of_slope = along.new_zeros(*along.shape[:3], 1)
        by_weight: dict[Tensor, tuple[Tensor, Tensor]] = {}
        for layer, (values, tangents) in zip(reversed(network), reversed(passed)):
            if isinstance(layer, nn.Linear):
                outer = of_energy.transpose(1, 2)
                by_weight[layer.weight] = (
                    outer @ values,
                    of_slope.transpose(2, 3) @ values[:, None] + outer[:, None] @ tangents,
                )
                by_weight[layer.bias] = of_energy.sum(1), of_slope.sum(2)
                of_energy, of_slope = of_energy @ layer.weight, of_slope @ layer.weight
            else:
                slope = _slope(values)
                curvature = -values * slope**3
                bent = (of_energy * curvature)[:, None] * tangents
                of_slope = of_slope * slope[:, None] + bent
                of_energy = of_energy * slope
        return cast(dict[nn.Parameter, tuple[Tensor, Tensor]], by_weight)

    def _scaled(
        self, features: Float[Tensor, "... features"], element: int
    ) -> Float[Tensor, "... features"]:
        low, high = self.low[element], self.high[element]
        return 2 * (features - low) / (high - low) - 1

    def describes_like(self, other: Potential) -> bool:
        """Tell if another potential has the same symmetry functions."""
        return isinstance(other, BPNN) and (
            (self.elements, self.cutoff, self.options.descriptor, self.dtype)
            == (other.elements, other.cutoff, other.options.descriptor, other.dtype)
        )

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernel of networks of the same size on the same symmetry functions.

        There is none for angular exponents that are no integers.
        """
        first, networks = members[0], []
        for member in members:
            if not isinstance(first, BPNN) or not isinstance(member, BPNN):
                return None
            if not member.describes_like(first) or member.options.hidden != first.options.hidden:
                return None
            networks.append(member)
        tables = networks[0].descriptor.tables()
        if tables is None:
            return None
        from aiida_mlal.ml.fast.bpnn import FastBPNN, Networks  # numba is slow to import

        weights = [
            Networks(
                [_layers(network) for network in member.networks],
                member.low.double().numpy(),
                member.high.double().numpy(),
                float(member.scale),
                member.shift.double().numpy(),
            )
            for member in networks
        ]
        return [FastBPNN(*tables, weights)]

    def initialise(self, prepared: Prepared, targets: Prediction, seed: int) -> None:
        """Scale features to the training structures, and energies to their targets."""
        graph = prepared.graph
        species = self.species(graph.numbers)
        described = cast(Described, prepared)
        features = described.features
        swell = described.virials.diagonal(dim1=-2, dim2=-1).sum(-1).abs()
        labelled = _labelled(graph, targets)[graph.owner]
        for element in range(len(self.elements)):
            mine = labelled & (species == element)
            if not bool(mine.any()):
                continue
            low, high = features[mine].amin(0), features[mine].amax(0)
            more = (2 * STRAIN * swell[mine].mean(0) - (high - low)).clamp(min=0) / 2
            low, high = low - more, high + more
            alike = high - low < 1e-8
            self.low[element] = torch.where(alike, -1.0, low)
            self.high[element] = torch.where(alike, 1.0, high)
        known = targets.energies.isfinite()
        per_atom = (targets.energies / graph.counts)[known]
        if len(per_atom):
            self.shift.fill_(per_atom.mean())
            spread = per_atom.std(correction=0)
            self.scale.fill_(spread if spread > SMALLEST else 1.0)


def _labelled(graph: Graph, targets: Prediction) -> Bool[Tensor, " structures"]:
    """Mark the structures that have a label, or a part of one."""
    forces = graph.sum_over_atoms(targets.forces.isfinite().any(dim=1).to(targets.forces))
    stresses = targets.stresses.isfinite().flatten(1).any(dim=1)
    return targets.energies.isfinite() | (forces > 0) | stresses


def _layers(network: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and biases of each layer."""
    return [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]


class Asinh(nn.Module):
    """The area hyperbolic sine."""

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Compute asinh(x)."""
        return torch.asinh(x)


def _slope(x: Tensor) -> Tensor:
    """Return the derivative of the area hyperbolic sine."""
    return torch.rsqrt(1 + x * x)


def _network(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out, dtype=torch.float64), Asinh()]
    return nn.Sequential(*layers[:-1])
