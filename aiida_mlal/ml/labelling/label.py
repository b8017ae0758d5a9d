"""Structures labelled by an ASE calculator."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from aiida_mlal.ml.configurations import OK, UNLABELLED, Configurations
from aiida_mlal.ml.labelling.calculators import CalculatorOptions, compute
from aiida_mlal.ml.labelling.checks import Limits, check_geometry, mismatch
from aiida_mlal.ml.labelling.outcome import NotConverged, judged, unlabelled, unlabelled_by
from aiida_mlal.ml.labelling.outliers import without_outliers


def label(
    structures: Configurations,
    calculator: CalculatorOptions,
    limits: Limits | None = None,
    progress: Callable[..., None] | None = None,
) -> Configurations:
    """Return the same structures in the same order with labels, ``status`` and ``fingerprint``.

    A structure whose calculation fails has none of the labels, and the error as its ``reason``;
    one whose atoms are too close is not calculated. A calculator that changed the structure,
    whether its own copy or the one that it was given, failed. The energy is the one that the forces
    are derivatives of, where the calculator knows it. Where a label is good, a ``reason`` that was
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
    mark = calculator.fingerprint
    code: BaseCalculator | None = calculator.build()
    labelled: list[Configurations] = []
    try:
        for structure in structures:
            status, reason = check_geometry(structure, limits)
            if status != OK:
                outcome = unlabelled(structure, reason, status)
            else:
                try:
                    code = calculator.build() if code is None else code
                    found = _calculated(structure, code, limits)
                except MemoryError:
                    raise
                except Exception as error:
                    code = None  # it may be left in the middle of something
                    outcome = unlabelled_by(structure, error)
                else:
                    outcome = judged(structure, found, mark, limits)
            labelled.append(outcome)
            if progress is not None:
                status = str(outcome.status[0])
                progress(done=len(labelled), n_structures=len(structures), status=status)
    except BaseException as error:
        rest = [unlabelled(one, "", UNLABELLED) for one in structures[len(labelled) :]]
        setattr(error, "computed", Configurations.concatenate([*labelled, *rest]))  # noqa: B010
        raise
    return without_outliers(Configurations.concatenate(labelled), limits)


def _calculated(structure: Configurations, code: BaseCalculator, limits: Limits) -> Configurations:
    """Return a structure with what the calculator found; any exception if it is no label."""
    atoms = structure.to_ase()[0]
    atoms.calc = code
    if hasattr(code, "reset"):
        code.reset()
    with _folder_kept():
        found = compute(atoms)
    for held in (atoms, getattr(code, "atoms", None)):
        if isinstance(held, Atoms):
            problem = mismatch(structure, _geometry(held), limits.tolerance)
            if problem is not None:
                raise ValueError(f"the calculator changed the structure: {problem}")
    converged = getattr(code, "converged", None)
    if isinstance(converged, (bool, np.bool_)) and not converged:
        raise NotConverged("the calculator says that it did not converge")
    return structure.with_labels([found.energy], found.forces, found.stress[None])


def _geometry(atoms: Atoms) -> Configurations:
    return Configurations.from_geometry(
        atoms.numbers, atoms.positions, [len(atoms)], atoms.cell.array, atoms.pbc
    )


@contextmanager
def _folder_kept() -> Iterator[None]:
    """Return to the working directory, wherever a calculator went."""
    here = os.getcwd()
    try:
        yield
    finally:
        os.chdir(here)
