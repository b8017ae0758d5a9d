"""What every potential is: atomic energies, from which energy, forces and stress are derived."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models import references
from aiida_mlal.ml.models.layers import LayerGradient
from aiida_mlal.ml.options import within

if TYPE_CHECKING:
    from aiida_mlal.ml.models.observed import Process

PREDICTED = 20_000
"""Of how many atoms energies and forces are predicted at a time."""

ABILITIES = {
    "last_layer": "last layer",
    "features": "descriptors of atoms",
    "process": "Gaussian process",
}
"""Methods that only some potentials have, and what these have then."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energies, forces and stresses; those of a committee have a leading axis ``members``.

    Attributes
    ----------
    energies
        In eV, one for each structure.
    forces
        In eV/Å, one vector for each atom.
    stresses
        In eV/Å³, positive in tension; NaN for structures not periodic in all directions.
    """

    energies: Float[Tensor, "*members structures"]
    forces: Float[Tensor, "*members atoms 3"]
    stresses: Float[Tensor, "*members structures 3 3"]

    def __add__(self, other: "Prediction") -> "Prediction":
        """Add two predictions; a single one is added to each member of a committee."""
        return Prediction(
            self.energies + other.energies,
            self.forces + other.forces,
            self.stresses + other.stresses,
        )

    def mean(self) -> "Prediction":
        """Return the mean over the members of a committee."""
        return Prediction(self.energies.mean(0), self.forces.mean(0), self.stresses.mean(0))

    def detach(self) -> "Prediction":
        """Return the same values outside the graph of derivatives."""
        return Prediction(self.energies.detach(), self.forces.detach(), self.stresses.detach())

    def take(self, graph: Graph, structures: Int[np.ndarray, " chosen"]) -> "Prediction":
        """Return the values of some of the structures of ``graph``, which may repeat."""
        return Prediction(
            self.energies[..., structures],
            self.forces[..., graph.atoms_of(structures), :],
            self.stresses[..., structures, :, :],
        )

    @staticmethod
    def stack(predictions: Sequence["Prediction"]) -> "Prediction":
        """Return the predictions of single models as those of a committee."""
        return Prediction(
            torch.stack([p.energies for p in predictions]),
            torch.stack([p.forces for p in predictions]),
            torch.stack([p.stresses for p in predictions]),
        )


class Prepared:
    """Fixed structures for which a potential predicts again and again while it is trained."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def predict(self, potential: Any) -> Prediction:
        """Predict with the weights that ``potential`` has now, without reference energies."""
        with plugins.named("models", potential, *plugins.NUMERICAL):
            prediction: Prediction = potential.interaction(self.graph)
        return prediction

    def energies(self, potential: Any) -> Float[Tensor, " structures"]:
        """Return these energies (eV) alone, for less than they cost together with the forces."""
        return self.graph.sum_over_atoms(potential.atomic_energies(self.graph))

    def derivatives(
        self, potential: Any, weights: Sequence[nn.Parameter] | None = None
    ) -> Prediction:
        """Return the derivatives of the prediction by each weight, along a leading axis.

        Weights stand in the order of ``potential.parameters()``, those that are fixed left out,
        or they are only the ``weights`` that are given.
        """
        if weights is None:
            weights = [w for w in potential.parameters() if w.requires_grad]
        with torch.enable_grad():
            said = self.predict(potential)
        return Prediction(
            *(_by_each(values, weights) for values in (said.energies, said.forces, said.stresses))
        )

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "Prepared":
        """Return some of the structures, which may repeat."""
        return Prepared(self.graph.take(structures))


