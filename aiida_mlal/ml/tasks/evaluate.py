"""Compare a potential with labels."""

from dataclasses import dataclass
from typing import Any, ClassVar

from aiida_mlal.ml import load_potential
from aiida_mlal.ml.formats.files import read, write
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.tasks.base import Task


@dataclass(frozen=True)
class Evaluate(Task):
    """Predict energies, forces and stresses, and say how far they are from the labels.

    Attributes
    ----------
    potential
        File of the potential.
    dataset
        File of the structures, with labels where there are any.
    keep_labels
        Whether what is written has its labels, and predictions under other names. Otherwise the
        predictions are written as energies, forces and stresses.
    elements
        Of the types 0, 1, ... in files that only number them.
    """

    OUTPUT: ClassVar[str] = "predictions.safetensors"

    potential: str = "potential.safetensors"
    dataset: str = "dataset.safetensors"
    keep_labels: bool = True
    elements: tuple[str, ...] | None = None
    output: str | None = OUTPUT

    def run(self) -> dict[str, Any]:
        """Predict, compare, and write."""
        from aiida_mlal.ml.formats.potentials import types

        potential = load_potential(self.potential, self.elements)
        dataset = read(self.dataset, self.elements, types(potential))
        predicted = potential.predict(dataset)
        found = errors(dataset, predicted.energies, predicted.forces, predicted.stresses)
        if self.output is not None:
            kept = dataset.with_predictions(predicted) if self.keep_labels else predicted
            write(kept, self.output, types(potential))
        return {"n_structures": len(dataset), "errors": found}
