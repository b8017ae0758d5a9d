"""Parser of labels."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiida.orm import Data

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.ledger import Ledger, about
from aiida_mlal.ml.options import build
from aiida_mlal.ml.tasks.base import INTERRUPTED
from aiida_mlal.ml.tasks.label import Label
from aiida_mlal.parsers.base import TaskParser

(JOURNAL,) = Label.LEFT


class LabelParser(TaskParser):
    """Reads the labels, and notes that they come from this calculation."""

    RESULTS: ClassVar[str] = "description"

    def read(self, result: Mapping[str, Any], file: str) -> Iterator[tuple[str, Data]]:
        """Yield the structures with labels, of a job that was killed those until then."""
        structures = self.node.inputs.dataset.configurations
        if JOURNAL in self.names:
            labelled = Ledger.left_in(self.bytes(JOURNAL), structures).configurations
        else:
            labelled = Configurations.from_bytes(self.bytes(file))
        if labelled.keys != structures.keys:
            raise ValueError("its structures are not those that were to be labelled")
        sources = [self.node.uuid if status != UNLABELLED else "" for status in labelled.status]
        yield "dataset", DatasetData(labelled, sources)

    def left(self) -> Mapping[str, Any] | None:
        """Read what makes the labels from the journal of a job that was killed."""
        names = self.names
        if not {JOURNAL, Label.OUTPUT} & names:
            return None
        made_by = about(self.bytes(JOURNAL)) if JOURNAL in names else {}
        if not made_by:  # it was killed before the first record, or between labels and result
            made_by = build(CalculatorOptions, self.node.inputs.calculator.get_dict()).made_by
        return {**made_by, "task": "label", "status": INTERRUPTED}
