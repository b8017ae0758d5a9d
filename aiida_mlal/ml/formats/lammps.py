"""Text dumps and data files of LAMMPS, in the units that they say, or else ``metal``.

Both number types, which ASE takes for atomic numbers where nothing else is said.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
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


LABEL = "typelabel"
"""Column of a dump with the label of the type of each atom."""


class _Itself(dict[int, int]):
    """Each type as an atomic number."""

    def __missing__(self, number: int) -> int:
        return number


def read_dump(path: str | Path) -> Iterator[Atoms]:
    """Read the structures of a dump."""
    options: dict[str, Any] = {"units": units_of(path) or UNITS[0]}
    source = StringIO(_translated(path)) if LABEL in _columns(path) else str(path)
    yield from ase.io.iread(source, ":", format=DUMP, **options)


def _translated(path: str | Path) -> str:
    """Return a dump with labels of types as ASE can read them: as elements, or else left out."""
    labels = _labels(path)
    as_elements = labels <= set(atomic_numbers)
    if not (as_elements or "type" in _columns(path)):
        raise ValueError(
            f"its types have labels that are no elements, {sorted(labels)[:5]}, and no numbers: "
            "write the column 'type' or 'element' beside 'typelabel'"
        )
    lines = []
    for line, place in _rows(path):
        words = line.split()
        if place is not None and as_elements:
            words = ["element" if word == LABEL else word for word in words]
        elif place is not None:
            del words[place]
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def _labels(path: str | Path) -> set[str]:
    """Return the labels that types have in a dump."""
    return {line.split()[place] for line, place in _rows(path) if place is not None} - {LABEL}


def _rows(path: str | Path) -> Iterator[tuple[str, int | None]]:
    """Yield each line of a dump, and which word of it is the label of a type, if one is."""
    place: int | None = None
    for number, line in enumerate(as_text(read_bytes(path)).splitlines(), 1):
        words = line.split()
        if words[:1] == ["ITEM:"]:
            place = words.index(LABEL) - 2 if words[1:2] == ["ATOMS"] and LABEL in words else None
            yield line, None if place is None else place + 2
        elif place is not None and len(words) <= place:
            raise ValueError(f"line {number}: expected the label of a type, got {line[:60]!r}")
        else:
            yield line, place


def read_data(path: str | Path) -> Iterator[Atoms]:
    """Read the structure of a data file, whose atomic numbers are types, in the order of ``id``.

    ASE (3.29) sorts atoms, but not the labels of their types with them.
    """
    options: dict[str, Any] = {"units": units_of(path) or UNITS[0], "Z_of_type": _Itself({1: 1})}
    source = StringIO(_with_numbered_masses(as_text(read_bytes(path))))
    for atoms in ase.io.iread(source, ":", format=DATA, sort_by_id=False, **options):
        atoms.arrays["type"] = atoms.numbers.copy()
        yield atoms[np.argsort(atoms.arrays["id"], kind="stable")]


def _with_numbered_masses(text: str) -> str:
    """Return a data file with the masses of types by number, where they are by label."""
    labels = _type_labels(text)
    begins = re.search(r"^\s*Masses\s*(#.*)?$", text, re.MULTILINE)
    if not labels or begins is None:
        return text
    head, lines = text[: begins.end()], text[begins.end() :].split("\n")
    for i, line in enumerate(lines):
        words = line.split()
        if len(words) > 1 and words[0] in labels and not words[0].isdecimal():
            lines[i] = " ".join([str(labels[words[0]]), *words[1:]])
        elif words and not words[0].isdecimal():
            break
    return head + "\n".join(lines)


def _type_labels(text: str) -> dict[str, int]:
    """Return the numbers of types by their labels; none where a data file has no labels."""
    return {words[0]: number for number, words in _section(text, "Atom Type Labels").items()}


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
    elif _has_elements(path) or not all("type" in atoms.arrays for atoms in frames):
        return [_bare(atoms) for atoms in frames], None
    else:
        types = _types_by_masses(frames) if "mass" in _columns(path) else None
        for atoms in frames:
            atoms.numbers = atoms.arrays["type"]
    least = min((int(atoms.numbers.min(initial=1)) for atoms in frames), default=1)
    if least < 1:
        raise ValueError(f"its types are numbers from 1 on, not {least}")
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


def _has_elements(path: str | Path) -> bool:
    """Whether a dump names the element of each atom, perhaps as the label of its type."""
    columns = _columns(path)
    return "element" in columns or (LABEL in columns and _labels(path) <= set(atomic_numbers))


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
    text = _with_numbered_masses(as_text(read_bytes(path)))
    labels = _type_labels(text)
    if labels and all(label in atomic_numbers for label in labels):
        return _in_order({number: label for label, number in labels.items()}, "file")
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
