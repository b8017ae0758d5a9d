"""Label structures with an ASE calculator."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.formats.files import check_target, load, write
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.checks import Limits
from aiida_mlal.ml.labelling.label import label
from aiida_mlal.ml.options import build
from aiida_mlal.ml.tasks.base import Interrupted, Progress, Task


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
    OWN_THREADS: ClassVar[bool] = False

    calculator: Mapping[str, Any]
    dataset: str = "dataset.safetensors"
    limits: Mapping[str, Any] = field(default_factory=dict)
    output: str = OUTPUT

    def __post_init__(self) -> None:
        """Let calculator and limits judge their options."""
        self._parts()

    def run(self) -> dict[str, Any]:
        """Label every structure, and write them in the same order."""
        check_target(self.output)
        calculator, limits = self._parts()
        contents = load(self.dataset)
        try:
            labelled = label(contents.configurations, calculator, limits, Progress())
        except Interrupted as stop:
            kept = self._keep(stop.computed)
            said = f"{stop}; what was labelled is in {self.output}" if kept else str(stop)
            raise Interrupted(said, kept) from stop
        found = self._keep(labelled)
        remarks = [*contents.remarks, found["message"]]
        return {**found, "message": "; ".join(filter(None, remarks))}

    def _parts(self) -> tuple[CalculatorOptions, Limits]:
        return (
            build(CalculatorOptions, self.calculator, "calculator"),
            build(Limits, self.limits, "limits"),
        )

    def _keep(self, labelled: Configurations | None) -> dict[str, Any]:
        if labelled is None:
            return {}
        lost = write(labelled, self.output)
        calculator, _ = self._parts()
        return {
            "message": "; ".join(filter(None, [_failures(labelled), *lost])),
            "n_structures": len(labelled),
            "statuses": dict(sorted(Counter(labelled.status.tolist()).items())),
            "fingerprint": calculator.fingerprint,
            "description": calculator.describe(),
        }


def _failures(labelled: Configurations) -> str:
    """Say how many structures were tried in vain, and why the first was; nothing if none was."""
    failed = np.flatnonzero(~np.isin(labelled.status, (OK, UNLABELLED)))
    if not len(failed):
        return ""
    first = int(failed[0])
    return (
        f"{len(failed)} of {len(labelled)} structures have no good label; number {first} is "
        f"{labelled.status[first]}: {labelled.info['reason'][first]}"
    )
