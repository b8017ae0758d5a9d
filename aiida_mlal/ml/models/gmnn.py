"""Gaussian-moment neural network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aiida_mlal.ml.descriptors.gaussian_moments import GaussianMomentOptions, GaussianMoments
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasDescriptors, HasKernels, HasLastLayer, HasLayers
from aiida_mlal.ml.models.layers import LayerGradient, outer_products
from aiida_mlal.ml.models.of_options import OfOptions
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.models.references import regress

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.gmnn import FastGMNN, Network

SILU_GAIN = 1.6765324703310907
"""With it SiLU of normally distributed numbers has a mean square of 1."""


@dataclass(frozen=True)
class GMNNOptions:
    """Hyper-parameters of a Gaussian-moment network.

    Attributes
    ----------
    cutoff
        In Å.
    hidden
        Widths of the hidden layers.
    layers
        ``standard``: W x + b and the activation SiLU, also known as swish; ``ntk``: the scaling
        of the neural tangent kernel, W x / √n + 0.1 b with weights that begin with variance 1,
        and SiLU times 1.677.
    descriptor
        The Gaussian moments.
    """

    cutoff: float = 5.0
    hidden: tuple[int, ...] = (256, 128)
    layers: Literal["standard", "ntk"] = "ntk"
    descriptor: GaussianMomentOptions = field(default_factory=GaussianMomentOptions)

    def __post_init__(self) -> None:
        """Refuse layers without nodes."""
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise ValueError(
                f"expected one hidden layer or more, of widths above 0, got {list(self.hidden)}"
            )


class GMNN(OfOptions, HasLastLayer, HasLayers, HasDescriptors, HasKernels):
    """Gaussian moments and one feed-forward network for all elements.

    V. Zaverkin and J. Kästner, J. Chem. Theory Comput. 16, 5410 (2020) and Mach. Learn.: Sci.
    Technol. 2, 035009 (2021); layers of the kind ``ntk`` are those of V. Zaverkin et al.,
    J. Chem. Theory Comput. 17, 6658 (2021). Energies leave with a trainable scale and shift for
    each element.
    """

    Options = GMNNOptions
    backends = MappingProxyType({"cpu": "aiida_mlal.ml.models.gmnn_prepared:GMNNBackend"})
    usual_training = MappingProxyType(
        {
            "epochs": 200,
            "optimizer": {
                "name": "adam",
                "learning_rate": 0.01,
                "rates": {"scale": 0.001},
                "batch_size": 10,
                "schedule": {"name": "linear"},
            },
            "patience": None,
        }
    )

    def __init__(self, elements: Sequence[str], options: GMNNOptions) -> None:
        super().__init__(elements, options.cutoff)
        self.options = options
        n = len(self.elements)
        self.descriptor = GaussianMoments(n, options.cutoff, options.descriptor)
        kind = NTKLayer if options.layers == "ntk" else StandardLayer
        widths = [self.descriptor.n_features, *options.hidden, 1]
        self.network = nn.ModuleList(kind(*pair) for pair in pairwise(widths))
        self.scale = nn.Parameter(torch.ones(n, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(n, dtype=torch.float64))

    @property
    def layers(self) -> "list[StandardLayer | NTKLayer]":
        """The layers of the network, the first one first."""
        return cast("list[StandardLayer | NTKLayer]", list(self.network))

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""
        species = self.species(graph.numbers)
        return self.read(self.descriptor(graph, species), species)

    def read(
        self, features: Float[Tensor, "atoms features"], species: Tensor
    ) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV from its invariants."""
        energies: Tensor = self.layers[-1](self.latent(features))[:, 0]
        return self.scale[species] * energies + self.shift[species]

    def latent(self, features: Float[Tensor, "atoms features"]) -> Float[Tensor, "atoms nodes"]:
        """Return the nodes of the last hidden layer."""
        nodes = features
        for layer in self.layers[:-1]:
            nodes = layer.activation * nn.functional.silu(layer(nodes))
        return nodes

    def last_layer(self, graph: Graph) -> Float[Tensor, "atoms weights"]:
        """Differentiate atomic energies (eV) by the weights of the last layer.

        Those by its bias are left out. A differentiable function of ``graph.vectors``.
        """
        scale = self.scale[self.species(graph.numbers), None]
        return scale * self.layers[-1].gain * self.latent(self.features(graph))

    def last_weights(self) -> Float[Tensor, " weights"]:
        """Return the weights of the last layer."""
        return self.layers[-1].weight[0]

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the invariants of the moments of each atom.

        In torch's inference mode, where no derivatives are wanted, by the backend if it has them.
        """
        if torch.is_inference_mode_enabled() and isinstance(self.backend, HasDescriptors):
            return self.backend.features(graph)
        features: Tensor = self.descriptor(graph, self.species(graph.numbers))
        return features

    def layer_gradients(self, graph: Graph) -> list[LayerGradient]:
        """Differentiate by the weights of each layer."""
        with torch.no_grad():
            features, species = self.features(graph), self.species(graph.numbers)
        everybody = torch.arange(len(species), device=species.device)
        gains = [layer.gain for layer in self.layers]
        return outer_products(partial(self.read, features, species), self.layers, everybody, gains)

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return one kernel for all networks; none if their Gaussians or invariants differ."""
        networks = [member for member in members if isinstance(member, GMNN)]
        first = networks[0]
        alike = [
            (other.elements, other.options.cutoff, other.options.descriptor)
            == (first.elements, first.options.cutoff, first.options.descriptor)
            for other in networks
        ]
        if len(networks) < len(members) or not all(alike):
            return None
        return [cls.kernel(networks)]

    @staticmethod
    def kernel(networks: "Sequence[GMNN]") -> "FastGMNN":
        """Return the kernel of networks on the same Gaussians and invariants."""
        from aiida_mlal.ml.fast.gaussian_moments import (
            Gaussians,
            program,
        )  # numba is slow to import
        from aiida_mlal.ml.fast.gmnn import FastGMNN

        first = networks[0]
        options, centres = first.options.descriptor, first.descriptor.centres.double().numpy()
        gaussians = Gaussians.of(first.cutoff, centres, options.n_radial)
        of = program(options.n_radial, options.invariants)
        return FastGMNN(gaussians, of, [_frozen(network) for network in networks])

    def initialise(self, prepared: Prepared, targets: Prediction, seed: int) -> None:
        """Set shifts by a regression on the composition, scales to the spread that it leaves."""
        energies = targets.energies.double().numpy(force=True)
        known = np.isfinite(energies)
        if not known.any():
            return
        counts = self.composition(prepared.graph)[known]
        regression = regress(counts, energies[known])
        with torch.no_grad():
            self.shift.copy_(torch.from_numpy(regression.energies))
            self.scale.fill_(regression.spread or 1.0)


