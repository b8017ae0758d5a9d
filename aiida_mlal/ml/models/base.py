"""What every potential is: atomic energies, from which energy, forces and stress are derived."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models import references
from aiida_mlal.ml.models.backends import Backend, backend
from aiida_mlal.ml.models.elements import by_atomic_number, check_known
from aiida_mlal.ml.models.prediction import Prediction, forces_and_stresses
from aiida_mlal.ml.models.prepared import Prepared, jacobian
from aiida_mlal.ml.models.registry import difference
from aiida_mlal.ml.options import within
from aiida_mlal.ml.watching import in_parts

AT_ONCE = 20_000
"""Atoms in one prediction of ``Potential.predict``: what bounds its memory."""


class Potential(nn.Module, ABC):
    """An interatomic potential. A subclass says only what the energy of each atom is.

    What only some potentials have, such as a last layer or kernels, is in ``capabilities``.

    Attributes
    ----------
    references
        Energies in eV that are added for each atom of an element, of double precision whatever that
        of the weights. An element that has none, as it was not in the labels, has their mean.

    Parameters
    ----------
    elements
        Chemical symbols of the elements that the potential knows.
    cutoff
        Distance in Å beyond which atoms do not interact.
    """

    Options: ClassVar[Any]
    """The dataclass that ``cls(elements, options)`` builds a potential from; None if it is made
    of others."""

    uncertainty: ClassVar[str | None] = None
    """The measure that such a potential is trained for, unless another one is asked for."""

    usual_training: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options of training that suit such a potential, where they are not given."""

    formats: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of files, beside ``.safetensors``, that hold such a potential alone."""

    is_learned: ClassVar[bool] = True
    """Whether it has weights that training may change."""

    is_random: ClassVar[bool] = True
    """Whether its first weights depend on the seed, so that members of an ensemble differ."""

    by_derivatives: ClassVar[bool] = True
    """Whether derivatives of the loss by its weights train it; else these are solved for."""

    backends: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """For types of devices, ``module:class`` of a ``Backend`` that computes instead of torch."""

    _species: Tensor

    extras: Mapping[str, Tensor] = MappingProxyType({})
    """What a measure of uncertainty keeps with these weights, such as an active set."""

    def __init__(self, elements: Sequence[str], cutoff: float) -> None:
        super().__init__()
        self.elements = by_atomic_number(elements)
        if not cutoff > 0:
            raise ValueError(f"expected a cutoff above 0 Å, got {cutoff}")
        self.types = self.elements
        """In the order in which files number them."""
        self.cutoff = float(cutoff)
        self.references: dict[str, float] = {}
        species = torch.full((len(chemical_symbols),), -1)
        species[[atomic_numbers[e] for e in self.elements]] = torch.arange(len(self.elements))
        self.register_buffer("_species", species, persistent=False)

    @classmethod
    def check_possible(cls, elements: Sequence[str], options: Any) -> None:
        """Raise ``ValueError`` if there can be no such potential of these elements."""

    @classmethod
    def settled(cls, options: Any, structures: Configurations) -> Any:
        """Fill in options that were left open, from structures to learn from."""
        return options

    @classmethod
    def foreseen(cls, options: Any, structures: Configurations) -> Any:
        """Fill in options that were left open, from structures that simulations will begin at."""
        return options

    @property
    def members(self) -> "list[Potential]":
        """The potentials of a committee; a single model is its only member."""
        return [self]

    @property
    def terms(self) -> "list[Potential]":
        """The potentials of a sum; a single model is its only term."""
        return [self]

    @abstractmethod
    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV, a differentiable function of ``graph.vectors``.

        Reference energies are not in it.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return ``{"architecture": ..., "elements": ..., ...}``: what ``from_config`` needs."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Potential":
        """Build the potential that ``config`` is of, its weights not yet set."""

    def forward(self, graph: Graph) -> Prediction:
        """Predict energies in double precision, forces and stresses in that of the weights."""
        prediction = self.evaluate(graph)
        return replace(prediction, energies=self.absolute(graph, prediction.energies))

    def evaluate(self, graph: Graph) -> Prediction:
        """Predict without reference energies: by the backend unless weights are learned."""
        computing = self if learning([self]) else self.backend
        with plugins.named("models", self, *plugins.NUMERICAL):
            return computing.interaction(graph)

    def interaction(self, graph: Graph) -> Prediction:
        r"""Predict energies beyond the reference energies, forces and stresses.

        Forces and stresses depend on positions through the edges only: with :math:`g_e` the
        derivative of the energy by edge :math:`e` from atom :math:`i` to :math:`j`,
        :math:`F_i = \sum_{e: i\to} g_e - \sum_{e: \to i} g_e` and
        :math:`\sigma = \sum_e g_e \otimes r_e / V`. While gradients of the weights are wanted,
        forces and stresses can be differentiated again.
        """
        differentiable = learning([self])
        with torch.enable_grad():
            graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
            energies = graph.sum_over_atoms(self.atomic_energies(graph).double())
            gradient = torch.autograd.grad(
                energies.sum(), graph.vectors, create_graph=differentiable, materialize_grads=True
            )[0]
        prediction = Prediction(energies, *forces_and_stresses(graph, gradient))
        return prediction if differentiable else prediction.detach()

    def committee(self, graph: Graph) -> Prediction:
        """Predict with each member, along a leading axis; a single model is its only member."""
        return Prediction.stack([self(graph)])

    @classmethod
    def together(cls, members: Sequence["Potential"], graph: Graph) -> Prediction:
        """Predict with several potentials, the first of this class, along a leading axis.

        Overridden where they have work in common; one after the other otherwise.
        """
        return Prediction.stack([m.forward(graph.within(m.cutoff)) for m in members])

    def composition(self, graph: Graph) -> Float[np.ndarray, "structures elements"]:
        """Count the atoms of each element in each structure."""
        species = self.species(graph.numbers).numpy(force=True)
        counts = np.zeros((len(graph.volumes), len(self.elements)))
        np.add.at(counts, (graph.owner.numpy(force=True), species), 1)
        return counts

    def reference_table(self) -> Float[np.ndarray, "members elements"]:
        """Return the reference energy of each element in eV, of each member of a committee."""
        values = list(self.references.values())
        mean = sum(values) / len(values) if values else 0.0
        return np.array([[self.references.get(element, mean) for element in self.elements]])

    def reference_energies(self) -> dict[str, float]:
        """Return the reference energy of each element in eV, the mean of a committee."""
        return dict(zip(self.elements, self.reference_table().mean(axis=0).tolist()))

    def absolute(
        self, graph: Graph, energies: Float[Tensor, " structures"]
    ) -> Float[Tensor, " structures"]:
        """Add reference energies to energies (eV) of the structures, in double precision."""
        energies = energies.double()
        if not self.references:
            return energies
        table = torch.tensor(self.reference_table()[0], device=energies.device)
        return energies + graph.sum_over_atoms(table[self.species(graph.numbers)])

    def relative(self, graph: Graph, targets: Prediction) -> Prediction:
        """Subtract the reference energies from labels: what the weights are to learn.

        In the precision of ``targets``, which ought to be double; what is returned has that of the
        weights.
        """
        energies = targets.energies - self.absolute(graph, torch.zeros_like(graph.volumes))
        values = (energies, targets.forces, targets.stresses)
        return Prediction(*(part.to(self.dtype) for part in values))

    def get_extra_state(self) -> Tensor:
        """Tabulate atomic number and reference energy (eV) of each element that has one."""
        rows = [(atomic_numbers[e], value) for e, value in sorted(self.references.items())]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the reference energies that ``get_extra_state`` returned."""
        if not (state.ndim == 2 and state.shape[1] == 2):
            raise ValueError(f"expected rows of an atomic number and an energy, got {state.shape}")
        symbols = dict(enumerate(chemical_symbols))
        energies = {symbols.get(number): value for number, value in state.tolist()}
        self.references = references.check(energies, "reference energies")

    @final
    def prepare(self, graph: Graph) -> Prepared:
        """Compute, once, what the predictions for fixed structures need and no weight changes."""
        return self.backend.prepare(graph)

    def prepare_in_torch(self, graph: Graph) -> Prepared:
        """Compute it where no kernels do."""
        return Prepared(graph)

    @property
    def backend(self) -> Backend:
        """What computes many structures where the weights are."""
        return backend(self)

    def parameter_gradients(self, graph: Graph) -> Float[Tensor, "atoms parameters"]:
        """Differentiate the energy of each atom (eV) by the weights that are not fixed.

        Raises
        ------
        ValueError
            If there is no such weight.
        """
        weights = [w for w in self.parameters() if w.requires_grad]
        if not weights:
            raise ValueError(
                f"a potential of the model {self.config()['architecture']!r} has no weights to "
                "differentiate by"
            )
        with torch.enable_grad():
            energies = self.atomic_energies(graph)
        return jacobian(energies, weights).T

    @property
    def engines(self) -> tuple[str, ...]:
        """What ``forward`` computes with: ``torch``, ``numba`` or, in a sum, both."""
        return (self.backend.name,)

    def initialise(self, prepared: Prepared, targets: Prediction, seed: int) -> None:
        """Set scales, shifts and first weights from what is to be learned, before training.

        ``targets`` are labels less the priors and reference energies; what is missing is NaN.
        """

    def warm_start(self, other: "Potential") -> None:
        """Begin with the weights and reference energies of another potential.

        Raises
        ------
        ValueError
            If the other one is not of the same model, or one that this model contains.
        """
        different = difference(self.config(), other.config())
        if different:
            raise ValueError(different)
        given = self.references
        self.load_state_dict(other.state_dict())
        self.references = given | self.references

    def species(self, numbers: Int[Tensor, " atoms"]) -> Int[Tensor, " atoms"]:
        """Return the row of each atom in the tables of this potential, not its atomic number."""
        species: Tensor = self._species[numbers]
        if bool((species < 0).any()):
            self.check_elements(chemical_symbols[z] for z in numbers.unique().tolist())
        return species

    def check_elements(self, elements: Iterable[str]) -> None:
        """Raise ``ValueError`` for elements that this potential does not know."""
        check_known(self.elements, elements)

    def check_structures(self, structures: Configurations) -> None:
        """Raise ``ValueError`` for the first structure that nothing can be predicted for.

        That is one of an element that this potential does not know, or without a proper cell.
        """
        structures.check_cells()
        strange = ~np.isin(structures.numbers, [atomic_numbers[one] for one in self.elements])
        if strange.any():
            with within(structures.called(int(structures.owner[strange.argmax()]))):
                self.check_elements(structures.elements)

    def warnings(self, structures: Configurations) -> str:
        """Name structures outside of what the form of the potential is made for; empty if none is.

        One of all ``uncertainty.doubts``.
        """
        return ""

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights, and so of what is predicted."""
        return next((t.dtype for t in self._floats()), torch.float64)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._species.device

    def graph(self, configurations: Configurations) -> Graph:
        """Make the graph of structures, with cutoff, precision and device of the potential."""
        return Graph.of(configurations, self.cutoff, self.dtype, self.device)

    @final
    def predict(self, configurations: Configurations) -> Configurations:
        """Label structures with predicted energies (eV), forces (eV/Å) and stresses (eV/Å³)."""
        pieces = list(configurations.slices(AT_ONCE)) or [slice(0)]
        with torch.no_grad():
            predictions = [
                self(self.graph(configurations[piece]))
                for piece in in_parts(pieces, "structures predicted")
            ]
        return configurations.with_labels(
            *(
                torch.cat([getattr(one, name) for one in predictions]).cpu().numpy()
                for name in ("energies", "forces", "stresses")
            )
        )

    def _floats(self) -> list[Tensor]:
        return [t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point()]


def learning(potentials: Iterable[Potential]) -> bool:
    """Tell if derivatives of predictions by weights are wanted."""
    weights = (weight for one in potentials for weight in one.parameters())
    return torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
