"""Reference energies: the energy of an atom of each element before its neighbours count.

Total energies of a density-functional code are -10 to -10⁵ eV an atom, what is learned of them are
differences of 10⁻³ eV. The former are kept in double precision outside of the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

COLLINEAR = 1e-8
"""Singular values of compositions, relative to the largest one, below which they are none."""

SMALLEST = 1e-9
"""Spread of energies in eV/atom that is one of rounding, as if the compositions explain all."""


def check(energies: Any, where: str) -> dict[str, float]:
    """Return reference energies (eV) by element; ``ValueError`` if they are none."""
    if not isinstance(energies, Mapping):
        raise ValueError(f"{where}: expected an energy in eV for each element, got {energies!r}")
    unknown = sorted(map(str, set(energies) - set(chemical_symbols[1:])))
    if unknown:
        raise ValueError(f"{where}: {unknown} are no chemical elements")
    for element, energy in energies.items():
        number = isinstance(energy, (int, float)) and not isinstance(energy, bool)
        if not number or not isfinite(energy):
            raise ValueError(f"{where}.{element}: expected an energy in eV, got {energy!r}")
    return {element: float(energy) for element, energy in energies.items()}


@dataclass(frozen=True, eq=False)
class Regression:
    """Energies of the elements in eV, and the quality of the fit.

    Attributes
    ----------
    energies
        Of an atom of each element.
    spread
        Root mean square of what they leave, in eV/atom; 0 where it is that of rounding.
    departure
        How much they differ from the mean energy of an atom, in eV.
    """

    energies: Float[np.ndarray, " elements"]
    spread: float
    departure: float


def regress(
    counts: Float[np.ndarray, "structures elements"], energies: Float[np.ndarray, " structures"]
) -> Regression:
    """Find the energy of an atom of each element that fits energies per atom best.

    Of all that fit equally well these are nearest to the mean energy of an atom, which is the limit
    of a ridge regression of the differences from it: elements that occur only in a fixed ratio
    differ from it by the least, one that does not occur has it, as have all if there is only one
    composition.

    Parameters
    ----------
    counts
        How many atoms of each element a structure has, at least one in all.
    energies
        Of the structures, in eV; at least one.
    """
    n_atoms = counts.sum(axis=1)
    mean = energies.sum() / n_atoms.sum()
    fractions, rest = counts / n_atoms[:, None], energies / n_atoms - mean
    departures = np.linalg.lstsq(fractions, rest, rcond=COLLINEAR)[0]
    spread = float(np.sqrt(np.mean((rest - fractions @ departures) ** 2)))
    return Regression(
        mean + departures, spread if spread > SMALLEST else 0.0, float(np.linalg.norm(departures))
    )
