"""Structures labelled by an ASE calculator."""

import signal
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.errors import cause, in_words, is_of_the_machine
from aiida_mlal.ml.frames import MOMENTS
from aiida_mlal.ml.labelling.calculators import CalculatorOptions, compute
from aiida_mlal.ml.labelling.checks import Limits, check_geometry, mismatch
from aiida_mlal.ml.labelling.ledger import Ledger
from aiida_mlal.ml.labelling.outcome import NoLabel, NotConverged, judged, unlabelled, unlabelled_by
from aiida_mlal.ml.labelling.outliers import without_outliers
from aiida_mlal.ml.labelling.staying import staying
from aiida_mlal.ml.labelling.time_limit import time_limit
from aiida_mlal.ml.labelling.written import Written
from aiida_mlal.ml.stopping import Interrupted, check_stop
from aiida_mlal.ml.text import said

OF_A_STRUCTURE = (Exception, SystemExit, GeneratorExit)
"""What costs the label of the structure in which a calculator raises it, and no other label."""


def label(
    structures: Configurations,
    calculator: CalculatorOptions,
    limits: Limits | None = None,
    progress: Callable[..., None] | None = None,
    ledger: Ledger | None = None,
    timeout: float | None = None,
) -> Configurations:
    """Return the same structures in the same order with labels, ``status`` and ``fingerprint``.

    A structure whose calculation fails has none of the labels, and the error as its ``reason``;
    one whose atoms are too close is not calculated. A calculator that changed the structure,
    whether its own copy or the one that it was given, failed. The energy is the one that the forces
    are derivatives of, where the calculator knows it. Where a label is good, a ``reason`` that was
    there (why the structure was selected) stays.

    What no structure is to blame for, such as an interrupt or a full disk, passes through with what
    was labelled until then, the other structures unlabelled, as its attribute ``computed``.

    Parameters
    ----------
    limits
        What a label must satisfy; the defaults of ``Limits`` without it.
    progress
        Called after each structure with ``done``, ``n_structures`` and ``status``.
    ledger
        Keeps the label of each structure as soon as it is there, and knows those that are there.
    timeout
        Time in s after which the calculation of a structure has failed.

    Raises
    ------
    ValueError
        If the calculator cannot be built.
    """
    limits, ledger = limits or Limits(), ledger or Ledger(structures)
    mark = calculator.fingerprint
    code: BaseCalculator | None = calculator.build()
    try:
        for i in ledger.left:
            structure = structures[i]
            status, reason = check_geometry(structure, limits)
            if status != OK:
                outcome = unlabelled(structure, reason, status)
            else:
                ledger.begin(i)
                try:
                    with time_limit(timeout), staying():
                        code = _built_again(calculator) if code is None else code
                        labelled = _calculated(structure, code, limits)
                except OF_A_STRUCTURE as error:
                    check_stop()  # which may be what the calculator made an error of
                    if is_of_the_machine(error):  # and no structure is to blame
                        raise
                    code = None  # it may be left in the middle of something
                    outcome = unlabelled_by(structure, error)
                else:
                    outcome = judged(structure, labelled, mark, limits)
            ledger.end(i, outcome)
            if progress is not None:
                status = str(outcome.status[0])
                progress(done=ledger.n_done, n_structures=len(structures), status=status)
    except BaseException as error:
        if isinstance(error, Interrupted) and error.signal == signal.SIGINT:
            ledger.release()
        ledger.abandon()
        setattr(error, "computed", ledger.configurations)  # noqa: B010
        raise
    return without_outliers(ledger.configurations, limits)


def _built_again(calculator: CalculatorOptions) -> BaseCalculator:
    try:
        return calculator.build()
    except ValueError as error:
        raise NoLabel(said(error)) from error


def _calculated(structure: Configurations, code: BaseCalculator, limits: Limits) -> Configurations:
    """Return a structure with what the calculator found; any exception if it is no label."""
    atoms = structure.to_ase()[0]
    atoms.set_constraint()  # which a calculator may apply to the forces
    atoms.calc = code
    if hasattr(code, "reset"):
        code.reset()
    written = Written.by(code)
    try:
        computed = compute(atoms)
    except OSError:  # that of the machine, such as a full disk
        raise
    except Exception as error:
        said = written.unconverged()
        if said is None:
            raise
        raise NotConverged(f"{said}; {in_words(error)}") from cause(error)
    said = written.unconverged()
    if said is not None:
        raise NotConverged(said)
    for held in (atoms, getattr(code, "atoms", None)):
        if isinstance(held, Atoms):
            problem = mismatch(structure, _geometry(held), limits.tolerance)
            if problem is not None:
                raise NoLabel(f"the calculator changed the structure: {problem}")
    converged = getattr(code, "converged", None)
    if isinstance(converged, (bool, np.bool_)) and not converged:
        raise NotConverged("the calculator says that it did not converge")
    label = structure.with_labels([computed.energy], computed.forces, computed.stress[None])
    return label if computed.moments is None else label.with_columns({MOMENTS: computed.moments})


def _geometry(atoms: Atoms) -> Configurations:
    return Configurations.from_geometry(
        atoms.numbers, atoms.positions, [len(atoms)], atoms.cell.array, atoms.pbc
    )
