"""The structures whose labels would reduce the variance of a network most."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.base import Choice, Query, Strategy, by_content, largest
from aiida_mlal.ml.uncertainty.criterion import Criterion, Quantity

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.uncertainty.design import Design
    from aiida_mlal.ml.uncertainty.oed import OED

TRIED = 8
"""Structures whose gains are updated at a time, after others were chosen."""


@dataclass(frozen=True)
class OptimalDesign(Criterion, Strategy):
    """Choose the structures of largest expected change of the variance of the output.

    Optimal experimental design: V. Zaverkin and J. Kästner, Mach. Learn.: Sci. Technol. 2, 035009
    (2021), with the measure ``oed``. The information matrix is that of the labelled structures; if
    there are none, that which the potential carries.

    Attributes
    ----------
    sequential
        Whether each choice adds to the information before the next (equation 10), so that not all
        are alike. In the paper the ``n`` largest are chosen at once.
    """

    sequential: bool = False

    wants_trained: ClassVar[bool] = True
    score: ClassVar[str] = "informativeness"

    def __post_init__(self) -> None:
        """Refuse limits that are none."""
        Criterion.__post_init__(self)
        Strategy.__post_init__(self)

    def check_model(self, model: "ModelOptions") -> None:
        """Want a network."""
        from aiida_mlal.ml.models.capabilities import HasLastLayer  # torch is slow to import

        model.require(HasLastLayer)

    def _choose(self, query: Query, n: int) -> list[Choice]:
        if query.potential is None:
            raise ValueError("the strategy 'oed' needs a potential, and none was given")
        from aiida_mlal.ml.uncertainty.oed import OED

        measure = OED(self.quantity, self.beta, self.reduce, self.threshold, self.ridge)
        designs = self._designs(query, query.potential)
        search = _Search(query, query.potential, measure, designs)
        if not self.sequential:
            return largest(query, measure.scores(search.gains(), designs), n, "informativeness")
        choices = search.energies_in_turn(n) if self.quantity == "energy" else search.in_turn(n)
        return [
            Choice(int(query.order[i]), score, f"informativeness {score:.4g}, choice {rank}")
            for rank, (i, score) in enumerate(choices, start=1)
        ]

    def _designs(self, query: Query, potential: "Potential") -> "dict[Quantity, Design]":
        from aiida_mlal.ml.uncertainty.design import Design

        train = query.train[by_content(query.train.keys)]
        if not len(train):
            return {quantity: Design.stored(potential, quantity) for quantity in self.parts}
        return {q: Design.of(potential, train, q, self.ridge) for q in self.parts}


@dataclass(frozen=True)
class _Search:
    """A pool, looked at in the order of its content and in parts."""

    query: Query
    potential: "Potential"
    measure: "OED"
    designs: "dict[Quantity, Design]"

    def gains(self) -> Float[np.ndarray, " pool"]:
        """Return the gain of each candidate; NaN for the rest of the pool."""
        from aiida_mlal.ml.uncertainty.design import N_ATOMS

        values = np.full(len(self.query.pool), np.nan)
        order = self.query.order
        for part, some in self.query.parts(min(N_ATOMS[quantity] for quantity in self.designs)):
            graph = self.potential.graph(some)
            values[order[part]] = self.measure.gains(self.potential, graph, self.designs)[0]
        strange = order[~np.isfinite(values[order])]
        if len(strange):
            raise ValueError(
                f"the last layer says nothing finite of {len(strange)} structures of the pool, "
                f"the first of them is {strange.min()}"
            )
        return values

    def energies_in_turn(self, n: int) -> list[tuple[int, float]]:
        """Choose energies in turn, each adding to the information: indices in the order, scores."""
        from aiida_mlal.ml.fast.determinant import greedy_determinant  # numba is slow to import
        from aiida_mlal.ml.uncertainty.design import N_ATOMS, sensitivities
        from aiida_mlal.ml.uncertainty.information import gain

        information = self.designs["energy"].information
        rows = np.empty((len(self.query.order), len(information.matrix)), np.float32)
        for part, some in self.query.parts(N_ATOMS["energy"]):
            graph = self.potential.graph(some)
            rows[part] = information.whitened(sensitivities(self.potential, graph, "energy"))
        chosen, variances = greedy_determinant(rows, n)
        scores = self.measure.scores(gain(variances), self.designs)
        return list(zip(chosen.tolist(), scores.tolist()))

    def in_turn(self, n: int) -> list[tuple[int, float]]:
        """Do so with forces, whose rows are computed again where they are needed.

        Gains only become smaller, so those that were too small before are not updated.
        """
        from aiida_mlal.ml.uncertainty.information import with_rows

        covariances = {q: design.information.covariance for q, design in self.designs.items()}
        bounds = self.gains()[self.query.order]
        choices: list[tuple[int, float]] = []
        for _ in range(n):
            stale = np.isfinite(bounds)
            while stale[best := int(bounds.argmax())]:
                again = np.argsort(np.where(stale, -bounds, np.inf), kind="stable")[:TRIED]
                again = again[stale[again]]
                bounds[again] = self._again(again, covariances)
                stale[again] = False
            score = self.measure.scores(bounds[best : best + 1], self.designs)
            choices.append((best, float(score[0])))
            bounds[best] = -np.inf
            rows = self._rows(np.array([best]))
            covariances = {q: with_rows(c, rows[q][0]) for q, c in covariances.items()}
        return choices

    def _rows(self, indices: np.ndarray) -> "dict[Quantity, list[np.ndarray]]":
        """Compute the rows of each of some structures, given by indices in the order."""
        from aiida_mlal.ml.uncertainty.design import sensitivities

        some = self.query.pool[self.query.order[indices]]
        graph, by_quantity = self.potential.graph(some), {}
        for quantity in self.designs:
            rows = sensitivities(self.potential, graph, quantity)
            ends = some.offsets[1:-1] if quantity == "forces" else range(1, len(some))
            split = np.split(rows, ends)
            by_quantity[quantity] = [part.reshape(-1, part.shape[-1]) for part in split]
        return by_quantity

    def _again(
        self, indices: np.ndarray, covariances: "dict[Quantity, np.ndarray]"
    ) -> Float[np.ndarray, " indices"]:
        """Compute the gains of some structures with the present information."""
        from aiida_mlal.ml.uncertainty.information import gain

        total = np.zeros(len(indices))
        for quantity, rows in self._rows(indices).items():
            weight = self.measure.parts[quantity]
            for i, mine in enumerate(rows):
                gains = gain(np.einsum("ij,jk,ik->i", mine, covariances[quantity], mine))
                total[i] += weight * (gains.mean() if self.measure.column == 0 else gains.max())
        return total
