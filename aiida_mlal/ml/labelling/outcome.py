"""A structure with the label that a code found for it, or with why there is none."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import FINGERPRINT, REASON, STATUS
from aiida_mlal.ml.labelling.checks import FAILED, Limits, check_label
from aiida_mlal.ml.labelling.fingerprint import fingerprint


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
    found = structure.with_labels([energy], forces, stresses)
    status, reason = check_label(structure, found, limits or Limits())
    if status == FAILED:
        return unlabelled(structure, reason)
    if status == OK and REASON.is_in(structure):
        reason = REASON.of(structure)[0]
    mark = fingerprint(made_by or {})
    return found.with_columns({STATUS: status, REASON: reason, FINGERPRINT: mark})


def unlabelled(structure: Configurations, reason: str, status: str = FAILED) -> Configurations:
    """Return a structure without a label, and why: ``failed``, ``unconverged``, ``unphysical``."""
    nothing = structure.with_labels([np.nan], np.full((len(structure.numbers), 3), np.nan))
    return nothing.with_columns({STATUS: status, REASON: reason, FINGERPRINT: ""})


def description(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a labelling code tells of itself, with the fingerprint of its labels."""
    return {"description": dict(made_by), "fingerprint": fingerprint(made_by)}
