"""Labels from any ASE calculator."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import numpy as np
from aiida.engine import ExitCode, ProcessBuilder, calcfunction, while_
from aiida.orm import AbstractCode, CalcJobNode, Data, Dict, InstalledCode, Int, StructureData

from aiida_mlal.calculations.label import LabelCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.frames import ATTEMPTS
from aiida_mlal.ml.labelling.allowed import VARIABLE
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.outcome import unlabelled
from aiida_mlal.ml.options import build
from aiida_mlal.protocols import as_overrides, merge
from aiida_mlal.workflows.labelling.base import (
    LabellingWorkChain,
    failure,
    failure_reason,
)
from aiida_mlal.workflows.ports import check_overrides, fill, validate_names
from aiida_mlal.workflows.restart import INTERRUPTIONS, WALLTIME


class ASELabelWorkChain(LabellingWorkChain):
    """Label structures with an ASE calculator, in one job or in several at the same time.

    What a job did not come to, since it was killed or its time was over, goes to another one. A
    structure in which two jobs ended is ``failed``.
    """

    CODE: ClassVar[str] = "ase.code"

    @classmethod
    def gives_stress(cls, inputs: Mapping[str, Any]) -> bool | None:
        """Ask the calculator."""
        calculator = inputs.get("ase", {}).get("calculator")
        if calculator is None:
            return None
        return build(CalculatorOptions, calculator.get_dict(), "calculator").gives_stress

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare inputs and the outline."""
        super().define(spec)
        spec.inputs["batch_size"].help = "How many structures share a job; by default all."
        spec.expose_inputs(LabelCalculation, namespace="ase", exclude=("dataset", "limits"))
        spec.inputs["ase"]["calculator"].validator = validate_calculator
        spec.inputs.validator = validate
        step: Any = cls
        spec.outline(
            step.split,
            while_(step.jobs_are_left)(step.submit_jobs, step.take_labels),
            step.collect,
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData | DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        calculator: str | Mapping[str, Any] = "emt",
        **_: Any,
    ) -> ProcessBuilder:
        """Return a builder: a calculator has the same options in all protocols, its own.

        Parameters
        ----------
        structure
            If it is a data set, its structures are those to be labelled.
        calculator
            Name of an ASE calculator, or name and options.
        """
        overrides = as_overrides(overrides)
        check_overrides(overrides, cls.spec().inputs)
        asked = {"name": calculator} if isinstance(calculator, str) else dict(calculator)
        inputs = merge({"ase": {"code": code, "calculator": asked}}, overrides)
        if options:
            inputs = merge(inputs, {"ase": {"metadata": {"options": options}}})
        builder = cls.get_builder()
        fill(builder, inputs)
        if isinstance(structure, DatasetData):
            builder["dataset"] = structure
        return builder

    @classmethod
    def label_method(cls, inputs: Mapping[str, Any]) -> Method:
        """Return the method of the labels, as far as it is known beforehand."""
        calculator = inputs["ase"]["calculator"].get_dict()
        return build(CalculatorOptions, calculator, "calculator").method

    def split(self) -> None:
        """Split the structures, where one job is not enough."""
        dataset, size = self.inputs.dataset, self.inputs.get("batch_size")
        self.ctx.batches = {}
        if size is None or len(dataset) <= size.value:
            self.ctx.waiting = {"batch_000": dataset}
        else:
            cut: Any = split
            batches = cut(dataset, size, metadata={"call_link_label": "split"})
            self.ctx.waiting = dict(batches)
        self.ctx.single = len(self.ctx.waiting) == 1

    def jobs_are_left(self) -> bool:
        """Whether structures wait for a job."""
        return bool(self.ctx.waiting)

    def submit_jobs(self) -> None:
        """Submit a job for each batch that waits."""
        for name, batch in self.ctx.waiting.items():
            inputs = self.exposed_inputs(LabelCalculation, "ase")
            inputs.update(dataset=batch, **self.limits())
            link = name.replace("batch_000", "label") if self.ctx.single else name
            inputs.metadata.call_link_label = link
            self.to_context(**{name: self.submit(LabelCalculation, **inputs)})
        self.ctx.batches |= self.ctx.waiting
        self.ctx.running, self.ctx.waiting = list(self.ctx.waiting), {}

    def take_labels(self) -> None:
        """Let what a job did not come to wait for another one, unless that would be in vain."""
        for name in self.ctx.running:
            job, batch = self.ctx[name], self.ctx.batches[name]
            if not was_interrupted(job, batch):
                continue
            told = f"{job.process_label}<{job.pk}> ended after {n_tried(job)} of {len(batch)} "
            told += f"structures ({job.exit_message or failure(job)})"
            if self._would_come_no_further(name):
                self.report(f"{told}, and another job would come no further: the rest is not tried")
                continue
            self.report(f"{told}: the rest goes to another job")
            first, _, attempt = name.partition(AGAIN)
            self.ctx.waiting[f"{first}{AGAIN}{int(attempt or 0) + 1:02d}"] = self._rest_of(name)

    def _would_come_no_further(self, name: str) -> bool:
        """Whether another job would end where an interrupted one did.

        It would where the time of the job was over before it had a label, and where a second job
        for the same structures has not begun any.
        """
        job, batch = self.ctx[name], self.ctx.batches[name]
        if n_tried(job):
            return False
        if job.exit_status == WALLTIME:
            return True
        if "dataset" in job.outputs and _attempts(job.outputs.dataset) > _attempts(batch):
            return False
        first = name.partition(AGAIN)[0]
        jobs = [b for n, b in self.ctx.batches.items() if n.partition(AGAIN)[0] == first]
        return sum(len(one) == len(batch) for one in jobs) > 1

    def _rest_of(self, name: str) -> DatasetData:
        """Return the structures that a job has not tried, as its own outputs if it has any."""
        rest: DatasetData = self.ctx.batches[name]
        if "dataset" in self.ctx[name].outputs:
            find: Any = rest_of
            labelled = self.ctx[name].outputs.dataset
            rest = find(labelled, metadata={"call_link_label": f"rest_of_{name}"})
        return rest

    def collect(self) -> ExitCode | None:
        """Join what the jobs labelled. Where one is all and ended well, that is the result."""
        jobs = {name: self.ctx[name] for name in self.ctx.batches}
        if len(jobs) == 1 and jobs["batch_000"].is_finished_ok:
            outputs = jobs["batch_000"].outputs
            return self.give(outputs.dataset, outputs.description)
        labelled = {  # a job that was stopped has labels until then
            name: {"dataset": job.outputs.dataset, "description": job.outputs.description}
            for name, job in jobs.items()
            if "dataset" in job.outputs
        }
        failed = {
            name: {failure(job): {UUID(job.uuid).hex: self.ctx.batches[name]}}
            for name, job in jobs.items()
            if not (name in labelled or job.is_killed or job.exit_status in INTERRUPTED_BY)
        }
        joined: Any = join(
            dataset=self.inputs.dataset,
            calculator=self.inputs.ase.calculator,
            labelled=labelled,
            failed=failed,
            metadata={"call_link_label": "join"},
            **({} if self.ctx.single else {"size": self.inputs.batch_size}),
        )
        return self.give(joined["dataset"], joined["description"])


