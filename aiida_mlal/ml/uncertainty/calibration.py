"""How uncertainties go with errors, and the factor between them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.metrics import correlations

if TYPE_CHECKING:
    from aiida_mlal.ml.uncertainty.base import Uncertainties

Method = Literal["conformal", "gaussian", "log"]
METHODS: tuple[Method, ...] = ("conformal", "gaussian", "log")

LEVELS = np.linspace(0.05, 0.95, 19)
"""The probabilities at which coverage is compared."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Errors, and what was expected of them.

    Attributes
    ----------
    errors
        Sizes of errors; of vectors the root of the mean square of their components.
    uncertainties
        What is to be proportional to them.
    groups
        The structure of each: what belongs to one structure is not independent.
    unit
        Of the errors.
    components
        How many components an error has.
    """

    errors: Float[np.ndarray, " pairs"]
    uncertainties: Float[np.ndarray, " pairs"]
    groups: Int[np.ndarray, " pairs"]
    unit: str
    components: int = 1

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        if not len(self.errors) == len(self.uncertainties) == len(self.groups):
            raise ValueError(
                f"expected an uncertainty and a group for each error, got {len(self.errors)} "
                f"errors, {len(self.uncertainties)} uncertainties and {len(self.groups)} groups"
            )

    def take(self, which: Bool[np.ndarray, " pairs"]) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(
            self.errors[which],
            self.uncertainties[which],
            self.groups[which],
            self.unit,
            self.components,
        )

    @property
    def known(self) -> "Pairs":
        """Those pairs where both are numbers, and the uncertainty is above 0."""
        good = np.isfinite(self.errors) & np.isfinite(self.uncertainties)
        return self.take(good & (self.uncertainties > 0))

    def halves(self, seed: int) -> tuple["Pairs", "Pairs"]:
        """Return the pairs of a random half of the structures, and those of the others."""
        names = np.unique(self.groups)
        first = np.random.default_rng(seed).permutation(names)[: (len(names) + 1) // 2]
        chosen = np.isin(self.groups, first)
        return self.take(chosen), self.take(~chosen)


def factor(pairs: Pairs, method: Method = "conformal", level: float = 0.95) -> float:
    r"""Fit the factor of calibration that uncertainties are multiplied with.

    With ratios s of n errors to their uncertainties:

    conformal
        Of new structures like these, a share of at least ``level`` has errors up to the
        uncertainty: the :math:`\lceil (n+1) \mathrm{level} \rceil`-th smallest s. With too few
        structures for that, the largest one.
    gaussian
        The uncertainty is the standard deviation of errors: :math:`\sqrt{\langle s^2 \rangle}`.
    log
        A regression of logarithms, which outliers move little:
        :math:`\exp \langle \log s \rangle`.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}, choose from {list(METHODS)}")
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1, got {level}")
    known = pairs.known
    ratios = known.errors / known.uncertainties
    if not len(ratios):
        raise ValueError("no error is known together with an uncertainty above 0")
    if method == "conformal":
        rank = min(int(np.ceil((len(ratios) + 1) * level)), len(ratios))
        return float(np.sort(ratios)[rank - 1])
    if method == "gaussian":
        return float(np.sqrt((ratios**2).mean()))
    ratios = ratios[ratios > 0]
    return float(np.exp(np.log(ratios).mean())) if len(ratios) else 0.0


def coverage(pairs: Pairs, scale: float) -> Float[np.ndarray, " levels"]:
    """Compute the share of errors within the expected quantile, at each of ``LEVELS``.

    Errors are expected to be normally distributed, with ``scale`` times the uncertainty as the
    standard deviation of each component.
    """
    from scipy.stats import chi2

    known, n = pairs.known, pairs.components
    if not len(known.errors) or not scale > 0:
        return np.full(len(LEVELS), np.nan)
    ratios = known.errors / (scale * known.uncertainties)
    return (ratios[:, None] <= np.sqrt(chi2.ppf(LEVELS, n) / n)).mean(axis=0)


def miscalibration_area(pairs: Pairs, scale: float) -> float:
    """Return the area between the curve of ``coverage`` and the diagonal; 0 is best, 0.5 worst."""
    levels = np.concatenate([[0], LEVELS, [1]])
    apart = np.abs(np.concatenate([[0], coverage(pairs, scale) - LEVELS, [0]]))
    from scipy.integrate import trapezoid

    return float(trapezoid(apart, levels))


