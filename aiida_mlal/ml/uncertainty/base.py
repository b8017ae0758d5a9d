"""What every measure of uncertainty is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import Evaluation
from aiida_mlal.ml.frames import UNCERTAINTIES, UNCERTAINTY
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.uncertainty.domain import Domain

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions


@dataclass(frozen=True, eq=False)
class Uncertainties:
    """How uncertain the predictions for some structures are.

    Attributes
    ----------
    kind
        Name of the measure.
    unit
        Of the values.
    values
        One for each structure: the larger, the less is known.
    per_atom
        One for each atom, where the measure has one.
    """

    kind: str
    unit: str
    values: Float[np.ndarray, " structures"]
    per_atom: Float[np.ndarray, " atoms"] | None = None

    def attach(self, configurations: Configurations) -> Configurations:
        """Return the structures with the columns ``uncertainty`` and ``uncertainties``."""
        atoms = {} if self.per_atom is None else {UNCERTAINTIES: self.per_atom}
        return configurations.with_columns({UNCERTAINTY: self.values, **atoms})


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a measure has to know of a training set, such as an active set.

    Attributes
    ----------
    extras
        Tensors that the potential carries from then on, in its file too; each measure has a
        prefix of its own for their names.
    about
        What is worth telling of them, as JSON values.
    """

    extras: Mapping[str, Tensor] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bound:
    """A measure for one potential, asked for one structure after another by a calculator.

    Attributes
    ----------
    of
        Returns how uncertain the potential is about what an engine has evaluated.
    needs_gradients
        Whether it looks at the derivatives of atomic energies by the parameters.
    """

    of: Callable[[Evaluation], Uncertainties]
    needs_gradients: bool = False

    def __call__(self, seen: Evaluation) -> Uncertainties:
        """Return how uncertain the potential is about a structure."""
        return self.of(seen)


@dataclass(frozen=True)
class Uncertainty(ABC):
    """A measure of uncertainty. A subclass is a frozen dataclass, its fields the options."""

    kind: ClassVar[str]
    unit: ClassVar[str]

    is_variance: ClassVar[bool] = False
    """Whether it grows like the square of an error."""

    @property
    def largest(self) -> float:
        """The value that it approaches but never exceeds; by default there is none."""
        return np.inf

    @property
    def is_of_forces(self) -> bool:
        """Whether it looks at forces alone, so that it is 0 where symmetry makes them zero."""
        return False

    def check_model(self, model: "ModelOptions") -> None:  # noqa: B027
        """Raise ``ValueError`` for a model whose potentials are not of the kind that this needs."""

    has_domain: ClassVar[bool] = True
    """Whether it grows by the score of a ``Domain``; not where it knows by itself."""

    @property
    def with_stress(self) -> "Uncertainty":
        """The measure that judges the stress too, for cells that move; else this one."""
        return self

    def check_cell(self, cell: MovingCell, thresholds: Sequence[str]) -> None:
        """Raise ``ValueError`` if the cell moves and this is of forces alone.

        In a crystal whose forces are zero by symmetry it never reaches any threshold.
        """
        if cell and self.is_of_forces:
            others = {self.with_stress.kind} - {self.kind} or {"energy_std", "grade"}
            raise ValueError(
                f"the uncertainty {self.kind!r} is of forces alone, which are certain to be zero "
                "in many crystals, and the cell moves: choose another one, such as "
                f"{' or '.join(map(repr, sorted(others)))}, "
                f"for {' and '.join(map(repr, thresholds))}"
            )

    @abstractmethod
    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Return how uncertain the potential is about each structure of a graph.

        Raises
        ------
        ValueError
            If the potential is not of the kind that this measure needs.
        """

    @property
    def carried(self) -> frozenset[str]:
        """What potentials carry that were trained for this measure, in words."""
        return frozenset()

    @property
    def needed(self) -> frozenset[str]:
        """What of that, or of what another measure lets them carry, this one cannot do without."""
        return self.carried

    def check_carried(self, trained: "Uncertainty | None") -> None:
        """Raise ``ValueError`` unless training for another measure, or none, is enough for this."""
        missing = sorted(self.needed - (frozenset() if trained is None else trained.carried))
        if missing:
            raise ValueError(
                f"the uncertainty {self.kind!r} needs a potential that carries {missing[0]}, as "
                "training leaves it with the same name and options as the option 'uncertainty'"
            )

    wants_held_out: ClassVar[bool] = False
    """Whether it has to know of labelled structures that were not learned from."""

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Return what this measure has to know of the labels that a potential was trained with.

        A measure that looks at predictions alone has to know nothing.

        Parameters
        ----------
        configurations
            The labelled structures.
        held_out
            Those, perhaps among them, that were not learned from.
        """
        return Fitted()

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Return whether a potential carries what ``fitted`` returns, with tensors in it."""
        return False

    def bind(self, potential: Potential) -> Bound:
        """Return what measures one structure after another, by what an engine finds for each.

        Overridden where that is enough, or saves work; otherwise torch looks at each structure.
        """

        def measure(seen: Evaluation) -> Uncertainties:
            if seen.graph is None:
                raise ValueError(f"the uncertainty {self.kind!r} needs the graph of a structure")
            return self.of(potential, seen.graph())

        return Bound(measure)

    def measure(
        self, potential: Potential, configurations: Configurations, batch: int = 64
    ) -> Uncertainties:
        """Return the same for structures, ``batch`` of them at a time, larger outside of a domain.

        The domain is that of the structures that the potential has learned from, see ``Domain``.
        """
        with plugins.named("uncertainties", self, *plugins.NUMERICAL):
            found = [
                self.of(potential, potential.graph(configurations[start : start + batch]))
                for start in range(0, len(configurations), batch)
            ]
        if not found:
            return Uncertainties(self.kind, self.unit, np.zeros(0))
        per_atom = [part.per_atom for part in found if part.per_atom is not None]
        bare = Uncertainties(
            self.kind,
            self.unit,
            np.concatenate([part.values for part in found]),
            np.concatenate(per_atom) if per_atom else None,
        )
        domain = self.domain(potential)
        if domain is None:
            return bare
        scores = domain.scores(configurations.numbers, domain.surroundings(configurations))
        kind = self.is_variance, self.is_of_forces
        return domain.widen(bare, scores, configurations.owner, *kind)

    def domain(self, potential: Potential) -> Domain | None:
        """Return the domain outside of which this measure is larger."""
        return Domain.stored(potential) if self.has_domain else None
