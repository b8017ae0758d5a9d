"""Elements that masses of atoms stand for."""

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from aiida_mlal.ml.configurations import Configurations

NEAR = 0.1
"""How far in u a mass may be from that of an element, where codes round it."""


def element_of(mass: float | str) -> str | None:
    """Return the element of a mass in u; None where none has it, as for beads and isotopes."""
    try:
        apart = np.abs(atomic_masses[1:] - float(mass))
    except ValueError:
        return None
    nearest = int(np.argmin(apart))
    return chemical_symbols[1 + nearest] if apart[nearest] < NEAR else None


def doubtful_masses(structures: Configurations) -> list[str]:
    """Name elements that weigh what others do, as where a file calls all of them carbon."""
    said = []
    masses = structures.arrays.get("masses", np.empty(0))
    for number in np.unique(structures.numbers) if len(masses) else []:
        symbol = chemical_symbols[number]
        for mass in np.unique(masses[structures.numbers == number]):
            if element_of(mass) not in (symbol, None):
                said.append(f"{symbol} weighs {mass:g} u in it, as {element_of(mass)} does")
    return said
