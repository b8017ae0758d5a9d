"""Text dumps and data files of LAMMPS, in the units that they say, or else ``metal``.

Both number types, which ASE takes for atomic numbers where nothing else is said.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from aiida_mlal.ml.formats.content import read_bytes, read_head

UNITS = ("metal", "real")
"""Those whose files are read."""

SAYS_UNITS = rb"^ITEM: UNITS\s*\n\s*(\w+)|\A[^\n]*\bunits = (\w+)"
"""The units of a dump, and in the first line of a data file that ``write_data`` wrote."""


def dump_names_elements(path: str | Path) -> bool:
    """Tell if a dump names elements beside the numbers of types."""
    columns = re.search(rb"^ITEM: ATOMS(.*)$", read_head(path), re.MULTILINE)
    return columns is not None and b"element" in columns[1].split()


def data_names_elements(path: str | Path) -> bool:
    """Tell if a data file has labels of its types, or masses, by which ASE knows elements."""
    sections = rb"^\s*(Masses|Atom Type Labels)\s*(#.*)?$"
    return re.search(sections, read_bytes(path), re.MULTILINE) is not None


def units_of(path: str | Path) -> str | None:
    """Return the units of a dump or a data file; None where it does not say them.

    Raises
    ------
    ValueError
        For others than those of ``UNITS``, in which lengths are no Å.
    """
    named = re.search(SAYS_UNITS, read_head(path), re.MULTILINE)
    if named is None:
        return None
    units = (named[1] or named[2]).decode()
    if units not in UNITS:
        raise ValueError(
            f"its units are {units!r} of LAMMPS: expected one of {list(UNITS)}, in which lengths "
            "are in Å; write it again in one of these"
        )
    return units


def corrected(frames: list[Atoms], elements: Sequence[str] | None) -> list[Atoms]:
    """Remove the energy of 0 that ASE makes up, and give types their elements.

    Parameters
    ----------
    elements
        Of the types 1, 2, ..., which are atomic numbers for ASE; None where the file names them,
        or nobody knows.

    Raises
    ------
    ValueError
        For types that ``elements`` does not cover, and for elements that there are not.
    """
    for atoms in frames:
        if elements is not None:
            velocities = atoms.get_velocities()
            atoms.numbers = _numbers(atoms.numbers, elements)
            if "momenta" in atoms.arrays:  # of the masses that types had as elements
                atoms.set_velocities(velocities)
        if atoms.calc is not None:
            atoms.calc.results.pop("energy", None)
            atoms.calc.atoms = atoms.copy()
    return frames


def _numbers(types: np.ndarray, elements: Sequence[str]) -> np.ndarray:
    unknown = [element for element in elements if element not in atomic_numbers]
    if unknown:
        raise ValueError(f"elements: there is no element {unknown[0]!r}")
    if types.max(initial=1) > len(elements):
        raise ValueError(
            f"expected the elements of the types 1 to {types.max()}, got {list(elements)}"
        )
    return np.array([atomic_numbers[element] for element in elements])[types - 1]
