"""Compare a potential with labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aiida_mlal.ml import load_potential, plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import check_target, load, write
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.metrics import correlations, errors, structure_errors
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tasks.base import Task

if TYPE_CHECKING:
    from aiida_mlal.ml.uncertainty.base import Uncertainties, Uncertainty


@dataclass(frozen=True)
class Evaluate(Task):
    """Predict energies, forces and stresses, and say how far they are from the labels.

    Errors of energies are per atom; those of forces and stresses are by component, the nine of a
    stress, of which the three beside the diagonal are there twice.

    Attributes
    ----------
    potential
        File of the potential.
    dataset
        File of the structures, with labels where there are any.
    keep_labels
        Whether what is written has its labels, and predictions under other names. Otherwise the
        predictions are written as energies, forces and stresses.
    uncertainty
        A measure and its options, such as ``{"name": "force_std"}``: how uncertain the potential
        is about each structure, and about each atom where the measure says so, is written with the
        predictions, as ``uncertainty`` and ``uncertainties``. How that goes with the errors is told
        as well: correlations, and factors that calibrate it (see ``ml.uncertainty.calibration``),
        which hold if the structures were drawn at random.
    elements
        Of the types 0, 1, ... in files that only number them.
    keys
        What files of structures call their labels, where that is not what ASE calls them.
    output
        File of the predictions; none is written where it is null.
    """

    OUTPUT: ClassVar[str] = "predictions.safetensors"

    potential: str = "potential.safetensors"
    dataset: str = "dataset.safetensors"
    keep_labels: bool = True
    uncertainty: Mapping[str, Any] | None = None
    elements: tuple[str, ...] | None = None
    output: str | None = OUTPUT
    keys: LabelKeys = field(default_factory=LabelKeys)

    def __post_init__(self) -> None:
        """Let the measure judge its options."""
        if self.uncertainty is not None:
            plugins.make("uncertainties", self.uncertainty, "uncertainty")

    def run(self) -> dict[str, Any]:
        """Predict, compare, and write."""
        from aiida_mlal.ml.formats.potentials import types
        from aiida_mlal.ml.uncertainty.doubts import doubts

        if self.output is not None:
            check_target(self.output)
        potential = load_potential(self.potential, self.elements)
        contents = load(self.dataset, self.elements, types(potential), self.keys, named=True)
        dataset, said = contents.configurations, list(contents.warnings)
        with within(self.dataset):
            potential.check_structures(dataset)
        predicted = potential.predict(dataset)
        apart = errors(dataset, predicted.energies, predicted.forces, predicted.stresses)
        told: dict[str, Any] = {}
        kept = dataset.with_predictions(predicted) if self.keep_labels else predicted
        if self.uncertainty is not None:
            measure: Uncertainty = plugins.make("uncertainties", self.uncertainty, "uncertainty")
            measured = measure.measure(potential, dataset)
            told = {"uncertainty": self._compare(measure, measured, dataset, predicted)}
            kept = measured.attach(kept)
        if self.output is not None:
            said += write(kept, self.output, types(potential))
            if not self.keep_labels:
                said.append(f"energies, forces and stresses in {self.output} are predictions")
        warnings = "; ".join(filter(None, [*said, _lost(predicted), doubts(potential, dataset)]))
        if self.output is None and not apart:
            raise ValueError("; ".join([f"{self.dataset} has no labels to compare with", *said]))
        about = {"n_structures": len(dataset), "engines": potential.engines}
        return {"message": warnings, **about, "errors": apart, **told}

    def _compare(
        self,
        measure: "Uncertainty",
        measured: "Uncertainties",
        dataset: Configurations,
        predicted: Configurations,
    ) -> dict[str, Any]:
        from aiida_mlal.ml.uncertainty.calibration import pairs_of, reports

        apart = structure_errors(dataset, predicted.energies, predicted.forces)
        return {
            "kind": measured.kind,
            "unit": measured.unit,
            "mean": float(measured.values.mean()) if len(measured.values) else None,
            "max": float(measured.values.max()) if len(measured.values) else None,
            "values": measured.values.tolist(),
            **correlations(measured.values, apart),
            "calibration": reports(pairs_of(measured, dataset, predicted, measure.is_variance)),
        }


def _lost(predicted: Configurations) -> str:
    """Say which predictions are not finite: in files of many formats they are just missing."""
    lost = ~np.isfinite(predicted.energies) | ~np.isfinite(predicted.max_forces)
    if not lost.any():
        return ""
    return (
        f"the predictions for {int(lost.sum())} of {len(lost)} structures, the first is "
        f"{int(lost.argmax())}, are not finite"
    )
