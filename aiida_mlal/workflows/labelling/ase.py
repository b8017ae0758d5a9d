"""Labels from any ASE calculator."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from aiida.engine import ExitCode, ProcessBuilder, calcfunction, while_
from aiida.orm import AbstractCode, Data, Dict, InstalledCode, StructureData

from aiida_mlal.calculations.label import LabelCalculation
from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.labelling.outcome import unlabelled
from aiida_mlal.ml.options import build
from aiida_mlal.protocols import merge
from aiida_mlal.workflows.labelling.base import (
    LabellingWorkChain,
    failure,
    failure_reason,
)
from aiida_mlal.workflows.ports import check_names, fill, names, validate_names


class ASELabelWorkChain(LabellingWorkChain):
    """Label structures with an ASE calculator, in one job or in several at the same time."""

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
        spec.outline(step.split, while_(step.jobs_are_left)(step.submit_jobs), step.collect)

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
        overrides = overrides or {}
        check_names(overrides, names(cls.spec().inputs), "overrides")
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
        """Return what decides labels, as far as it is known before."""
        calculator = inputs["ase"]["calculator"].get_dict()
        return build(CalculatorOptions, calculator, "calculator").method

    def split(self) -> None:
        """Split the structures, where one job is not enough."""
        self.ctx.submitted = False
        dataset, size = self.inputs.dataset, self.inputs.get("batch_size")
        if size is None or len(dataset) <= size.value:
            self.ctx.batches = {"batch_000": dataset}
        else:
            self.ctx.batches = split(  # type: ignore[call-arg]
                dataset, size, metadata={"call_link_label": "split"}
            )

    def jobs_are_left(self) -> bool:
        """Return whether the jobs have not been submitted."""
        return not self.ctx.submitted

    def submit_jobs(self) -> None:
        """Submit a job for each batch."""
        for name, batch in self.ctx.batches.items():
            inputs = self.exposed_inputs(LabelCalculation, "ase")
            inputs.update(dataset=batch, **self.limits())
            inputs.metadata.call_link_label = name if len(self.ctx.batches) > 1 else "label"
            self.to_context(**{name: self.submit(LabelCalculation, **inputs)})
        self.ctx.submitted = True

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
            if name not in labelled
        }
        found: Any = join(
            calculator=self.inputs.ase.calculator,
            labelled=labelled,
            failed=failed,
            metadata={"call_link_label": "join"},
        )
        return self.give(found["dataset"], found["description"])


@calcfunction
def split(dataset: DatasetData, size: Data) -> dict[str, DatasetData]:
    """Return the structures in batches of a size, the last one smaller."""
    starts = range(0, len(dataset), size.value)
    return {
        f"batch_{k:03d}": dataset.subset(range(start, min(start + size.value, len(dataset))))
        for k, start in enumerate(starts)
    }


@calcfunction
def join(calculator: Dict, **batches: Any) -> dict[str, Data]:
    """Return the structures of all batches in their order, and what made the labels.

    Parameters
    ----------
    batches
        ``labelled`` has ``dataset`` and ``description`` of each batch with labels. ``failed`` has
        for each other batch how its job ended, in that the UUID of the job without its hyphens,
        in that the batch: link labels hold what is no node.
    """
    labelled, failed = batches.get("labelled", {}), batches.get("failed", {})
    found = {name: outputs["dataset"] for name, outputs in labelled.items()}
    for name, ended in failed.items():
        ((word, origin),) = ended.items()
        ((mark, batch),) = origin.items()
        found[name] = DatasetData(
            Configurations.concatenate(
                [
                    unlabelled(one, failure_reason(word, LabelCalculation))
                    for one in batch.configurations
                ]
            ),
            [str(UUID(mark))] * len(batch),
        )
    if labelled:
        description = next(iter(labelled.values()))["description"].get_dict()
    else:
        made_by = build(CalculatorOptions, calculator.get_dict())
        description = {"description": made_by.describe(), "fingerprint": made_by.fingerprint}
    wanted = {key: description[key] for key in ("description", "fingerprint")}
    return {
        "dataset": DatasetData.concatenate([found[name] for name in sorted(found)]),
        "description": Dict(wanted),
    }


def validate(inputs: Mapping[str, Any], ports: Any) -> str | None:
    """Find misspelt names, wrong calculators, and structures that all have elements one lacks."""
    problem = validate_names(inputs, ports)
    if problem is None and "dataset" in inputs and "calculator" in inputs.get("ase", {}):
        calculator = build(CalculatorOptions, inputs["ase"]["calculator"].get_dict(), "calculator")
        problem = _misfit(calculator, inputs["ase"])
        if problem is not None:
            return problem
        problems = [_lacking(calculator, one) for one in inputs["dataset"].configurations]
        return None if None in problems else next(iter(problems), None)
    return problem


def _misfit(calculator: CalculatorOptions, job: Mapping[str, Any]) -> str | None:
    """Return why a calculator cannot be built.

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
    """Return whether a job runs in this very environment, with nothing more on its path."""
    code = job.get("code")
    if not isinstance(code, InstalledCode) or code.computer.transport_type != "core.local":
        return False
    texts = [code.prepend_text, code.computer.get_prepend_text()]
    texts.append(job.get("metadata", {}).get("options", {}).get("prepend_text", ""))
    beside = Path(sys.executable).parent
    return Path(code.filepath_executable).parent == beside and "PYTHONPATH" not in "".join(texts)


def _lacking(calculator: CalculatorOptions, structure: Configurations) -> str | None:
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
