"""The extrapolation grade as a measure of uncertainty."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import Evaluation
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.base import Bound, Fitted, Uncertainties, Uncertainty
from aiida_mlal.ml.uncertainty.maxvol import START, SWAP
from aiida_mlal.ml.uncertainty.rows import rows_of

ANY = "an active set"
"""What is carried, of whatever mode."""


@dataclass(frozen=True)
class Grade(Uncertainty):
    """How far a structure, or in the neighbourhood mode an atom, is from the active set.

    Below 1 a potential interpolates. The potential must carry an active set, as moment tensor
    potentials do that `mlal train` made, and others if they are trained with this as the option
    ``uncertainty``.

    Attributes
    ----------
    mode
        Whether configurations or neighbourhoods have grades; by default as in the active set that
        the potential carries, and configurations in one that is made.
    threshold
        Grade from which a structure enters an active set that is made.
    start
        Size of the rows that stand for what no structure determines, in one that is made.
    """

    kind: ClassVar[str] = "grade"
    unit: ClassVar[str] = "1"
    has_domain: ClassVar[bool] = False

    mode: Literal["configuration", "neighbourhood"] | None = None
    threshold: float = SWAP
    start: float = START

    def __post_init__(self) -> None:
        """Refuse a threshold that every swap meets."""
        if not self.threshold > 1:
            raise ValueError(f"expected a threshold above 1, got {self.threshold}")
        if not self.start > 0:
            raise ValueError(f"expected start above 0, got {self.start}")

    @property
    def unreliable(self) -> float:
        """The usual grade at which MLIP ends a simulation.

        I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021).
        """
        return 10.0

    @property
    def provides(self) -> frozenset[str]:
        """An active set of a mode."""
        return frozenset({ANY, f"{ANY} of the mode {self.mode or 'configuration'!r}"})

    @property
    def requires(self) -> frozenset[str]:
        """The active set of this mode, or any."""
        return frozenset({ANY}) if self.mode is None else self.provides

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Return the active set."""
        mode = self.mode or "configuration"
        active = ActiveSet.of(potential, configurations, mode, self.threshold, self.start)
        about = {"mode": active.mode, "rank": active.rank, "n_parameters": len(active.equations)}
        return Fitted(active.tensors, {**about, "n_structures": len(active.configurations)})

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Tell if a potential carries an active set."""
        return ActiveSet.is_in(potential)

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Compute the grades; ``ValueError`` for a potential without such an active set."""
        active = self._active_set(potential)
        rows = rows_of(potential, graph, active.weights)
        grades = active.of_rows(rows, len(graph.volumes), len(graph.numbers))
        return Uncertainties(self.kind, self.unit, grades.values, grades.per_atom)

    def bind(self, potential: Potential) -> Bound:
        """Grade the derivatives of atomic energies by parameters, where rows are made of these."""
        active = self._active_set(potential)
        if not active.weights.simple:
            return super().bind(potential)

        def measure(seen: Evaluation) -> Uncertainties:
            if seen.gradients is None:
                raise ValueError("a grade needs the derivatives of atomic energies")
            grades = active.of_sites(seen.gradients)
            return Uncertainties(self.kind, self.unit, grades.values, grades.per_atom)

        return Bound(measure, needs_gradients=True)

    def _active_set(self, potential: Potential) -> ActiveSet:
        active = ActiveSet.stored(potential)
        if self.mode not in (None, active.mode):
            raise ValueError(
                f"the active set that the potential carries is of the mode {active.mode!r}: for "
                f"{self.mode!r} it has to be made again from the training set"
            )
        return active