class Potential(nn.Module, ABC):
    """An interatomic potential. A subclass says only what the energy of each atom is.

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

    _species: Tensor

    extras: Mapping[str, Tensor] = MappingProxyType({})
    """What a measure of uncertainty keeps with these weights, such as an active set."""

    def __init__(self, elements: Sequence[str], cutoff: float) -> None:
        super().__init__()
        unknown = sorted(set(elements) - set(chemical_symbols[1:]))
        if unknown:
            raise ValueError(f"{unknown} are no chemical elements")
        if not elements or len(set(elements)) != len(elements):
            raise ValueError(f"expected one or more different elements, got {list(elements)}")
        if not cutoff > 0:
            raise ValueError(f"expected a cutoff above 0 Å, got {cutoff}")
        self.elements = tuple(sorted(elements, key=atomic_numbers.__getitem__))
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
        """Return options with what was left open decided by structures to learn from."""
        return options

    @property
    def members(self) -> "list[Potential]":
        """What this is the mean of; a single model is its only member."""
        return [self]

    @property
    def terms(self) -> "list[Potential]":
        """What this is the sum of; a single model is its only term."""
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
        with plugins.named("models", self, *plugins.NUMERICAL):
            found = self.interaction(graph)
        return replace(found, energies=self.absolute(graph, found.energies))

    def interaction(self, graph: Graph) -> Prediction:
        r"""Predict energies beyond the reference energies, forces and stresses.

        Forces and stresses depend on positions through the edges only: with :math:`g_e` the
        derivative of the energy by edge :math:`e` from atom :math:`i` to :math:`j`,
        :math:`F_i = \sum_{e: i\to} g_e - \sum_{e: \to i} g_e` and
        :math:`\sigma = \sum_e g_e \otimes r_e / V`. While gradients of the weights are wanted,
        forces and stresses can be differentiated again.
        """
        learning = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        with torch.enable_grad():
            graph = replace(graph, vectors=graph.vectors.detach().requires_grad_())
            energies = graph.sum_over_atoms(self.atomic_energies(graph).double())
            gradient = torch.autograd.grad(
                energies.sum(), graph.vectors, create_graph=learning, materialize_grads=True
            )[0]
        prediction = Prediction(energies, *forces_and_stresses(graph, gradient))
        return prediction if learning else prediction.detach()

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
        """Return how many atoms of each element the structures have."""
        species = self.species(graph.numbers).numpy(force=True)
        found = np.zeros((len(graph.volumes), len(self.elements)))
        np.add.at(found, (graph.owner.numpy(force=True), species), 1)
        return found

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
        """Return what is to be learned of energies, forces and stresses, as the weights are.

        Reference energies are subtracted in the precision of ``targets``, which ought to be double.
        """
        energies = targets.energies - self.absolute(graph, torch.zeros_like(graph.volumes))
        values = (energies, targets.forces, targets.stresses)
        return Prediction(*(part.to(self.dtype) for part in values))

    def get_extra_state(self) -> Tensor:
        """Return the atomic number and the reference energy (eV) of each element that has one."""
        rows = [(atomic_numbers[e], value) for e, value in sorted(self.references.items())]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the reference energies that ``get_extra_state`` returned."""
        if not (state.ndim == 2 and state.shape[1] == 2):
            raise ValueError(f"expected rows of an atomic number and an energy, got {state.shape}")
        symbols = dict(enumerate(chemical_symbols))
        found = {symbols.get(number): value for number, value in state.tolist()}
        self.references = references.check(found, "reference energies")

    def prepare(self, graph: Graph) -> "Prepared":
        """Compute, once, what the predictions for fixed structures need and no weight changes."""
        return Prepared(graph)

    def energy_rows(self, graph: Graph) -> Float[Tensor, "atoms parameters"]:
        """Return the derivative of the energy of each atom by the weights that are not fixed.

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
        return _by_each(energies, weights).T

    def last_layer(self, graph: Graph) -> Float[Tensor, "atoms weights"]:
        """Return the derivative of the energy of each atom by the weights of the last layer.

        Those of a network that multiply its last hidden layer, without biases. It is a
        differentiable function of ``graph.vectors``, from which the derivatives of forces follow.

        Raises
        ------
        ValueError
            If the potential is no network.
        """
        raise missing(self.config()["architecture"], "last_layer")

    @property
    def last_weights(self) -> Float[Tensor, " weights"]:
        """What the columns of ``last_layer`` are multiplied with in an energy."""
        raise missing(self.config()["architecture"], "last_layer")

    def last_layer_tangents(
        self, graph: Graph, along: Float[Tensor, "directions edges 3"]
    ) -> Float[Tensor, "directions atoms weights"]:
        """Return the derivatives of ``last_layer`` where the edges move along some directions."""

        def moved(direction: Tensor) -> Tensor:
            found = torch.func.jvp(
                lambda vectors: self.last_layer(replace(graph, vectors=vectors)),
                (graph.vectors,),
                (direction,),
            )
            tangent: Tensor = found[1]
            return tangent

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch warns of what it does
            tangents: Tensor = torch.func.vmap(moved)(along)
        return tangents

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Describe each atom by what its energy is read off; ``ValueError`` if nothing does."""
        raise missing(self.config()["architecture"], "features")

    @property
    def process(self) -> "Process":
        """The Gaussian process whose mean this is, or is on a prior; ``ValueError`` if none is."""
        raise missing(self.config()["architecture"], "process")

    def layer_gradients(self, graph: Graph) -> list[LayerGradient]:
        """Return derivatives of atomic energies by the weights of linear layers, as products.

        Empty for a potential that is no network.
        """
        return []

    @property
    def engines(self) -> tuple[str, ...]:
        """What predicts many structures together: ``torch``, ``numba`` or, in a sum, both."""
        return ("torch",)

    @classmethod
    def kernels(cls, members: Sequence["Potential"]) -> list[Kernel] | None:
        """Return kernels for the CPU whose sum several potentials are, if there are such.

        They know nothing of reference energies. The first potential is of this class. A kernel is
        for all of them, or they have it in common.
        """
        return None

    def initialise(self, prepared: "Prepared", targets: Prediction, seed: int) -> None:
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
        strange = sorted(set(elements) - set(self.elements))
        if not strange:
            return
        problem = f"the potential knows {list(self.elements)}, the structures have {strange}"
        if list(self.elements) == chemical_symbols[1 : 1 + len(self.elements)]:
            problem += "; species of a file that does not name them count as H, He, ...: say which "
            problem += "elements they are"
        raise ValueError(problem)

    def check_structures(self, structures: Configurations) -> None:
        """Raise ``ValueError`` for the first structure that nothing can be predicted for.

        That is one of an element that this potential does not know, or without a proper cell.
        """
        structures.check_cells()
        strange = ~np.isin(structures.numbers, [atomic_numbers[one] for one in self.elements])
        if strange.any():
            with within(structures.called(int(structures.owner[strange.argmax()]))):
                self.check_elements(structures.elements)

    def remarks(self, configurations: Configurations) -> str:
        """Say what makes predictions for some structures doubtful; empty if nothing does."""
        from aiida_mlal.ml.uncertainty.domain import Domain  # which looks at potentials

        parts = [part for part in self.modules() if isinstance(part, Potential)][1:]
        said = [p.remarks(configurations) for p in parts]
        domain = Domain.stored(self)
        if domain is not None:
            said.append(domain.remarks(configurations))
        return "; ".join(dict.fromkeys(filter(None, said)))

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights, and so of what is predicted."""
        return next((t.dtype for t in self._floats()), torch.float64)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._species.device

    def graph(self, configurations: Configurations) -> Graph:
        """Return the graph of structures as this potential wants it."""
        return Graph.of(configurations, self.cutoff, self.dtype, self.device)

    def predict(self, configurations: Configurations) -> Configurations:
        """Return the structures with predicted energies, forces and stresses as labels."""
        pieces = list(configurations.slices(PREDICTED)) or [slice(0)]
        with torch.no_grad():
            found = [self(self.graph(configurations[piece])) for piece in pieces]
        return configurations.with_labels(
            *(
                torch.cat([getattr(part, name) for part in found]).cpu().numpy()
                for name in ("energies", "forces", "stresses")
            )
        )

    def _floats(self) -> list[Tensor]:
        return [t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point()]


def is_able(model: type[Potential], ability: str) -> bool:
    """Return whether potentials of a class have one of ``ABILITIES``."""
    return getattr(model, ability) is not getattr(Potential, ability)


def missing(architecture: str, ability: str) -> ValueError:
    """Return the error of a model that has not one of ``ABILITIES``; it names those that have."""
    from aiida_mlal.ml.plugins import usable  # which know the models of others as well

    made = {name: model for name, model in usable("models").items() if model.Options is not None}
    having = [name for name, model in made.items() if is_able(model, ability)]
    return ValueError(
        f"a potential of the model {architecture!r} has no {ABILITIES[ability]}, models that have "
        f"are {having}"
    )


def common_elements(potentials: Sequence[Potential]) -> tuple[str, ...]:
    """Return the elements that all of the potentials know; ``ValueError`` if they differ."""
    found = sorted({potential.elements for potential in potentials})
    if len(found) != 1:
        raise ValueError(
            f"expected one or more potentials of the same elements, got {list(map(list, found))}"
        )
    return found[0]


def difference(wanted: Any, found: Any, where: str = "model") -> str:
    """Return where two descriptions differ first, in words; nothing if they are equal."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = sorted({*wanted, *found})
        pairs = [(wanted.get(key), found.get(key), f"{where}.{key}") for key in keys]
    elif isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        if len(wanted) != len(found):
            return f"{where} has {len(wanted)} parts, in the file {len(found)}"
        pairs = [(w, f, f"{where}[{i}]") for i, (w, f) in enumerate(zip(wanted, found))]
    else:
        return "" if wanted == found else f"{where} is {wanted!r}, in the file {found!r}"
    return next(filter(None, (difference(*pair) for pair in pairs)), "")


