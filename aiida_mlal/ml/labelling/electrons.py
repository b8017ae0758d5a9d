"""Charge and initial magnetic moments of structures, as codes of electronic structure want them."""

import numpy as np

from aiida_mlal.ml.configurations import Configurations

ROUNDING = 0.05
"""By how much a sum of partial charges may differ from the charge of a cell."""


def has_moments(structures: Configurations) -> bool:
    """Whether atoms have initial magnetic moments."""
    return bool(structures.arrays.get("initial_magmoms", np.zeros(0)).any())


def charge_of(one: Configurations) -> float:
    """Charge of the cell in elementary charges: the sum of the initial charges of its atoms."""
    return float(one.arrays.get("initial_charges", np.zeros(1)).sum())
