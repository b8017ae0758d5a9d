"""Label structures with an ASE calculator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from aiida_mlal.ml.formats.files import read, write
from aiida_mlal.ml.options import build
from aiida_mlal.ml.tasks.base import Progress, Task


@dataclass(frozen=True)
class Label(Task):
    """Compute energies, forces and stresses.

    Attributes
    ----------
    calculator
        Name and options of the calculator, such as ``{"name": "emt"}``.
    dataset
        File of the structures.
    limits
        What a label must satisfy to be learned from.
    """

    OUTPUT: ClassVar[str] = "labelled.safetensors"

    calculator: Mapping[str, Any]
    dataset: str = "dataset.safetensors"
    limits: Mapping[str, Any] = field(default_factory=dict)
    output: str = OUTPUT

    def run(self) -> dict[str, Any]:
        """Label every structure, and write them in the same order."""
        from aiida_mlal.ml.labelling.ase import Calculator, Limits, label

        calculator = build(Calculator, self.calculator, "calculator")
        limits = build(Limits, self.limits, "limits")
        labelled = label(read(self.dataset), calculator, limits, Progress())
        write(labelled, self.output)
        return {"n_structures": len(labelled)}