def _by_each(values: Tensor, weights: Sequence[nn.Parameter]) -> Tensor:
    """Return the derivatives of ``values`` by each weight along a new leading axis."""
    unit = torch.eye(values.numel(), dtype=values.dtype, device=values.device)
    rows = torch.autograd.grad(
        values,
        weights,
        unit.reshape(-1, *values.shape),
        is_grads_batched=True,
        retain_graph=True,
        materialize_grads=True,
    )
    n = values.numel()  # rows of weights that do not matter come as a bare zero
    full = [row.expand(n, *weight.shape).reshape(n, -1) for row, weight in zip(rows, weights)]
    return torch.cat(full, dim=1).T.reshape(-1, *values.shape)


def forces_and_stresses(
    graph: Graph, gradient: Float[Tensor, "edges 3"]
) -> tuple[Float[Tensor, "atoms 3"], Float[Tensor, "structures 3 3"]]:
    """Return forces (eV/Å) and stresses (eV/Å³) from the derivative of the energy by each edge."""
    centre, neighbour = graph.pairs
    forces = gradient.new_zeros(len(graph.numbers), 3)
    forces = forces.index_add(0, centre, gradient).index_add(0, neighbour, -gradient)
    virial = gradient.new_zeros(len(graph.volumes), 3, 3).index_add(
        0, graph.owner[centre], graph.vectors[:, :, None] * gradient[:, None, :]
    )
    return forces, stresses_of(virial, graph.volumes)


def stresses_of(
    virials: Float[Tensor, "... structures 3 3"], volumes: Float[Tensor, " structures"]
) -> Float[Tensor, "... structures 3 3"]:
    """Return stresses (eV/Å³) from virials (eV); NaN where there is no volume.

    A NaN that no loss looks at leaves the derivatives of the others finite.
    """
    nowhere = volumes.isnan()
    twice = 2 * volumes.masked_fill(nowhere, 1.0)[:, None, None]
    stresses = (virials + virials.transpose(-1, -2)) / twice
    return stresses.masked_fill(nowhere[:, None, None], torch.nan)
