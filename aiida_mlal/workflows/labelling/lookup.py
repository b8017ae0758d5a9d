"""The WorkChain that labels: found by its entry point, its inputs checked by itself."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiida.plugins.entry_point import get_entry_point_names

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.ml.frames import FINGERPRINT
from aiida_mlal.ml.labelling.calculators import NAMES
from aiida_mlal.ml.labelling.fingerprint import fit_together
from aiida_mlal.ml.options import nearest
from aiida_mlal.workflows.labelling.base import LABELLING
from aiida_mlal.workflows.ports import called

OURS = "mlal.label."
"""What names of labelling WorkChains of this package begin with, and may be left out."""

ASE = "mlal.label.ase"
"""Labels from calculators of ASE, which are named in place of an entry point."""


def labelling_of(
    labels: str | Mapping[str, Any], entry_point: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the entry point that labels, and the ``calculator`` that only one of ASE is given.

    Parameters
    ----------
    labels
        An ASE calculator or a foundation model by name, or by name and options; or
        ``quantumespresso``, or the entry point of another labelling WorkChain.
    entry_point
        That which was asked for beside, and goes first.

    Raises
    ------
    ValueError
        For a name that is neither that of a calculator nor that of a WorkChain.
    """
    workflows = get_entry_point_names("aiida.workflows")
    if isinstance(labels, str):
        for name in (labels, f"{OURS}{labels}"):
            if name in workflows:
                return entry_point or name, {}
    if entry_point not in (None, ASE):
        return str(entry_point), {}
    if isinstance(labels, str) and labels not in NAMES:
        ours = {name.removeprefix(OURS) for name in {*workflows} - {ASE} if name.startswith(OURS)}
        near = nearest(labels, [*NAMES, *workflows, *ours])
        meant = f", did you mean {near!r}" if near else ""
        raise ValueError(
            f"labels: unknown name {labels!r}{meant}; expected a calculator of ASE, one of "
            f"{sorted(NAMES)}, one of {sorted(ours)}, or the entry point of another "
            "WorkChain of 'aiida.workflows' that labels"
        )
    return ASE, {"calculator": labels}


def check_stress(entry_point: str, label: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if a labelling WorkChain is known to give no stress.

    Parameters
    ----------
    label
        Its inputs, without the structures.
    """
    asked = getattr(LABELLING.find(entry_point), "gives_stress", None)
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
    LABELLING.check_inputs(entry_point, label, {"dataset": structures}, "label")


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
    ask = getattr(LABELLING.find(entry_point), "label_method", None)
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
            f"of different methods do not fit together: give {called('label')} the options that "
            f"they were made with, or set {called('allow_mixed_labels')} to learn from both"
        )