def negative_log_likelihood(pairs: Pairs, scale: float) -> float:
    """Return the mean of minus the logarithm of the probability density of a component."""
    known = pairs.known
    if not len(known.errors) or not scale > 0:
        return np.nan
    deviations = scale * known.uncertainties
    terms = (known.errors / deviations) ** 2 + np.log(2 * np.pi * deviations**2)
    return float(terms.mean() / 2)


def report(pairs: Pairs, level: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """Return factors from a random half of the structures, and how they do for the other half.

    The structures must be drawn at random. Those that a query chose are not like others.

    Returns
    -------
    dict
        JSON values: the number ``n`` of pairs and the ``unit`` of errors; ``pearson`` and
        ``spearman``, the correlations of uncertainty and error over all pairs; ``level``; and
        ``factors`` by method. With the factor ``gaussian``, on the other half: the curve of
        ``coverage`` (lists ``expected`` and ``observed``), the ``miscalibration_area`` and the
        ``nll``. ``uncalibrated`` has the latter two for a factor of 1, ``conformal_coverage`` is
        the share of errors within the conformal uncertainty. ``None`` where nothing is known.
    """
    known = pairs.known
    about: dict[str, Any] = {"n": len(known.errors), "unit": pairs.unit, "level": level}
    about |= correlations(known.uncertainties, known.errors)
    one, other = known.halves(seed)
    if not len(one.errors) or not len(other.errors):
        return {**about, "factors": None}
    factors = {method: factor(one, method, level) for method in METHODS}
    within = other.errors <= factors["conformal"] * other.uncertainties
    scale = factors["gaussian"]
    return {
        **about,
        "factors": factors,
        "conformal_coverage": float(within.mean()),
        "coverage": {"expected": LEVELS.tolist(), "observed": coverage(other, scale).tolist()},
        "miscalibration_area": miscalibration_area(other, scale),
        "nll": negative_log_likelihood(other, scale),
        "uncalibrated": {
            "miscalibration_area": miscalibration_area(other, 1.0),
            "nll": negative_log_likelihood(other, 1.0),
        },
    }


def pairs_of(
    measured: "Uncertainties",
    labelled: Configurations,
    predicted: Configurations,
    is_variance: bool = False,
) -> dict[str, Pairs]:
    """Pair the errors of a potential with the uncertainties of a measure.

    Parameters
    ----------
    measured
        What the measure says: of structures, which is compared with energies, and of atoms, which
        is compared with forces. In units of one of the two, it is compared with these alone.
    labelled, predicted
        The same structures with labels and with predictions.
    is_variance
        Whether the measure is that of squared errors.
    """
    pairs = {}
    if measured.unit in ("eV/atom", "1"):
        per_atom = measured.unit == "eV/atom"
        counts = np.maximum(labelled.counts, 1) if per_atom else 1
        pairs["energy"] = Pairs(
            np.abs(predicted.energies - labelled.energies) / counts,
            _deviations(measured.values, is_variance),
            np.arange(len(labelled)),
            "eV/atom" if per_atom else "eV",
        )
    if measured.per_atom is not None:
        apart = ((predicted.forces - labelled.forces) ** 2).mean(axis=1)
        pairs["forces"] = Pairs(
            np.sqrt(apart),
            force_deviations(measured, is_variance),
            labelled.owner,
            "eV/Å",
            3,
        )
    return pairs


def force_deviations(measured: "Uncertainties", is_variance: bool) -> Float[np.ndarray, " atoms"]:
    """Convert a measure to the standard deviation of a force component of each atom.

    Values in eV/Å are taken for those of force vectors.
    """
    if measured.per_atom is None:
        raise ValueError(f"the uncertainty {measured.kind!r} has no values for atoms")
    size = np.sqrt(3) if measured.unit == "eV/Å" else 1.0
    return _deviations(measured.per_atom, is_variance) / size


def _deviations(values: Float[np.ndarray, " values"], are_variances: bool) -> np.ndarray:
    return np.sqrt(np.maximum(values, 0)) if are_variances else np.asarray(values)


def reports(pairs: Mapping[str, Pairs], level: float = 0.95, seed: int = 0) -> dict[str, Any]:
    """Return the report of each quantity that has pairs."""
    return {name: report(one, level, seed) for name, one in pairs.items() if len(one.known.errors)}
