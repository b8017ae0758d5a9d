"""Energies that cannot be those of their structures, judged by those of others."""

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.frames import REASON, STATUS
from aiida_mlal.ml.labelling.checks import UNPHYSICAL, Limits

FEW = 3
"""Fewest labels of a composition that have a median to be compared with."""

SPREAD = 20.0
"""How many standard deviations, estimated from the median deviation, are no outlier yet."""

TO_DEVIATION = 1.4826
"""A standard deviation of a normal distribution, in median deviations from its median."""


def without_outliers(
    labelled: Configurations, limits: Limits | None = None, known: Configurations | None = None
) -> Configurations:
    """Return labels, those of status ``ok`` whose energy is an outlier as ``unphysical``.

    The energy per atom is compared with what its composition lets expect: the median of the
    structures of this composition, or where these are fewer than ``FEW`` the mixture of the
    medians of others, if they have all of its elements in other proportions. What nothing is known
    of is not judged. An outlier is farther off than ``limits.max_deviation`` and than ``SPREAD``
    standard deviations, of which the median deviation is a robust estimate.

    Parameters
    ----------
    labelled
        Labels to be judged, by one another and by ``known``.
    known
        Other labels, which are not judged.
    """
    limits = limits or Limits()
    if limits.max_deviation is None:
        return labelled
    everything = labelled if known is None else Configurations.concatenate([labelled, known])
    good = np.flatnonzero(everything.status == OK)
    deviations, allowed = _deviations(everything[good], limits.max_deviation)
    status = labelled.status.astype("U16")
    reasons = list(REASON.of(labelled))
    for i, deviation, bound in zip(good, deviations, allowed):
        if i < len(labelled) and abs(deviation) > bound:
            status[i] = UNPHYSICAL
            reasons[i] = (
                f"the energy is {deviation:+.3g} eV per atom from what other labels let expect of "
                f"this composition, more than {bound:.3g}"
            )
    if (status == labelled.status).all():
        return labelled
    return labelled.with_columns({STATUS: status, REASON: reasons})


def outlying(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, which labels ``without_outliers`` would doubt.

    Whoever learns from labels of others has no limits for them: more than 1 eV per atom is doubted.
    """
    known = np.flatnonzero(np.isfinite(labelled.energies))
    deviations = np.full(len(labelled), np.nan)
    deviations[known], allowed = _deviations(labelled[known], 1.0)
    doubtful = known[np.abs(deviations[known]) > allowed]
    if not len(doubtful):
        return []
    doubtful = doubtful[np.argsort(-np.abs(deviations[doubtful]), kind="stable")]
    which = ", ".join(f"{i} ({deviations[i]:+.3g})" for i in doubtful[:5])
    return [
        f"the energies of {len(doubtful)} of {len(labelled)} structures are far from what the "
        f"others let expect of their compositions, in eV per atom: number {which}"
        f"{', ...' if len(doubtful) > 5 else ''}; are these labels right?"
    ]


def _deviations(
    good: Configurations, floor: float
) -> tuple[Float[np.ndarray, " structures"], Float[np.ndarray, " structures"]]:
    """Return deviations of energies per atom from medians by composition, and their limits (eV)."""
    n = len(good)
    energies = good.energies / np.maximum(good.counts, 1)
    shares = good.composition(good.elements) / np.maximum(good.counts, 1)[:, None]
    kinds, kind = np.unique(shares.round(6), axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    deviations, allowed = np.full(n, np.nan), np.full(n, np.inf)
    known = [k for k in range(len(kinds)) if (kind == k).sum() >= FEW]
    if not known:
        return deviations, allowed
    medians = np.array([np.median(energies[kind == k]) for k in known])
    inverse = np.linalg.pinv(kinds[known])
    mixed = kinds @ inverse @ medians
    spanned = np.abs(kinds @ inverse @ kinds[known] - kinds).max(axis=1, initial=0.0) < 1e-6
    mixed[known], spanned[known] = medians, True
    deviations = np.where(spanned[kind], energies - mixed[kind], np.nan)
    within = np.isin(kind, known)
    spread = TO_DEVIATION * np.median(np.abs(deviations[within]))
    allowed[:] = max(floor, SPREAD * spread)
    return deviations, allowed
