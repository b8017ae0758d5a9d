"""Outcomes: structures with a label, or with the reason why there is none."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.errors import in_words
from aiida_mlal.ml.frames import FINGERPRINT, MOMENTS, REASON, STATUS
from aiida_mlal.ml.labelling.checks import FAILED, UNCONVERGED, Limits, check_label
from aiida_mlal.ml.labelling.fingerprint import Method
from aiida_mlal.ml.text import printable


class NoLabel(ValueError):
    """Raised where a code gives no label; the message says why."""


class NotConverged(NoLabel):
    """Raised where the self-consistent cycle of a code did not converge."""


def labelled(
    structure: Configurations,
    energy: float,
    forces: Any,
    stress: Any | None = None,
    made_by: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
) -> Configurations:
    """Return a structure with its label, if that is fit to be learned from.

    Why a structure was selected stays its ``reason`` where the label is good.

    Parameters
    ----------
    structure
        One structure.
    energy, forces, stress
        In eV, eV/Å (one vector for each atom) and eV/Å³, positive in tension (3 x 3). A structure
        that is not periodic in all directions has no stress.
    made_by
        What decides labels, such as code and parameters: energies are learned from together where
        it is equal.
    limits
        What a label must satisfy; the defaults of ``Limits`` without it.
    """
    wanted = (len(structure.numbers), 3)
    if np.shape(forces) != wanted:
        return unlabelled(structure, f"expected forces of shape {wanted}, got {np.shape(forces)}")
    stresses = None if stress is None else np.reshape(stress, (1, 3, 3))
    label = structure.with_labels([energy], forces, stresses)
    return judged(structure, label, Method(made_by or {}).fingerprint(), limits)


def judged(
    structure: Configurations,
    labelled: Configurations,
    fingerprint: str,
    limits: Limits | None = None,
    warning: str = "",
) -> Configurations:
    """Return a structure with the label that was found, if that is fit to be learned from.

    Parameters
    ----------
    structure
        The one that was to be labelled.
    labelled
        The structure that a code says it computed, with energy, forces and stress, and ``moments``
        where there are any: these stay with the label of a structure that is magnetic.
    fingerprint
        Of what made the label.
    warning
        What a reader should know of a good label: it is added to its ``reason``.
    """
    status, reason = check_label(structure, labelled, limits or Limits())
    if status == FAILED:
        return unlabelled(structure, reason)
    label = structure.with_labels(labelled.energies, labelled.forces, labelled.stresses).without(
        MOMENTS
    )
    is_magnetic = "initial_magmoms" in structure.arrays or MOMENTS.of(labelled).any()
    if MOMENTS.is_in(labelled) and is_magnetic:
        label = label.with_columns({MOMENTS: MOMENTS.of(labelled)})
    return _with_outcome(label, status, warning if status == OK else reason, fingerprint)


def unlabelled(structure: Configurations, reason: str, status: str = FAILED) -> Configurations:
    """Return a structure without a label, and why: ``failed``, ``unconverged``, ``unphysical``."""
    nothing = structure.with_labels([np.nan], np.full((len(structure.numbers), 3), np.nan))
    nothing = nothing.without(MOMENTS)
    return _with_outcome(nothing, status, reason, "")


def unlabelled_by(structure: Configurations, error: BaseException) -> Configurations:
    """Return a structure without a label because of an error, in which its reason is."""
    status = UNCONVERGED if _is_convergence(error) else FAILED
    reason = str(error) if isinstance(error, NoLabel) else in_words(error)
    return unlabelled(structure, reason, status)


def description(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Build the ``description`` of labels: what made them, with their fingerprint."""
    return {"description": dict(made_by), "fingerprint": Method(made_by).fingerprint()}


def _with_outcome(
    structure: Configurations, status: str, reason: str, fingerprint: str
) -> Configurations:
    """Set status, reason and fingerprint; a good label keeps the reason of its selection."""
    reason = printable(reason)
    if status in (OK, UNLABELLED):
        reason = "; ".join(text for text in (REASON.of(structure)[0], reason) if text)
    return structure.with_columns({STATUS: status, REASON: reason, FINGERPRINT: fingerprint})


def _is_convergence(error: BaseException) -> bool:
    """Whether an error of ASE or a calculator means that self-consistency was not reached."""
    names = [cls.__name__.lower() for cls in type(error).__mro__]
    return any("scf" in name or "converge" in name for name in names)
