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
from aiida_mlal.ml.watching import in_parts

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
        """Add the columns ``uncertainty`` and ``uncertainties`` to the structures."""
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
        Measures the uncertainty of what an engine has evaluated.
    needs_gradients
        Whether it looks at the derivatives of atomic energies by the parameters.
    """

    of: Callable[[Evaluation], Uncertainties]
    needs_gradients: bool = False

    def __call__(self, seen: Evaluation) -> Uncertainties:
        """Measure the uncertainty of a structure."""
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
    def unreliable(self) -> float:
        """The value from which predictions cannot be relied upon, whatever is simulated.

        By default of errors of 1 eV/Å and 0.1 eV/atom; there is none of what has other units.
        """
        return {"eV/Å": 1.0, "(eV/Å)^2": 1.0, "eV/atom": 0.1}.get(self.unit, np.inf)

    @property
    def is_of_forces(self) -> bool:
        """Whether it looks at forces alone, so that it is 0 where symmetry makes them zero."""
        return False

    def check_model(self, model: "ModelOptions") -> None:  # noqa: B027
        """Raise ``ValueError`` for a model whose potentials are not of the kind that this needs."""

    has_domain: ClassVar[bool] = True
    """Whether it grows by the score of a ``Domain``; not where it knows by itself."""

    with_volume: ClassVar[tuple[str, ...]] = ("energy_std", "grade")
    """Where it is of forces alone: measures that change with the volume, of the same potentials."""

    @property
    def with_stress(self) -> "Uncertainty":
        """The measure that judges the stress too, for cells that move; else this one."""
        return self

    def check_cell(self, cell: MovingCell, thresholds: Sequence[str]) -> None:
        """Raise ``ValueError`` if the cell moves and this is of forces alone.

        In a crystal whose forces are zero by symmetry it never reaches any threshold.
        """
        if cell and self.is_of_forces:
            others = {self.with_stress.kind} - {self.kind} or self.with_volume
            choices = [f"{one!r} (in {plugins.find('uncertainties', one).unit})" for one in others]  # type: ignore[attr-defined]
            raise ValueError(
                f"the uncertainty {self.kind!r} is of forces alone, which are certain to be zero "
                "in many crystals, and the cell moves: name another one in guard.uncertainty, such "
                f"as {' or '.join(sorted(choices))}, for {' and '.join(map(repr, thresholds))}"
            )

    @abstractmethod
    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Measure the uncertainty of the predictions for each structure of a graph.

        Raises
        ------
        ValueError
            If the potential is not of the kind that this measure needs.
        """

    @property
    def provides(self) -> frozenset[str]:
        """What training for this measure leaves with a potential, in words."""
        return frozenset()

    @property
    def requires(self) -> frozenset[str]:
        """What a potential must carry for this measure, in the words of ``provides``."""
        return self.provides

    def check_provided(self, trained: "Uncertainty | None") -> None:
        """Raise ``ValueError`` unless training for another measure, or none, is enough for this."""
        missing = sorted(self.requires - (frozenset() if trained is None else trained.provides))
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
        """Compute what the measure needs of the training set, such as an information matrix.

        Nothing for a measure of predictions alone.

        Parameters
        ----------
        configurations
            The labelled structures.
        held_out
            Those, perhaps among them, that were not learned from.
        """
        return Fitted()

    def believing(self, potential: Potential, structures: Configurations) -> Potential:
        """Return the potential as if structures had been labelled too, just as it predicts them.

        Raises
        ------
        ValueError
            If this depends on values of labels, as it does by default.
        """
        raise ValueError(f"the uncertainty {self.kind!r} depends on labels that are not known yet")

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Tell if a potential carries the extras of ``fitted``."""
        return False

    def bind(self, potential: Potential) -> Bound:
        """Make the measure for a calculator, which has one ``Evaluation`` after another.

        Overridden by measures that need no more than that, or save work by it; others are computed
        by torch from the graph of each structure.
        """

        def measure(seen: Evaluation) -> Uncertainties:
            if seen.graph is None:
                raise ValueError(f"the uncertainty {self.kind!r} needs the graph of a structure")
            return self.of(potential, seen.graph())

        return Bound(measure)

    def measure(
        self, potential: Potential, configurations: Configurations, batch: int = 64
    ) -> Uncertainties:
        """Measure structures, ``batch`` of them at a time; larger outside of the ``Domain``."""
        with plugins.named("uncertainties", self, *plugins.NUMERICAL):
            n = len(configurations)
            parts = (slice(start, min(start + batch, n)) for start in range(0, n, batch))
            measured = [
                self.of(potential, potential.graph(configurations[part]))
                for part in in_parts(parts, f"structures with their {self.kind}")
            ]
        if not measured:
            return Uncertainties(self.kind, self.unit, np.zeros(0))
        per_atom = [part.per_atom for part in measured if part.per_atom is not None]
        bare = Uncertainties(
            self.kind,
            self.unit,
            np.concatenate([part.values for part in measured]),
            np.concatenate(per_atom) if per_atom else None,
        )
        domain = self.domain(potential)
        if domain is None:
            return bare
        scores = domain.scores(configurations.numbers, domain.surroundings(configurations))
        kind = self.is_variance, self.is_of_forces
        return domain.widen(bare, scores, configurations.owner, *kind)

    def domain(self, potential: Potential) -> Domain | None:
        """Return the domain that the potential carries, outside of which this measure is larger."""
        return Domain.stored(potential) if self.has_domain else None
