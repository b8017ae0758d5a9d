"""Kinds of labels that a potential reproduces hardly better than if it knew nothing of them."""

from collections.abc import Mapping

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.references import regress
from aiida_mlal.ml.training.verdict import NOISE

UNITS = {"energy": "eV/atom", "force": "eV/Å", "stress": "eV/Å³"}

ERRORS = 10.0
"""Errors, in units of ``NOISE``, below which a model may just be a small one."""

LEFT = 0.5
"""Error, in units of the standard deviation of the labels, from which on they are missed."""


def missed(labelled: Configurations, errors: Mapping[str, float]) -> list[str]:
    """Say, in one sentence or none, which labels that were learned from are missed.

    A kind that counts little, beside stresses whose noise is said to be small, may be missed though
    the loss is a small part of what it was: as forces are that don't belong to the structures.

    Parameters
    ----------
    errors
        Of the predictions, by ``ml.metrics.errors``.
    """
    sizes = {"energy": _of_energies(labelled)}
    for kind, values in (("force", labelled.forces), ("stress", labelled.stresses)):
        known = values[np.isfinite(values)]
        sizes[kind] = float(np.sqrt(np.mean(known**2))) if len(known) else 0.0
    found = [
        f"{kind} by {error:.2g} {UNITS[kind]} where it is {size:.2g}"
        for kind, size in sizes.items()
        if (error := errors.get(f"{kind}_rmse", 0.0)) > max(LEFT * size, ERRORS * NOISE[kind])
    ]
    if not found:
        return []
    return [
        f"labels that were learned from are missed: {', '.join(found)}. Are energies, forces and "
        "stresses of the same structures, in the same order of atoms and units? Otherwise these "
        "count too little in the loss, or the model is too small"
    ]


def _of_energies(labelled: Configurations) -> float:
    """Return the standard deviation of energies per atom, beyond those of the elements."""
    known = labelled[np.flatnonzero(np.isfinite(labelled.energies) & (labelled.counts > 0))]
    if not len(known):
        return 0.0
    return regress(known.composition(known.elements), known.energies).spread