def _frozen(potential: GMNN) -> "Network":
    """Take the weights of a network, all factors multiplied into those of its layers."""
    from aiida_mlal.ml.fast.gmnn import Network

    layers, activation = [], 1.0
    for layer in potential.layers:
        weight = activation * layer.gain * layer.weight.detach()
        layers.append((weight.numpy(), (layer.bias_gain * layer.bias.detach()).numpy()))
        activation = layer.activation
    coefficients, scale, shift = (
        values.detach().double().numpy()
        for values in (potential.descriptor.coefficients, potential.scale, potential.shift)
    )
    return Network(coefficients, layers, scale, shift)


class StandardLayer(nn.Linear):
    """W x + b, Glorot's first weights."""

    activation, gain, bias_gain = 1.0, 1.0, 1.0

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, dtype=torch.float64)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class NTKLayer(nn.Module):
    """W x / √n + 0.1 b, normally distributed first weights."""

    activation, bias_gain = SILU_GAIN, 0.1

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(n_out, dtype=torch.float64))
        self.gain = 1 / math.sqrt(n_in)

    def forward(self, nodes: Float[Tensor, "atoms nodes"]) -> Float[Tensor, "atoms outputs"]:
        """Return the next nodes, before their activation."""
        return torch.addmm(self.bias, nodes, self.weight.T, beta=self.bias_gain, alpha=self.gain)
