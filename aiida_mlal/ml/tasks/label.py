"""Label structures with an ASE calculator."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.doubtful_labels import doubtful_labels
from aiida_mlal.ml.formats.files import check_target, load, write
from aiida_mlal.ml.journal import Journal
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.checks import Limits
from aiida_mlal.ml.labelling.label import label
from aiida_mlal.ml.labelling.ledger import Ledger
from aiida_mlal.ml.options import as_dict, build
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
    elements
        Of the types in a file that only numbers them.
    limits
        What a label must satisfy to be learned from.
    timeout
        Time in s that the label of one structure may take; by default any.
    output
        File of the labelled structures.
    """

    OUTPUT: ClassVar[str] = "labelled.safetensors"
    SUFFIX: ClassVar[str] = ".journal"
    LEFT: ClassVar[tuple[str, ...]] = (OUTPUT + SUFFIX,)
    OWN_THREADS: ClassVar[bool] = False

    calculator: Mapping[str, Any]
    dataset: str = "dataset.safetensors"
    limits: Mapping[str, Any] = field(default_factory=dict)
    output: str = OUTPUT
    timeout: float | None = None
    elements: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Let calculator and limits judge their options."""
        self._parts()
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"expected a timeout above 0 s, got {self.timeout:g}")

    def run(self) -> dict[str, Any]:
        """Label every structure, and write them in the same order.

        Each label goes to a journal beside the output first, so that none is lost in whatever way
        the process ends. The same task goes on from there.
        """
        check_target(self.output)
        calculator, limits = self._parts()
        output = Path(self.output).absolute()
        contents = load(self.dataset, self.elements, named=True)
        journal = Journal(f"{output}{self.SUFFIX}")
        made_by = {**calculator.made_by, "limits": as_dict(limits)}
        try:
            ledger = Ledger(contents.configurations, journal, made_by)
            try:
                progress = Progress("labels", "done", "n_structures")
                labelled = label(
                    contents.configurations, calculator, limits, progress, ledger, self.timeout
                )
            except BaseException as error:
                self._leave(error, output, journal)
                raise
            results = self._keep(labelled, output)
            journal.remove()
        finally:
            journal.close()
        warnings = [*contents.warnings, results["message"]]
        if ledger.found_before:
            warnings.append(
                f"{ledger.found_before} of {len(labelled)} labels were there already, in "
                f"{journal.path.name}"
            )
        return {**results, "message": "; ".join(filter(None, warnings))}

    def _leave(self, error: BaseException, output: Path, journal: Journal) -> None:
        """Write what there is until now, and say where it is in the result of the error."""
        labelled = getattr(error, "computed", None)
        if labelled is None:
            return
        results: dict[str, Any] = {}
        where = journal.path.name
        with contextlib.suppress(Exception):  # the first error is the one to be told
            results = self._keep(labelled, output)
            where = f"{self.output}, and in {where}"
        message = f"what was labelled is in {where}, from which the same command goes on"
        setattr(error, "result", {**results, "message": message})  # noqa: B010

    def _parts(self) -> tuple[CalculatorOptions, Limits]:
        return (
            build(CalculatorOptions, self.calculator, "calculator"),
            build(Limits, self.limits, "limits"),
        )

    def _keep(self, labelled: Configurations, output: Path) -> dict[str, Any]:
        lost = write(labelled, output)
        doubts = doubtful_labels(labelled[np.flatnonzero(labelled.status == OK)])
        return {
            "message": "; ".join(filter(None, [_failures(labelled), *doubts, *lost])),
            "n_structures": len(labelled),
            "statuses": dict(sorted(Counter(labelled.status.tolist()).items())),
            **self._parts()[0].made_by,
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
