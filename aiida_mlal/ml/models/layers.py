"""Derivatives by the weights of linear layers, as outer products of inputs and adjoints."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class LayerGradient(NamedTuple):
    """The derivatives of atomic energies by the weights of a layer, as outer products.

    That of atom ``atoms[i]`` by weight ``[k, j]`` is ``slopes[i, k] * inputs[i, j]``.
    """

    atoms: Int[Tensor, " rows"]
    inputs: Float[Tensor, "rows nodes"]
    slopes: Float[Tensor, "rows outputs"]


def outer_products(
    energies: Callable[[], Tensor],
    layers: Sequence[nn.Module],
    atoms: Int[Tensor, " rows"],
    gains: Sequence[float] | None = None,
) -> list[LayerGradient]:
    """Differentiate what ``energies`` computes by the weights of layers, each of them used once.

    Each row is one of ``atoms`` throughout. ``gains`` are the factors of weights in a layer.
    """
    passed: list[tuple[Tensor, Tensor]] = []

    def remember(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        passed.append((inputs[0], output))

    handles = [layer.register_forward_hook(remember) for layer in layers]
    try:
        with torch.enable_grad():
            total = energies().sum()
    finally:
        for handle in handles:
            handle.remove()
    slopes = torch.autograd.grad(total, [output for _, output in passed])
    return [
        LayerGradient(atoms, inputs.detach(), gain * slope)
        for (inputs, _), slope, gain in zip(passed, slopes, gains or [1.0] * len(passed))
    ]
