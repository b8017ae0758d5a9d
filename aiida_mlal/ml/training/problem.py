"""The loss of fixed structures as a function of the weights, for an optimiser."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.training.loss import Loss
from aiida_mlal.ml.training.options import LossOptions


@dataclass(frozen=True, eq=False)
class Problem:
    """A potential, fixed structures, and what it shall say of them.

    Attributes
    ----------
    potential
        Whose weights are fitted.
    prepared
        The structures, with all that does not depend on the weights.
    targets
        What to learn, missing values NaN.
    weights
        Of energies, forces and stresses.
    """

    potential: Potential
    prepared: Prepared
    targets: Prediction
    weights: LossOptions

    def loss(self) -> Float[Tensor, ""]:
        """Compute the loss with the present weights."""
        return self.measure(self._predict(self.measure.only_energies))

    def mean_absolute_errors(self) -> float:
        """Return the sum of the mean absolute errors.

        Those of energies (eV), of components of forces (eV/Å), and, where stresses count in the
        loss, of components of the virial (eV).
        """
        volumes = self.prepared.graph.volumes[:, None, None]
        virials = self.targets.stresses * (volumes if self.weights.stress else torch.nan)
        only_energies = not bool(self.targets.forces.isfinite().any() or virials.isfinite().any())
        with torch.no_grad():
            prediction = self._predict(only_energies)
        total = 0.0
        for predicted, wanted in (
            (prediction.energies, self.targets.energies),
            (prediction.forces, self.targets.forces),
            (prediction.stresses * volumes, virials),
        ):
            error = (predicted - wanted).abs()[wanted.isfinite()]
            total += float(error.mean()) if len(error) else 0.0
        return total

    def _predict(self, only_energies: bool) -> Prediction:
        """Predict the kinds of labels that count; the others equal their targets."""
        if not only_energies:
            return self.prepared.predict(self.potential)
        energies = self.prepared.energies(self.potential)
        return Prediction(energies, self.targets.forces, self.targets.stresses)

    @cached_property
    def measure(self) -> Loss:
        """What the loss is of these structures."""
        return Loss.of(self.weights, self.prepared.graph, self.targets)

    def residuals(self) -> Float[Tensor, " residuals"]:
        """Return the weighted errors, of which the loss is half the square."""
        with torch.no_grad():
            return self.measure.residuals(self._predict(self.measure.only_energies))

    def jacobian(
        self, weights: Sequence[nn.Parameter] | None = None
    ) -> Float[Tensor, "residuals weights"]:
        """Return the derivatives of the residuals by the weights, all or those given."""
        with torch.no_grad():
            derivatives = self.prepared.derivatives(self.potential, weights)
            return self.measure.weighted(derivatives).T

    def blocks(self, rows: int) -> list["Problem"]:
        """Return problems of successive structures, with about as many labels each at most."""
        counts = self.prepared.graph.counts.numpy(force=True)
        ends = np.cumsum(3 * counts + 10)
        block = (ends - 1) // rows
        cuts = np.flatnonzero(np.diff(block)) + 1
        return [self.take(part) for part in np.split(np.arange(len(counts)), cuts)]

    def batches(self, size: int, generator: np.random.Generator) -> Iterator["Problem"]:
        """Yield problems of ``size`` structures each, drawn without replacement."""
        n = len(self.prepared.graph.volumes)
        order = generator.permutation(n)
        for start in range(0, n, size):
            yield self.take(order[start : start + size])

    def take(self, structures: np.ndarray) -> "Problem":
        """Return the problem of some of the structures, which may repeat."""
        targets = self.targets.take(self.prepared.graph, structures)
        return Problem(self.potential, self.prepared.take(structures), targets, self.weights)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that are fitted."""
        return [p for p in self.potential.parameters() if p.requires_grad]
