"""Derivatives of energies and forces by the weights of the last layer."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasLastLayer, require


def energy_sensitivities(potential: Potential, graph: Graph) -> Float[Tensor, "atoms weights"]:
    """Differentiate the energy of each atom (eV) by each weight of the last layer.

    Summed over the atoms of a structure they are those of its energy: V. Zaverkin and J. Kästner,
    Mach. Learn.: Sci. Technol. 2, 035009 (2021), section 2.3.1.
    """
    network = require(potential, HasLastLayer)
    with torch.inference_mode():
        return network.last_layer(graph)


def force_sensitivities(potential: Potential, graph: Graph) -> Float[Tensor, "atoms 3 weights"]:
    """Differentiate each component of each force (eV/Å) by each weight: equation 19.

    They are the derivatives of those of the energies by the positions, which need as many passes
    as a structure has coordinates, or as there are weights: the fewer are done.
    """
    network = require(potential, HasLastLayer)
    with torch.no_grad():
        n_weights = network.last_layer(graph).shape[1]
    if 3 * int(graph.counts.max()) < n_weights:
        return _forward(potential, graph)
    return _backward(network, graph)


def _forward(potential: Potential, graph: Graph) -> Float[Tensor, "atoms 3 weights"]:
    """Move one atom of each structure at a time."""
    centre, neighbour = graph.pairs
    index = torch.arange(len(graph.numbers), device=graph.owner.device)
    index = index - (graph.counts.cumsum(0) - graph.counts)[graph.owner]  # within the structure
    largest = int(graph.counts.max())
    atoms = torch.arange(largest, device=index.device)
    shifts = (index[None] == atoms[:, None]).to(graph.vectors)
    moves = shifts[:, neighbour] - shifts[:, centre]
    axes = torch.eye(3, dtype=moves.dtype, device=moves.device)
    along = (moves[:, None, :, None] * axes[None, :, None, :]).flatten(0, 1)
    tangents = potential.backend.last_layer_tangents(graph, along)
    sums = tangents.new_zeros(len(tangents), len(graph.volumes), tangents.shape[2])
    sums = sums.index_add(1, graph.owner, tangents)
    return -sums.reshape(largest, 3, *sums.shape[1:])[index, :, graph.owner]


def _backward(network: HasLastLayer, graph: Graph) -> Float[Tensor, "atoms 3 weights"]:
    """Differentiate by the edges, one weight at a time."""
    with torch.enable_grad():
        graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
        summed = network.last_layer(graph).sum(0)
        unit = torch.eye(len(summed), dtype=summed.dtype, device=summed.device)
        (gradients,) = torch.autograd.grad(
            summed, graph.vectors, unit, is_grads_batched=True, materialize_grads=True
        )
    gradients = gradients.movedim(0, -1)  # weights edges 3 -> edges 3 weights
    centre, neighbour = graph.pairs
    forces = gradients.new_zeros(len(graph.numbers), *gradients.shape[1:])
    return forces.index_add(0, centre, gradients).index_add(0, neighbour, -gradients)
