"""A sum of potentials, such as a physical prior and a network that learns the rest."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, cast

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
    HasProcess,
    missing,
    require,
)
from aiida_mlal.ml.models.elements import common_elements
from aiida_mlal.ml.models.layers import LayerGradient
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.registry import from_config

if TYPE_CHECKING:
    from aiida_mlal.ml.models.observed import Process


class Sum(Potential, HasLastLayer, HasLayers, HasDescriptors, HasProcess, HasKernels):
    """The sum of several potentials of the same elements.

    The difference learned by a network on a prior is equation 3 of Shuaibi et al.,
    Mach. Learn.: Sci. Technol. 2, 025007 (2021); the constant that joins the two energy scales
    is part of the network's shift.
    """

    Options: ClassVar[Any] = None

    def __init__(self, terms: Sequence[Potential]) -> None:
        super().__init__(common_elements(terms), max(term.cutoff for term in terms))
        self._terms = nn.ModuleList(terms)

    @property
    def terms(self) -> list[Potential]:
        """The potentials that are added."""
        return cast(list[Potential], list(self._terms))

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""
        return reduce(add, (term.atomic_energies(_within(graph, term)) for term in self.terms))

    def reference_table(self) -> Float[np.ndarray, "members elements"]:
        """Return the reference energies of all terms together."""
        return reduce(add, (term.reference_table() for term in self.terms))

    def forward(self, graph: Graph) -> Prediction:
        """Predict with each term, and add."""
        return reduce(add, (term.forward(_within(graph, term)) for term in self.terms))

    def committee(self, graph: Graph) -> Prediction:
        """Predict with each member of the terms; a single term is added to all members."""
        return reduce(add, (term.committee(_within(graph, term)) for term in self.terms))

    def parameter_gradients(self, graph: Graph) -> Float[Tensor, "atoms parameters"]:
        """Differentiate by the weights of the terms that are trained."""
        if not self._learning:
            return super().parameter_gradients(graph)
        return torch.cat(
            [term.parameter_gradients(_within(graph, term)) for term in self._learning], 1
        )

    def last_layer(self, graph: Graph) -> Float[Tensor, "atoms weights"]:
        """Differentiate by the weights of the last layers of the terms that are trained."""
        layers = [
            require(term, HasLastLayer).last_layer(_within(graph, term))
            for term in self._learners(HasLastLayer)
        ]
        return torch.cat(layers, dim=1)

    def last_weights(self) -> Float[Tensor, " weights"]:
        """Return the weights of the last layers of the terms that are trained."""
        learners = self._learners(HasLastLayer)
        return torch.cat([require(term, HasLastLayer).last_weights() for term in learners])

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the descriptors of the terms that are trained, side by side."""
        features = [
            require(term, HasDescriptors).features(_within(graph, term))
            for term in self._learners(HasDescriptors)
        ]
        return torch.cat(features, dim=1)

    @property
    def uncertainty(self) -> str | None:  # type: ignore[override]
        """That of the only term that is trained: a prior has none to add."""
        return self._learning[0].uncertainty if len(self._learning) == 1 else None

    def process(self) -> "Process":
        """Return the Gaussian process of the only term that is trained."""
        if len(self._learning) != 1:
            raise missing("sum", HasProcess)
        return require(self._learning[0], HasProcess).process()

    def layer_gradients(self, graph: Graph) -> list[LayerGradient]:
        """Return the layers of all terms."""
        return [
            layer
            for term in self.terms
            if isinstance(term, HasLayers)
            for layer in term.layer_gradients(_within(graph, term))
        ]

    @property
    def _learning(self) -> list[Potential]:
        return [term for term in self.terms if any(w.requires_grad for w in term.parameters())]

    def _learners(self, capability: type) -> list[Potential]:
        """Return the terms that are trained; ``ValueError`` if there are none."""
        if not self._learning:
            raise missing("sum", capability)
        return self._learning

    def warm_start(self, other: Potential) -> None:
        """Begin with the weights of the terms of another sum; a prior may know more elements."""
        if not isinstance(other, Sum) or len(other.terms) != len(self.terms):
            raise ValueError(
                f"the model is a sum of {len(self.terms)} terms, in the file is "
                f"{other.config()['architecture']!r}"
            )
        for mine, theirs in zip(self.terms, other.terms):
            more = set(mine.elements) > set(theirs.elements)
            if not (more and type(mine) is type(theirs) and not list(mine.parameters())):
                mine.warm_start(theirs)

    @property
    def engines(self) -> tuple[str, ...]:
        """Those of all terms."""
        return tuple(sorted({engine for term in self.terms for engine in term.engines}))

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernels of all terms."""
        if len(members) != 1 or not isinstance(members[0], Sum):
            return None
        kernels: list[Kernel] = []
        for term in members[0].terms:
            own = term.kernels([term]) if isinstance(term, HasKernels) else None
            if own is None:
                return None
            kernels += own
        return kernels

    def config(self) -> dict[str, Any]:
        """Return the descriptions of the terms."""
        return {"architecture": "sum", "terms": [term.config() for term in self.terms]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Sum":
        """Restore each term."""
        return cls([from_config(term) for term in config["terms"]])


def _within(graph: Graph, term: Potential) -> Graph:
    return graph.within(term.cutoff)
