"""Interface of labelling WorkChains, so that a campaign can use any of them."""

from collections.abc import Mapping
from typing import Any

from aiida.engine import ExitCode, ProcessBuilder
from aiida.orm import AbstractCode, Dict, Float, Int, ProcessNode, StructureData, to_aiida_type

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.numbers import to_float
from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.frames import REASON
from aiida_mlal.ml.labelling.checks import FAILED, UNCONVERGED, Limits
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.options import build
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.workflows.interface import ExchangeableWorkChain, Interface
from aiida_mlal.workflows.ports import fill
from aiida_mlal.workflows.validators import at_least_one, share

LABELLING = Interface(
    "labelling",
    "label structures",
    "labelled",
    "label",
    inputs={"dataset": DatasetData},
    outputs={"dataset": DatasetData, "description": Dict},
)

COMMON = ("batch_size", "limits", "max_failed_share")
"""Inputs of every labelling WorkChain beside the structures."""

UNUSABLE = (FAILED, UNCONVERGED)
"""Statuses of structures whose label could not be computed."""


class LabellingWorkChain(ExchangeableWorkChain):
    """Labels structures. A subclass runs a code; the inputs and outputs here are the interface.

    A structure that cannot be labelled never ends the WorkChain: it comes out with a status, a
    reason, and the UUID of the process that failed as its source.
    """

    @classmethod
    def gives_stress(cls, inputs: Mapping[str, Any]) -> bool | None:
        """Whether its labels have a stress; None where that is not known beforehand.

        Campaigns that move a cell ask before anything is submitted.

        Parameters
        ----------
        inputs
            Of the WorkChain, without the structures.
        """
        return None

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], structure: Configurations) -> dict[str, Any]:
        """Return in words and numbers what a structure would be computed with.

        For who asks before anything is submitted; empty where nothing goes by the structure.

        Parameters
        ----------
        inputs
            Of the WorkChain, without the structures.
        structure
            One.
        """
        return {}

    @classmethod
    def relaxation(
        cls,
        inputs: Mapping[str, Any],
        structure: Configurations,
        cell: MovingCell,
        fmax: float,
        smax_GPa: float,
    ) -> ProcessBuilder:
        """Return the process by which the code relaxes a structure itself, as it labels it.

        A campaign is compared with it (``aiida-mlal launch direct``).

        Parameters
        ----------
        inputs
            Of the WorkChain, without the structures.
        structure
            One, its fixed atoms among it.
        cell
            What of the cell moves, and the external pressure.
        fmax, smax_GPa
            Largest force on a free atom (eV/Å), and component of the stress that moves the cell,
            that count as none.

        Raises
        ------
        ValueError
            If nothing is known of relaxations by this code.
        """
        raise ValueError(
            f"{cls.__name__} knows no relaxation by its code: run one, and give its PK or its file "
            "to `aiida-mlal report --direct`"
        )

    @classmethod
    def define(cls, spec: Any) -> None:
        """Declare the interface."""
        super().define(spec)
        spec.input("dataset", valid_type=DatasetData, help="Structures to be labelled.")
        spec.input(
            "batch_size",
            valid_type=Int,
            serializer=to_aiida_type,
            required=False,
            validator=at_least_one,
            help="How many structures are submitted at a time.",
        )
        spec.input(
            "limits",
            valid_type=Dict,
            serializer=to_aiida_type,
            required=False,
            validator=validate_limits,
            help="What a label must satisfy to be learned from.",
        )
        spec.input(
            "max_failed_share",
            valid_type=Float,
            serializer=to_float,
            required=False,
            validator=share,
            help="Finish with an exit code if the share of structures without a label is larger.",
        )
        spec.output(
            "dataset",
            valid_type=DatasetData,
            help="The same structures in the same order, each with a status: labels where it is "
            "'ok', a reason elsewhere.",
        )
        spec.output(
            "description",
            valid_type=Dict,
            help="What made the labels: code, parameters and so on, in words and numbers.",
        )
        spec.exit_code(
            410,
            "ERROR_TOO_MANY_FAILED",
            message="{failed} of {total} structures have no label, a larger share than "
            "{allowed:g}. The first reason: {reason}",
        )
        spec.exit_code(
            411,
            "ERROR_OTHER_STRUCTURES",
            message="The {found} structures that came out are not the {n} that were to be "
            "labelled, in their order.",
        )

        spec.exit_code(
            412,
            "ERROR_NOT_TRIED",
            message="{left} of {total} structures were not tried: the reports say why.",
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData | DatasetData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> ProcessBuilder:
        """Return a builder with the code, and overrides. A campaign begins with it.

        A WorkChain whose inputs depend on a protocol, or on the structures, has its own.

        Parameters
        ----------
        code
            Goes where ``CODE`` says.
        structure
            If it is a data set, its structures are those to be labelled.
        protocol
            That of the campaign; no input depends on it here.
        overrides
            Of any inputs, nested as they are.
        options
            Of the jobs, such as resources, where the code is that of a job.
        others
            What only some WorkChains know, such as ``electronic_type``.

        Raises
        ------
        ValueError
            For unknown overrides, and for anything in ``others``.
        """
        if others:
            raise ValueError(f"{cls.__name__} has no use for {sorted(others)}")
        return cls.filled_builder(cls.usual_inputs(code, overrides, options), structure)

    @classmethod
    def filled_builder(
        cls, inputs: Mapping[str, Any], structure: StructureData | DatasetData
    ) -> ProcessBuilder:
        """Return a builder with these inputs, and the structures where they are a data set."""
        builder = cls.get_builder()
        fill(builder, inputs)
        if isinstance(structure, DatasetData):
            builder["dataset"] = structure
        return builder

    @classmethod
    def label_method(cls, inputs: Mapping[str, Any]) -> Method | None:
        """Return the method of the labels, or None if inputs do not tell it beforehand.

        The same method as that of the labels' fingerprints (see ``ml.labelling.fingerprint``):
        labels that a campaign begins with are compared with it before any others are paid for.
        """
        return None

    def limits(self) -> dict[str, Dict]:
        """Return the input of this name if it was given, ready to be passed on."""
        return {"limits": self.inputs.limits} if "limits" in self.inputs else {}

    def give(self, dataset: DatasetData, description: Dict) -> ExitCode | None:
        """Attach the outputs, and return an exit code if too many structures have no label.

        There is another one if some were not tried.

        Nothing is attached if the structures are not those that were to be labelled, in their
        order.
        """
        wanted, given = self.inputs.dataset.configurations.keys, dataset.configurations.keys
        if wanted != given:
            return self.exit_codes.ERROR_OTHER_STRUCTURES.format(n=len(wanted), found=len(given))
        self.out("dataset", dataset)
        self.out("description", description)
        status, reasons = dataset.configurations.status, REASON.of(dataset.configurations)
        self.report(f"labelled {int((status == OK).sum())} of {len(dataset)} structures")
        failed = [i for i, word in enumerate(status) if word in UNUSABLE]
        for i in failed[:5]:
            self.report(f"structure {i} {status[i]}: {reasons[i]}")
        code: ExitCode
        allowed = self.inputs.get("max_failed_share")
        if allowed is None or len(failed) <= allowed.value * len(dataset):
            left = int((status == UNLABELLED).sum())
            code = self.exit_codes.ERROR_NOT_TRIED.format(left=left, total=len(dataset))
            return code if left else None
        code = self.exit_codes.ERROR_TOO_MANY_FAILED.format(
            failed=len(failed), total=len(dataset), allowed=allowed.value, reason=reasons[failed[0]]
        )
        return code


def failure(process: ProcessNode) -> str:
    """Name the failure of a process by a word that can stand in a link label."""
    if process.is_finished:
        return f"exit_{process.exit_status}"
    return str(process.process_state.value) if process.process_state else "unknown"


def failure_reason(word: str, *classes: Any) -> str:
    """Return the sentence for a word of ``failure``, as the exit codes of ``classes`` have it.

    The word may also be ``without_`` and an output that a process did not give.
    """
    if word.startswith("without_"):
        return f"the process gave no {word.removeprefix('without_')}"
    if not word.startswith("exit_"):
        return f"the process was {word}"
    number = int(word.removeprefix("exit_"))
    for cls in classes:
        for label, code in cls.spec().exit_codes.items():
            if code.status == number:
                fixed = code.message.partition("{")[0].rstrip(" :,(")
                details = f": {fixed}" if fixed else ""
                return f"exit code {number}, {label}{details}"
    return f"exit code {number}"


def limits_of(node: Dict | None) -> Limits:
    """Read the limits that labels have to keep; ``ValueError`` for wrong options."""
    return build(Limits, {} if node is None else node.get_dict(), "limits")


def validate_limits(node: Dict | None, _: Any) -> str | None:
    """Let the limits judge their options."""
    try:
        limits_of(node)
    except ValueError as error:
        return str(error)
    return None
