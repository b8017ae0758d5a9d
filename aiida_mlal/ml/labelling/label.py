"""Structures labelled by an ASE calculator."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from ase.calculators.calculator import BaseCalculator

from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions, compute
from aiida_mlal.ml.labelling.checks import (
    FAILED,
    UNCONVERGED,
    Limits,
    check_geometry,
    check_label,
)


def label(
    structures: Configurations,
    calculator: CalculatorOptions,
    limits: Limits | None = None,
    progress: Callable[..., None] | None = None,
) -> Configurations:
    """Return the same structures in the same order with labels, ``status`` and ``fingerprint``.

    A structure whose calculation fails has none of the labels, and the error as its ``reason``;
    one whose atoms are too close is not calculated. The energy is the one that the forces are
    derivatives of, where the calculator knows it. Where a label is good, a ``reason`` that was
    there (why the structure was selected) stays.

    An interrupt passes through with what was labelled until then, the other structures
    unlabelled, as its attribute ``computed``.

    Parameters
    ----------
    limits
        What a label must satisfy; the defaults of ``Limits`` without it.
    progress
        Called after each structure with ``done``, ``n_structures`` and ``status``.

    Raises
    ------
    ValueError
        If the calculator cannot be built.
    """
    limits = limits or Limits()
    mark = fingerprint(calculator.describe())
    code = calculator.build()
    labelled: list[Configurations] = []
    try:
        for structure in structures:
            found, error = _labelled(structure, code, limits, mark)
            labelled.append(found)
            if error is not None:
                code = calculator.build()  # the old one may be left in the middle of something
            if progress is not None:
                progress(
                    done=len(labelled), n_structures=len(structures), status=found.status[0].item()
                )
    except BaseException as error:
        rest = [_outcome(one, UNLABELLED, "", "") for one in structures[len(labelled) :]]
        setattr(error, "computed", Configurations.concatenate([*labelled, *rest]))  # noqa: B010
        raise
    return Configurations.concatenate(labelled)


def fingerprint(description: Mapping[str, Any]) -> str:
    """Return a short hash of what made a label, the same for equal descriptions."""
    text = json.dumps(description, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]


def _labelled(
    structure: Configurations, code: BaseCalculator, limits: Limits, mark: str
) -> tuple[Configurations, Exception | None]:
    """Return one structure with its label, and the error of the calculator if there was one."""
    blank = structure.with_labels(np.full(1, np.nan), np.full_like(structure.forces, np.nan))
    status, reason = check_geometry(structure, limits)
    if status != OK:
        return _outcome(blank, status, reason, ""), None
    try:
        found = _calculated(structure, code)
    except MemoryError:
        raise
    except Exception as error:
        status = UNCONVERGED if _is_convergence(error) else FAILED
        return _outcome(blank, status, f"{type(error).__name__}: {error}", ""), error
    status, reason = check_label(structure, found, limits)
    if status == FAILED:
        return _outcome(blank, status, reason, ""), None
    return _outcome(found, status, reason, mark), None


def _calculated(structure: Configurations, code: BaseCalculator) -> Configurations:
    atoms = structure.to_ase()[0]
    atoms.calc = code
    if hasattr(code, "reset"):
        code.reset()
    found = compute(atoms)
    return structure.with_labels(np.array([found.energy]), found.forces, found.stress[None])


def _outcome(structure: Configurations, status: str, reason: str, mark: str) -> Configurations:
    if status in (OK, UNLABELLED) and "reason" in structure.info:
        reason = structure.info["reason"][0]
    return structure.with_info(status=[status], reason=[reason], fingerprint=[mark])


def _is_convergence(error: Exception) -> bool:
    """Return whether a self-consistent cycle did not converge, as ASE and its friends say it."""
    names = [cls.__name__.lower() for cls in type(error).__mro__]
    return any("scf" in name or "converge" in name for name in names)