AGAIN = "_again_"
"""What the name of a batch that goes on has between that of the batch and a number."""

INTERRUPTED_BY = tuple(code.status for code in INTERRUPTIONS)
"""Exit statuses of jobs that came to nothing through no fault of the structures."""


def n_tried(job: CalcJobNode) -> int:
    """Return of how many structures a job has labels, or knows that there are none."""
    if "dataset" not in job.outputs:
        return 0
    labelled = job.outputs.dataset
    return len(labelled) - int(labelled.base.attributes.get("statuses").get(UNLABELLED, 0))


def was_interrupted(job: CalcJobNode, batch: DatasetData) -> bool:
    """Whether a job ended before it had tried all structures, through no fault of theirs."""
    if "dataset" in job.outputs:
        return n_tried(job) < len(batch)
    return job.exit_status in INTERRUPTED_BY


@calcfunction
def split(dataset: DatasetData, size: Data) -> dict[str, DatasetData]:
    """Return the structures in batches of a size, the last one smaller."""
    starts = range(0, len(dataset), size.value)
    return {
        f"batch_{k:03d}": dataset.subset(range(start, min(start + size.value, len(dataset))))
        for k, start in enumerate(starts)
    }


@calcfunction
def rest_of(labelled: DatasetData) -> DatasetData:
    """Return the structures that have not been tried."""
    return labelled.subset(np.flatnonzero(labelled.configurations.status == UNLABELLED))


