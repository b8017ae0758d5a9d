"""Another measure in units of the errors that it foretells."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.weak import WeakIdKeyDictionary

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import Evaluation
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.uncertainty.active_set import fingerprint
from aiida_mlal.ml.uncertainty.base import (
    Bound,
    Fitted,
    Uncertainties,
    Uncertainty,
)
from aiida_mlal.ml.uncertainty.calibration import (
    Method,
    factor,
    force_deviations,
    pairs_of,
)
from aiida_mlal.ml.uncertainty.domain import Domain
from aiida_mlal.ml.uncertainty.extras import to_tensor, to_text
from aiida_mlal.ml.uncertainty.reduction import largest

if TYPE_CHECKING:
    from aiida_mlal.ml.models.factory import ModelOptions

PREFIX = "calibrated."
"""Before the names of its tensors, among the extras of a potential."""

_KNOWN = WeakIdKeyDictionary()  # factors in extras that belong to their potential


@dataclass(frozen=True)
class Calibrated(Uncertainty):
    """The error of a force that another measure stands for: of the least known atom, in eV/Å.

    The factor is found, when a potential was trained, on labelled structures that it did not learn
    from, and kept with the weights. It holds for structures like those: where they were drawn at
    random from what will be predicted, a share ``level`` of the atoms has errors up to the
    conformal uncertainty. Errors of forces are lengths of vectors, with components that count the
    same: √3 times the root of the mean square of the three.

    Attributes
    ----------
    base
        Name and options of the other measure, which has values for atoms.
    method
        How the factor is found: ``conformal``, ``gaussian`` or ``log``.
    level
        Share of errors within the conformal uncertainty.
    """

    kind: ClassVar[str] = "calibrated"
    unit: ClassVar[str] = "eV/Å"
    wants_held_out: ClassVar[bool] = True

    base: Mapping[str, Any] = field(default_factory=lambda: {"name": "force_std"})
    method: Method = "conformal"
    level: float = 0.95

    def __post_init__(self) -> None:
        """Let the other measure judge its options."""
        plugins.make("uncertainties", self.base, "base")
        if self.base["name"] == "calibrated":
            raise ValueError("base: expected one that is not calibrated yet")
        if not 0 < self.level < 1:
            raise ValueError(f"expected a level between 0 and 1, got {self.level}")

    def domain(self, potential: Potential) -> Domain | None:
        """Return the domain of the other measure."""
        return self.inner.domain(potential)

    @property
    def inner(self) -> Uncertainty:
        """The other measure."""
        measure: Uncertainty = plugins.make("uncertainties", self.base, "base")
        return measure

    @property
    def is_of_forces(self) -> bool:
        """Whether the other measure looks at forces alone."""
        return self.inner.is_of_forces

    def check_model(self, model: "ModelOptions") -> None:
        """Let the other measure judge the model."""
        self.inner.check_model(model)

    @property
    def provides(self) -> frozenset[str]:
        """The factor, and what belongs to the other measure."""
        return frozenset({f"a factor of calibration for {self._about}"}) | self.inner.provides

    @property
    def requires(self) -> frozenset[str]:
        """The factor, and what belongs to the other measure."""
        return frozenset({f"a factor of calibration for {self._about}"}) | self.inner.requires

    def fitted(
        self,
        potential: Potential,
        configurations: Configurations,
        held_out: Configurations | None = None,
    ) -> Fitted:
        """Fit the other measure, and its factor of calibration to what was held out.

        Raises
        ------
        ValueError
            If nothing was held out, or its forces have no labels, or the measure says nothing of
            atoms.
        """
        if held_out is None or not len(held_out):
            raise ValueError(NOTHING_HELD_OUT)
        inner = self.inner
        aside = np.isin(configurations.keys, held_out.keys)
        fitted = inner.fitted(potential, configurations[np.flatnonzero(~aside)])
        carrier = copy.copy(potential)  # with the same weights
        carrier.extras = {**potential.extras, **fitted.extras}
        measured = inner.measure(carrier, held_out)
        if measured.per_atom is None:
            raise ValueError(
                f"the uncertainty {measured.kind!r} has no values for atoms, which errors of "
                "forces could be compared with"
            )
        pairs = pairs_of(measured, held_out, potential.predict(held_out), inner.is_variance)[
            "forces"
        ]
        value = factor(pairs, self.method, self.level)
        extras = {
            "factor": torch.tensor(value, dtype=torch.float64),
            "about": to_tensor(self._about),
            "fingerprint": to_tensor(fingerprint(potential)),
        }
        return Fitted(
            {**fitted.extras, **{PREFIX + name: tensor for name, tensor in extras.items()}},
            {
                "base": {**self.base, **fitted.about},
                "method": self.method,
                "level": self.level,
                "factor": value,
                "n_held_out": len(held_out),
            },
        )

    @classmethod
    def is_carried_by(cls, potential: Potential) -> bool:
        """Tell if a potential carries a factor."""
        return f"{PREFIX}factor" in potential.extras

    def of(self, potential: Potential, graph: Graph) -> Uncertainties:
        """Compute the expected errors; ``ValueError`` for a potential without this factor."""
        scale, owner = self._factor(potential), graph.owner.cpu().numpy()
        measured = self.inner.of(potential, graph)
        return self._scaled(measured, scale, owner, len(graph.volumes))

    def bind(self, potential: Potential) -> Bound:
        """Bind the other measure, and calibrate its values."""
        inner, scale = self.inner.bind(potential), self._factor(potential)

        def measure(seen: Evaluation) -> Uncertainties:
            owner = np.zeros(len(seen.forces), int)
            return self._scaled(inner(seen), scale, owner, 1)

        return replace(inner, of=measure)

    def _scaled(
        self, measured: Uncertainties, scale: float, owner: Int[np.ndarray, " atoms"], n: int
    ) -> Uncertainties:
        per_atom = np.sqrt(3) * scale * force_deviations(measured, self.inner.is_variance)
        return Uncertainties(self.kind, self.unit, largest(per_atom, owner, n), per_atom)

    @property
    def _about(self) -> str:
        about = {"base": dict(self.base), "method": self.method, "level": self.level}
        return json.dumps(about, sort_keys=True)

    def _factor(self, potential: Potential) -> float:
        if not self.is_carried_by(potential):
            raise ValueError(
                "the potential carries no factor of calibration: train it with {'name': "
                f"'calibrated', 'base': {dict(self.base)}}} as the option 'uncertainty'"
            )
        tensor = potential.extras[f"{PREFIX}factor"]
        if tensor not in _KNOWN:  # which takes longer than a step of a simulation
            if to_text(potential.extras[f"{PREFIX}fingerprint"]) != fingerprint(potential):
                raise ValueError(
                    "the factor of calibration is of other weights than those of the potential"
                )
            _KNOWN[tensor] = to_text(potential.extras[f"{PREFIX}about"])
        if _KNOWN[tensor] != self._about:
            raise ValueError(
                f"the factor that the potential carries is of {_KNOWN[tensor]}, not of "
                f"{self._about}"
            )
        return float(tensor)


NOTHING_HELD_OUT = (
    "the uncertainty 'calibrated' needs labels that are not learned from: give a validation set, "
    "or the training a share 'validation'"
)
