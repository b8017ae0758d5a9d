"""What some potentials have beside energies: a last layer, descriptors, kernels.

Each is a protocol. A potential that has it derives from the protocol too, or has all of its
methods; who needs it asks ``require(potential, HasLastLayer)``. Sums and ensembles have what their
terms and members have, and raise the same ``ValueError`` where one lacks it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml import plugins
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.layers import LayerGradient

if TYPE_CHECKING:
    from aiida_mlal.ml.configurations import Configurations
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.observed import Process

Capability = TypeVar("Capability")


@runtime_checkable
class Adapts(Protocol):
    """A prior with a few parameters that are fitted to labels before anything else learns."""

    def adapt(self, labelled: "Configurations") -> None:
        """Fit them, independent of what they are so far."""


@runtime_checkable
class HasLastLayer(Protocol):
    """A network, whose energies are linear in the weights of its last layer."""

    def last_layer(self, graph: Graph) -> Float[Tensor, "atoms weights"]:
        """Differentiate the energy of each atom (eV) by the weights of the last layer.

        Those that multiply the last hidden layer, without biases. A differentiable function of
        ``graph.vectors``, from which the derivatives of forces follow.
        """

    def last_weights(self) -> Float[Tensor, " weights"]:
        """Return these weights: ``last_layer(graph) @ last_weights()`` is their energy in eV."""


@runtime_checkable
class HasLayers(Protocol):
    """A network of linear layers."""

    def layer_gradients(self, graph: Graph) -> list[LayerGradient]:
        """Differentiate atomic energies (eV) by the weights of each layer, as outer products."""


@runtime_checkable
class HasDescriptors(Protocol):
    """Energies that are functions of descriptors of atoms."""

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the descriptor of each atom."""


@runtime_checkable
class HasProcess(Protocol):
    """The mean of a Gaussian process, perhaps on a prior."""

    def process(self) -> "Process":
        """Return the process."""


@runtime_checkable
class HasKernels(Protocol):
    """Kernels in numba, which compute the same energies and forces on the CPU."""

    @classmethod
    def kernels(cls, members: "Sequence[Potential]") -> list[Kernel] | None:
        """Return kernels of which several potentials, the members of a committee, are the sum.

        The first member is of this class. A kernel is for all members, or is a term that they have
        in common; it knows nothing of reference energies. None for members that have no kernels.
        """


NAMES: dict[Any, str] = {
    HasLastLayer: "last layer",
    HasDescriptors: "descriptors of atoms",
    HasProcess: "Gaussian process",
}
"""What models lack that have not one of these capabilities, as errors call it."""


def require(potential: "Potential", capability: type[Capability]) -> Capability:
    """Return the potential as one that has a capability.

    Raises
    ------
    ValueError
        If it has not, with the names of the models that have.
    """
    if not isinstance(potential, capability):
        raise missing(potential.config()["architecture"], capability)
    return potential


def missing(architecture: str, capability: type) -> ValueError:
    """Return the error of a model that lacks a capability; it names the models that have it."""
    made = {n: model for n, model in plugins.usable("models").items() if model.Options is not None}
    having = [name for name, model in made.items() if issubclass(model, capability)]
    return ValueError(
        f"a potential of the model {architecture!r} has no {NAMES[capability]}, models that have "
        f"are {having}"
    )
