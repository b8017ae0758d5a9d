"""A committee of potentials that differ in their data and first weights."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import (
    HasDescriptors,
    HasKernels,
    HasLastLayer,
    HasLayers,
    require,
)
from aiida_mlal.ml.models.elements import common_elements
from aiida_mlal.ml.models.layers import LayerGradient
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.registry import from_config


class Ensemble(Potential, HasLastLayer, HasLayers, HasDescriptors, HasKernels):
    """The mean of several potentials; their spread is the uncertainty."""

    Options: ClassVar[Any] = None

    def __init__(self, members: Sequence[Potential]) -> None:
        super().__init__(common_elements(members), max(m.cutoff for m in members))
        self._members = nn.ModuleList(members)

    @property
    def members(self) -> list[Potential]:
        """The potentials of the committee."""
        return cast(list[Potential], list(self._members))

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the mean energy of each atom in eV."""
        said = [m.atomic_energies(graph.within(m.cutoff)) for m in self.members]
        return torch.stack(said).mean(0)

    def reference_table(self) -> Float[np.ndarray, "members elements"]:
        """Return the reference energies of each member."""
        return np.concatenate([member.reference_table() for member in self.members])

    def forward(self, graph: Graph) -> Prediction:
        """Predict the mean of the members."""
        return self.committee(graph).mean()

    def committee(self, graph: Graph) -> Prediction:
        """Predict with each member."""
        members = self.members
        return members[0].together(members, graph)

    def parameter_gradients(self, graph: Graph) -> Float[Tensor, "atoms parameters"]:
        """Differentiate the mean by the weights of all members."""
        gradients = [m.parameter_gradients(graph.within(m.cutoff)) for m in self.members]
        return torch.cat(gradients, dim=1) / len(gradients)

    def last_layer(self, graph: Graph) -> Float[Tensor, "atoms weights"]:
        """Differentiate the mean by the weights of the last layers of all members."""
        layers = [require(m, HasLastLayer).last_layer(graph.within(m.cutoff)) for m in self.members]
        return torch.cat(layers, dim=1) / len(layers)

    def last_weights(self) -> Float[Tensor, " weights"]:
        """Return the weights of the last layers of all members."""
        return torch.cat([require(m, HasLastLayer).last_weights() for m in self.members])

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the descriptors of all members, side by side."""
        features = [
            require(m, HasDescriptors).features(graph.within(m.cutoff)) for m in self.members
        ]
        return torch.cat(features, dim=1)

    def layer_gradients(self, graph: Graph) -> list[LayerGradient]:
        """Return the layers of all members; the energy is their mean."""
        return [
            layer._replace(slopes=layer.slopes / len(self.members))
            for m in self.members
            if isinstance(m, HasLayers)
            for layer in m.layer_gradients(graph.within(m.cutoff))
        ]

    def warm_start(self, other: Potential) -> None:
        """Begin with the weights of another ensemble, member by member."""
        if not isinstance(other, Ensemble) or len(other.members) != len(self.members):
            raise ValueError(
                f"the model is an ensemble of {len(self.members)} members, which begin with "
                f"weights of their own; the file has {other.config()['architecture']!r}"
                + (f" of {len(other.members)}" if isinstance(other, Ensemble) else "")
            )
        for mine, theirs in zip(self.members, other.members):
            mine.warm_start(theirs)

    @property
    def engines(self) -> tuple[str, ...]:
        """Those of all members."""
        return tuple(sorted({engine for member in self.members for engine in member.engines}))

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernels that the members have together."""
        if len(members) != 1 or not isinstance(members[0], Ensemble):
            return None
        committee = members[0].members
        first = committee[0]
        return first.kernels(committee) if isinstance(first, HasKernels) else None

    def config(self) -> dict[str, Any]:
        """Return the descriptions of the members."""
        return {"architecture": "ensemble", "members": [m.config() for m in self.members]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Ensemble":
        """Restore each member."""
        return cls([from_config(member) for member in config["members"]])


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member, unlike that of any other member of any other seed."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
