"""Text dumps and data files of LAMMPS, in the units that they say, or else ``metal``.

Both number types, which ASE takes for atomic numbers where nothing else is said.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from aiida_mlal.ml.formats.content import as_text, read_bytes, read_head
from aiida_mlal.ml.formats.masses import element_of
from aiida_mlal.ml.formats.table import DATA, DUMP
from aiida_mlal.ml.formats.types import Types

NAMES = (DUMP, DATA)

UNITS = ("metal", "real")
"""Those whose files are read, the first where nothing is said; masses of both are in u."""

SAYS_UNITS = rb"^ITEM: UNITS\s*\n\s*(\w+)|\A[^\n]*\bunits = (\w+)"
"""The units of a dump, and in the first line of a data file that ``write_data`` wrote."""


class _Itself(dict[int, int]):
    """Each type as an atomic number."""

    def __missing__(self, number: int) -> int:
        return number


def read_dump(path: str | Path) -> Iterator[Atoms]:
    """Read the structures of a dump."""
    options: dict[str, Any] = {"units": units_of(path) or UNITS[0]}
    yield from ase.io.iread(str(path), ":", format=DUMP, **options)


def read_data(path: str | Path) -> Iterator[Atoms]:
    """Read the structure of a data file, whose atomic numbers are types, in the order of ``id``.

    ASE (3.29) sorts atoms, but not the labels of their types with them.
    """
    options: dict[str, Any] = {"units": units_of(path) or UNITS[0], "Z_of_type": _Itself({1: 1})}
    for atoms in ase.io.iread(str(path), ":", format=DATA, sort_by_id=False, **options):
        atoms.arrays["type"] = atoms.numbers.copy()
        yield atoms[np.argsort(atoms.arrays["id"], kind="stable")]


def unsaid(path: str | Path, name: str, frames: list[Atoms]) -> list[str]:
    """Say that a file of LAMMPS doesn't say its units, or which atom is which in each frame."""
    if name not in NAMES:
        return []
    said = []
    with_units = any(atoms.calc or "momenta" in atoms.arrays for atoms in frames)
    if with_units and units_of(path) is None:
        said.append(f"it does not say its units: velocities and forces are read as of {UNITS[0]!r}")
    if name == DUMP and len(frames) > 1 and "id" not in _columns(path):
        said.append("it has no column 'id': atoms may be in another order in each frame")
    return said


def identified(
    path: str | Path,
    name: str,
    frames: list[Atoms],
    elements: Sequence[str] | None,
    default: Sequence[str] | None,
) -> tuple[list[Atoms], Types | None]:
    """Give atoms their elements, and remove the energy of 0 that ASE makes up.

    Return types as well, each element once, unless a dump names the element of each atom.

    Parameters
    ----------
    name
        ``DUMP`` or ``DATA``.
    elements, default
        See ``files.load``. Masses are believed where ``elements`` are not given.

    Raises
    ------
    ValueError
        For types whose elements are not said, and for elements that there are not.
    """
    if name == DATA:
        types = _types_of_data(path)
    elif "element" in _columns(path) or not all("type" in atoms.arrays for atoms in frames):
        return [_bare(atoms) for atoms in frames], None
    else:
        types = _types_by_masses(frames) if "mass" in _columns(path) else None
        for atoms in frames:
            atoms.numbers = atoms.arrays["type"]
    if types is None or (types.source == "masses" and elements is not None):
        numbers = [int(atoms.numbers.max(initial=1)) for atoms in frames]
        types = Types.of(elements, default, numbers, first=1)
    if types.named:
        for atoms in frames:
            momenta = "momenta" in atoms.arrays  # of the masses that types had as elements
            velocities = atoms.get_velocities() if momenta else None
            atoms.numbers = _numbers(atoms.numbers, types.elements)
            if momenta:
                atoms.set_velocities(velocities)
        types = replace(types, elements=tuple(dict.fromkeys(types.elements)))
    return [_bare(atoms) for atoms in frames], types


def _columns(path: str | Path) -> list[str]:
    """Return the names of the columns of a dump."""
    columns = re.search(rb"^ITEM: ATOMS(.*)$", read_head(path), re.MULTILINE)
    return [] if columns is None else columns[1].decode("utf-8", "replace").split()


def _types_by_masses(frames: list[Atoms]) -> Types | None:
    """Return the elements of types in a dump, which ASE has taken from a column of masses."""
    elements: dict[int, str] = {}
    for atoms in frames:
        elements |= dict(zip(atoms.arrays["type"].tolist(), atoms.get_chemical_symbols()))
    return _in_order(elements, "masses")


def _types_of_data(path: str | Path) -> Types | None:
    """Return the elements by which a data file labels its types, or that their masses have."""
    text = as_text(read_bytes(path))
    labels = {number: words[0] for number, words in _section(text, "Atom Type Labels").items()}
    if labels and all(label in atomic_numbers for label in labels.values()):
        return _in_order(labels, "file")
    masses = _section(text, "Masses")
    found = {number: element_of(words[0]) for number, words in masses.items()}
    known = {number: element for number, element in found.items() if element is not None}
    return _in_order(known, "masses") if known and len(known) == len(masses) else None


def _section(text: str, title: str) -> dict[int, list[str]]:
    """Return the words behind the number in each line of a section."""
    begins = re.search(rf"^\s*{title}\s*(#.*)?$", text, re.MULTILINE)
    found: dict[int, list[str]] = {}
    for line in text[begins.end() :].splitlines() if begins else []:
        words = line.partition("#")[0].split()
        if words and not (words[0].isdecimal() and len(words) > 1):
            break
        if words:
            found[int(words[0][:18])] = words[1:]
    return found


def _in_order(elements: Mapping[int, str], source: Literal["file", "masses"]) -> Types | None:
    if sorted(elements) != list(range(1, len(elements) + 1)):
        return None
    return Types(tuple(elements[number] for number in sorted(elements)), source, first=1)


def _bare(atoms: Atoms) -> Atoms:
    if atoms.calc is not None:
        atoms.calc.results.pop("energy", None)
        atoms.calc.atoms = atoms.copy()
    return atoms


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


def _numbers(types: np.ndarray, elements: Sequence[str]) -> np.ndarray:
    unknown = [element for element in elements if element not in atomic_numbers]
    if unknown:
        raise ValueError(f"elements: there is no element {unknown[0]!r}")
    if types.max(initial=1) > len(elements):
        raise ValueError(
            f"expected the elements of the types 1 to {types.max()}, got {list(elements)}"
        )
    return np.array([atomic_numbers[element] for element in elements])[types - 1]
