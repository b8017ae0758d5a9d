"""Derivatives of the energy by the weights, exact or sketched."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiida_mlal.ml.features.base import FeatureMap

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from aiida_mlal.ml.graph import Graph
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.layers import LayerGradient


@dataclass(frozen=True)
class Gradient(FeatureMap):
    r"""Derivatives of the energy by all weights: to first order, what training can change.

    Up to ``size`` weights, as in a moment tensor potential, they are the features. Of a network
    with more, those by the weights of linear layers are projected at random: layer l with inputs
    z and derivatives :math:`\delta` of the energy by its outputs adds
    :math:`\sum_i (P_l z_i) \odot (Q_l \delta_i) / \sqrt{\mathrm{size}}`, with P and Q normally
    distributed, so that products of rows are those of the whole derivatives on average.
    D. Holzmüller et al., J. Mach. Learn. Res. 24, 164 (2023), section 3.2.

    Attributes
    ----------
    size
        How many features there are at most; null for all derivatives, however many.
    seed
        Of the projections.
    """

    size: int | None = 512
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse to project on nothing."""
        if self.size is not None and self.size < 1:
            raise ValueError(f"expected a size above 0 or null, got {self.size}")

    def sums(self, potential: "Potential", graph: "Graph") -> "Tensor":
        """Return the row of each structure."""
        import torch

        from aiida_mlal.ml.models.capabilities import HasLayers

        n_weights = sum(w.numel() for w in potential.parameters() if w.requires_grad)
        exact = self.size is None or n_weights <= self.size
        network = potential if isinstance(potential, HasLayers) and not exact else None
        layers = [] if network is None else network.layer_gradients(graph)
        if layers and self.size is not None:
            return graph.sum_over_atoms(self._sketch(layers, len(graph.numbers), self.size))
        rows = potential.parameter_gradients(graph).detach()
        if self.size is not None and n_weights > self.size:
            projection = torch.randn(
                n_weights, self.size, generator=self._generator(0), dtype=torch.float64
            )
            rows = rows @ projection.to(rows) / self.size**0.5
        return graph.sum_over_atoms(rows)

    def _sketch(self, layers: "list[LayerGradient]", n_atoms: int, size: int) -> "Tensor":
        import torch

        first = layers[0].inputs
        sketch = first.new_zeros(n_atoms, size)
        for number, layer in enumerate(layers):
            generator = self._generator(number)
            sides = [
                values
                @ torch.randn(values.shape[1], size, generator=generator, dtype=torch.float64).to(
                    values
                )
                for values in (layer.inputs, layer.slopes)
            ]
            sketch.index_add_(0, layer.atoms, sides[0] * sides[1])
        return sketch / size**0.5

    def _generator(self, number: int) -> "Generator":
        import torch

        return torch.Generator().manual_seed(self.seed * 1000 + number)
