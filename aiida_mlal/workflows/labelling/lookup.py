"""The WorkChain that labels: found by its entry point, its inputs checked by itself."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiida.common.exceptions import EntryPointError
from aiida.orm import Str
from aiida.plugins.entry_point import get_entry_point, get_entry_point_names

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.frames import FINGERPRINT
from aiida_mlal.ml.labelling.fingerprint import fit_together
from aiida_mlal.ml.options import suggest
from aiida_mlal.ml.plugins import load, place
from aiida_mlal.workflows.labelling.base import check_interface
from aiida_mlal.workflows.ports import check_inputs, check_names, names

ASE = "mlal.label.ase"
"""Labels from calculators of ASE, which are named in place of an entry point."""


def labelling_class(entry_point: str) -> Any:
    """Return the WorkChain; ``ValueError`` if there is none or it cannot label structures."""
    known = get_entry_point_names("aiida.workflows")
    if entry_point not in known:
        near = suggest(entry_point, [name for name in known if "label" in name])
        raise ValueError(f"unknown labelling workflow {entry_point!r}{near}")
    try:
        point: Any = get_entry_point("aiida.workflows", entry_point)
    except EntryPointError as error:  # two packages claim it
        raise ValueError(f"labelling workflow {entry_point!r}: {error}") from error
    found = load(point, f"labelling workflow {entry_point!r} ({place(point)})")
    check_interface(found)
    return found


def validate_labelling(node: Str | None, _: Any) -> str | None:
    """Want an installed WorkChain with the interface of labelling."""
    if node is None:
        return None
    try:
        labelling_class(node.value)
    except ValueError as error:
        return str(error)
    return None


def labelling_of(
    labels: str | Mapping[str, Any], entry_point: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the entry point that labels, and the ``calculator`` that only one of ASE is given.

    Parameters
    ----------
    labels
        An ASE calculator by name, or by name and options; or ``quantumespresso``, or the entry
        point of another labelling WorkChain.
    entry_point
        That which was asked for beside, and goes first.
    """
    if isinstance(labels, str):
        for name in (labels, f"mlal.label.{labels}"):
            if name in get_entry_point_names("aiida.workflows"):
                return entry_point or name, {}
    if entry_point not in (None, ASE):
        return str(entry_point), {}
    return ASE, {"calculator": labels}


def check_stress(entry_point: str, label: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if a labelling WorkChain is known to give no stress.

    Parameters
    ----------
    label
        Its inputs, without the structures.
    """
    asked = getattr(labelling_class(entry_point), "gives_stress", None)
    if asked is not None and asked(label) is False:
        raise ValueError(
            f"simulation: its cell moves, and the labels of {entry_point!r} with these inputs have "
            "no stress that could move it: choose labels with stress, or keep the cell 'fixed'"
        )


def check_label(entry_point: str, label: Mapping[str, Any], structures: DatasetData) -> None:
    """Raise ``ValueError`` if a labelling WorkChain would refuse its inputs.

    Parameters
    ----------
    label
        Its inputs, without the structures.
    structures
        Some that it will have to label.
    """
    spec = labelling_class(entry_point).spec().inputs
    if "dataset" in label:
        raise ValueError("label.dataset: what is labelled is chosen by the campaign")
    check_names(label, names(spec), "label")
    try:
        check_inputs({**label, "dataset": structures}, spec)
    except ValueError as error:
        raise ValueError(f"label: {error}") from error


def check_method(entry_point: str, label: Mapping[str, Any], known: DatasetData) -> None:
    """Raise ``ValueError`` if labels that are known are not made as others will be.

    A labelling WorkChain that cannot say beforehand how it makes labels is believed.

    Parameters
    ----------
    label
        The inputs of the labelling WorkChain, without the structures.
    known
        Labels to be learned from together with those that it makes.
    """
    ask = getattr(labelling_class(entry_point), "label_method", None)
    method = None if ask is None else ask(label)
    good = known.configurations.learnable
    if method is None or not len(good):
        return
    wanted = method.fingerprint()
    marks = [str(mark) for mark in FINGERPRINT.of(good)]
    others = Counter(
        mark or "unknown" for mark in marks if not fit_together([wanted, mark], versions=False)
    )
    if others:
        counts = ", ".join(f"{mark}: {n}" for mark, n in sorted(others.items()))
        head, _, *elements = wanted.split("-")
        here = "-".join([head, "...", *elements])
        raise ValueError(
            f"dataset: {others.total()} of its {len(good)} labels are not made as others will be "
            f"(numbers of labels by fingerprint: {counts}; here it will be {here}), and energies "
            "of different methods do not fit together: give 'label' the options that they were "
            "made with, or 'allow_mixed_labels' to learn from both"
        )
