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
    """

    OUTPUT: ClassVar[str] = "predictions.safetensors"

    potential: str = "potential.safetensors"
    dataset: str = "dataset.safetensors"
    output: str = OUTPUT

    def run(self) -> dict[str, Any]:
        """Predict, and write the structures with predictions beside their labels."""
        dataset = read(self.dataset)
        predicted = load_potential(self.potential).predict(dataset)
        found = errors(dataset, predicted.energies, predicted.forces, predicted.stresses)
        write(dataset.with_predictions(predicted), self.output)
        return {"n_structures": len(dataset), "errors": found}