@calcfunction
def join(
    dataset: DatasetData, calculator: Dict, size: Int | None = None, **batches: Any
) -> dict[str, Data]:
    """Join the labels of all batches in the order of the structures.

    Parameters
    ----------
    dataset
        All structures; those that no job came to are ``unlabelled``.
    size
        Of the batches, if there is more than one.
    batches
        ``labelled`` has ``dataset`` and ``description`` of each job with labels: of those of a
        batch that followed each other, the later ones have what the ones before did not come to.
        ``failed`` has for each job without any how it ended, in that the UUID of the job without
        its hyphens, in that the structures: link labels hold what is no node.
    """
    labelled, failed = batches.get("labelled", {}), batches.get("failed", {})
    tried = {name: outputs["dataset"] for name, outputs in labelled.items()}
    for name, ended in failed.items():
        ((word, origin),) = ended.items()
        ((mark, batch),) = origin.items()
        reason = failure_reason(word, LabelCalculation)
        lost = [unlabelled(one, reason) for one in batch.configurations]
        tried[name] = DatasetData(Configurations.concatenate(lost), [str(UUID(mark))] * len(batch))

    step = len(dataset) if size is None else size.value
    blank = [unlabelled(one, "", UNLABELLED) for one in dataset.configurations]
    parts = [DatasetData(Configurations.concatenate(blank))]
    index = np.arange(len(dataset))
    for name in sorted(tried, key=_order):
        batch, _ = _order(name)
        indices = np.arange(len(dataset))[batch * step : (batch + 1) * step]
        if AGAIN in name:  # after what jobs before came to
            joined = DatasetData.concatenate(parts).configurations
            indices = indices[joined.status[index[indices]] == UNLABELLED]
        index[indices] = sum(map(len, parts)) + np.arange(len(indices))
        parts.append(tried[name])
    whole = DatasetData.concatenate(parts).subset(index)
    if labelled:
        description = next(iter(labelled.values()))["description"].get_dict()
    else:
        description = build(CalculatorOptions, calculator.get_dict()).made_by
    wanted = {key: description[key] for key in ("description", "fingerprint")}
    return {
        "dataset": DatasetData(whole.configurations.without(ATTEMPTS), whole.sources),
        "description": Dict(wanted),
    }


def _order(name: str) -> tuple[int, int]:
    """Read the name of a job: the number of its batch, and that of the attempt."""
    batch, _, attempt = name.partition(AGAIN)
    return int(batch.removeprefix("batch_")), int(attempt or 0)


def _attempts(structures: DatasetData) -> int:
    return int(ATTEMPTS.of(structures.configurations).sum())


def validate(inputs: Mapping[str, Any], ports: Any) -> str | None:
    """Find misspelt names, wrong calculators, and structures that all have elements one lacks."""
    problem = validate_names(inputs, ports)
    if problem is None and "dataset" in inputs and "calculator" in inputs.get("ase", {}):
        calculator = build(CalculatorOptions, inputs["ase"]["calculator"].get_dict(), "calculator")
        problem = _misfit(calculator, inputs["ase"])
        if problem is not None:
            return problem
        problems = [_missing(calculator, one) for one in inputs["dataset"].configurations]
        return None if None in problems else next(iter(problems), None)
    return problem


def _misfit(calculator: CalculatorOptions, job: Mapping[str, Any]) -> str | None:
    """Build a calculator, and return the error in words if it cannot be built.

    What cannot be imported here may be there where the job runs, unless that is the same place.
    """
    try:
        calculator.check_arguments()
    except ValueError as error:
        known = isinstance(error.__cause__, (AttributeError, TypeError))
        if known or _runs_here(job):
            return str(error)
    return None


def _runs_here(job: Mapping[str, Any]) -> bool:
    """Whether a job runs in this very environment, with nothing more on its path."""
    code = job.get("code")
    if not isinstance(code, InstalledCode) or code.computer.transport_type != "core.local":
        return False
    texts = [code.prepend_text, code.computer.get_prepend_text()]
    texts.append(job.get("metadata", {}).get("options", {}).get("prepend_text", ""))
    beside = Path(sys.executable).parent
    changes = any(name in "".join(texts) for name in ("PYTHONPATH", VARIABLE))
    return Path(code.filepath_executable).parent == beside and not changes


def _missing(calculator: CalculatorOptions, structure: Configurations) -> str | None:
    try:
        calculator.check(structure.elements)
    except ValueError as error:
        return str(error)
    return None


def validate_calculator(node: Dict, _: Any) -> str | None:
    """Let the options of the calculator judge themselves."""
    try:
        build(CalculatorOptions, node.get_dict(), "calculator")
    except ValueError as error:
        return str(error)
    return None
