"""Structures in the format of the MLIP codes (``.cfg``)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.content import as_text, compress, read_bytes
from aiida_mlal.ml.formats.numbers import is_real, real, whole
from aiida_mlal.ml.formats.types import Types, check_named
from aiida_mlal.ml.options import within
from aiida_mlal.ml.wholefile import write_whole

ELEMENTS = "elements"
"""The feature in which we write the element of each type, beside what MLIP knows."""

GRADE, GRADES = "grade", "nbh_grades"
"""The grades of atoms, and MLIP's column of them."""

_STRESS = ("xx", "yy", "zz", "yz", "xz", "xy")
_SIGNS = {"PlusStress:": -1.0, "Virial:": -1.0, "Stress:": 1.0}
_OTHER_NAMES = {
    "SuperCell": "Supercell", "Atomic_data:": "AtomData:",
    "Virial:": "PlusStress:", "Stress:": "PlusStress:",
}  # fmt: skip
_AXES = ("x", "y", "z")
_PLAIN = re.compile("[0-9eE.+-]*")
_STRUCTURE = {
    "id", "type", *(f"{name}{axis}" for name in ("cartes_", "direct_", "f") for axis in _AXES),
}  # fmt: skip
_KNOWN = {
    *_STRUCTURE, "ghost", "site_en", "charge", "nbh_grades",
    *(f"{name}{axis}" for name in ("magmom_", "en_der_m") for axis in _AXES),
}  # fmt: skip


def read(
    path: str | Path, elements: Sequence[str] | None = None, default: Sequence[str] | None = None
) -> Configurations:
    """Read all structures of a file, which may be compressed.

    ``elements`` and ``default`` say which element each type is, as in ``parse``.
    """
    try:
        return parse(as_text(read_bytes(path)), elements, default)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse(
    text: str, elements: Sequence[str] | None = None, default: Sequence[str] | None = None
) -> tuple[Configurations, Types | None]:
    """Read the structures of a text, and which element each type is.

    The latter is None where structures name different ones.

    ``PlusStress``, the virial in eV and positive in compression, becomes the stress in eV/Å³,
    positive in tension; without a cell there is none. Features become ``info``, several lines of
    one feature a text of as many lines; more columns become ``arrays``. As in MLIP, values may
    stand beside their name, and a lattice vector that is missing or zero is of no period.

    Parameters
    ----------
    text
        The content of a file.
    elements
        The elements of the types 0, 1, ...; types may also be atomic numbers of these. A file that
        says it itself, as ours do, may have no others. By default H, He, ...
    default
        The same, for a file that does not say, if there are no ``elements``.

    Raises
    ------
    ValueError
        For anything that is not such a text, and a type without an element.
    """
    blocks, structures = [], []
    for number, lines in enumerate(_blocks(text), 1):
        with within(f"configuration {number}"):
            blocks.append(_fields(lines))
    types = {t for fields in blocks for t in fields["types"]}
    for number, fields in enumerate(blocks, 1):
        with within(f"configuration {number}"):
            structures.append(_configuration(fields, types, elements, default))
    configurations = Configurations.concatenate(structures)
    names = {fields["features"].get(ELEMENTS, "").strip() for fields in blocks} - {""}
    if elements is None and len(names) > 1:
        return configurations, None
    if elements is None and names:
        return configurations, Types(tuple(names.pop().split()), "file")
    return configurations, Types.of(elements, default, configurations.numbers.tolist())


def write(
    configurations: Configurations,
    path: str | Path,
    elements: Sequence[str] | None = None,
    named: bool = True,
) -> None:
    """Write structures to a file, compressed if its name ends in ``.xz`` or the like."""
    write_whole(path, compress(to_text(configurations, elements, named).encode(), path))


def to_text(
    configurations: Configurations, elements: Sequence[str] | None = None, named: bool = True
) -> str:
    """Return structures with their labels as a text, with all digits.

    ``elements`` are those of the types 0, 1, ..., by default all that there are by atomic number;
    the text says so if they are ``named``.
    Features are the numbers and texts of ``info``; its vectors and matrices have no place here.
    Of ``arrays`` the columns that MLIP knows have one, and ``grade``, which is its ``nbh_grades``.
    """
    elements = list(configurations.elements if elements is None else elements)
    missing = sorted(set(configurations.elements) - set(elements))
    if missing:
        raise ValueError(f"there is no type for {missing}, only for {elements}")
    types = {atomic_numbers[element]: t for t, element in enumerate(elements)}
    return "".join(_text(one, types, elements if named else ()) for one in configurations)


def left_out(configurations: Configurations) -> list[str]:
    """Name what structures have and a file has no place for."""
    whole = configurations.pbc.all(axis=1)
    losses = {
        "fixed atoms": configurations.fixed.any(),
        "lattice vectors without periodicity": configurations.cells[~configurations.pbc].any(),
        "stresses without a periodic cell": np.isfinite(configurations.stresses[~whole]).any(),
    }
    names = [key for key, values in configurations.info.items() if not _is_feature(key, values)]
    names += [key for key, values in configurations.arrays.items() if not _is_column(key, values)]
    return [name for name, lost in losses.items() if lost] + names


def element_of_types(types: Iterable[int], elements: Sequence[str] | None) -> dict[int, str]:
    """Return the element of each type, which is an index or an atomic number (see ``parse``)."""
    known = sorted(set(types))
    if elements is None:
        if known and not 0 <= known[0] <= known[-1] < len(chemical_symbols) - 1:
            raise ValueError(f"expected types from 0, got {known}")
        return {t: chemical_symbols[t + 1] for t in known}
    unknown = sorted(set(elements) - set(chemical_symbols[1:]))
    if unknown:
        raise ValueError(f"{unknown} are no chemical elements")
    numbers = {atomic_numbers[element]: element for element in elements}
    if all(0 <= t < len(elements) for t in known):
        return {t: elements[t] for t in known}
    if set(known) <= set(numbers):
        return {t: numbers[t] for t in known}
    raise ValueError(
        f"the types {known} are neither indices nor atomic numbers of {list(elements)}"
    )


def _blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines between each BEGIN_CFG and END_CFG."""
    block: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if word == "BEGIN_CFG":
            if block is not None:
                raise ValueError(f"line {number}: BEGIN_CFG before the END_CFG of the last one")
            block = []
        elif word == "END_CFG":
            if block is None:
                raise ValueError(f"line {number}: END_CFG without BEGIN_CFG")
            yield block
            block = None
        elif block is not None:
            if word:
                block.append(word)
        elif word:
            raise ValueError(f"line {number}: expected BEGIN_CFG, got {word[:40]!r}")
    if block is not None:
        raise ValueError("the last configuration has no END_CFG")


class _Lines:
    """The lines of one configuration. Values may begin beside their name, or on the next line."""

    def __init__(self, lines: list[str]) -> None:
        self._lines, self._next = lines, 0

    def __bool__(self) -> bool:
        return self._next < len(self._lines)

    def take(self, n: int = 1) -> list[str]:
        """Return the next ``n`` lines, or all that there are."""
        lines = self._lines[self._next : self._next + n]
        self._next += len(lines)
        return lines

    def values(self, n: int, beside: list[str], name: str) -> list[str]:
        """Return the ``n`` words that follow ``name``, some of them perhaps ``beside`` it."""
        words = list(beside)
        while len(words) < n and self:
            words += self.take()[0].split()
        if len(words) != n:
            raise ValueError(f"{name}: expected {n} values, got {words}")
        return words

    def vectors(self, beside: list[str]) -> list[list[str]]:
        """Return up to three vectors that follow, the first perhaps ``beside`` their name."""
        words = list(beside)
        while len(words) < 9 and self and _is_vector(self._lines[self._next]):
            words += self.take()[0].split()
        if len(words) % 3 or len(words) > 9:
            raise ValueError(f"Supercell: expected up to three lattice vectors, got {words}")
        return [words[i : i + 3] for i in range(0, len(words), 3)]


def _fields(text: list[str]) -> dict[str, Any]:
    """Return size, cell, columns, energy, stress and features of one configuration."""
    fields: dict[str, Any] = {"cell": [], "features": {}}
    lines, seen = _Lines(text), set()
    while lines:
        line = lines.take()[0]
        word, *rest = line.split()
        one = _OTHER_NAMES.get(word, word)
        if one in seen and one != "Feature":
            raise ValueError(f"{word} is there twice")
        seen.add(one)
        if word == "Size":
            fields["size"] = whole(lines.values(1, rest, word)[0], word)
        elif one == "Supercell":
            vectors = lines.vectors(rest)
            fields["cell"] = [[real(x, word) for x in vector] for vector in vectors]
        elif one == "AtomData:":
            if "size" not in fields:
                raise ValueError("AtomData comes before Size")
            n = fields["size"]
            fields["columns"] = _columns(rest, lines.take(n), n)
        elif word == "Energy":
            fields["energy"] = real(lines.values(1, rest, word)[0], word)
        elif one == "PlusStress:":
            names, beside = rest[:6], rest[6:]
            if sorted(names) != sorted(_STRESS):
                raise ValueError(f"expected the components {list(_STRESS)}, got {names}")
            values = [real(x, word) for x in lines.values(6, beside, word)]
            components = dict(zip(names, values, strict=True))
            fields["virial"] = [_SIGNS[word] * components[name] for name in _STRESS]
        elif word == "Feature":
            if not rest:
                raise ValueError("a Feature has no name")
            said = line.split(maxsplit=2)[2:]
            fields["features"].setdefault(rest[0], []).append(said[0] if said else "")
        else:
            raise ValueError(f"unknown field {word[:40]!r}")
    if "columns" not in fields:
        raise ValueError("there is no AtomData")
    fields["features"] = {key: "\n".join(said) for key, said in fields["features"].items()}
    types = fields["columns"].get("type", np.zeros(fields["size"]))
    if (types != np.floor(types)).any():
        wrong = types[types != np.floor(types)][0]
        raise ValueError(f"type: expected whole numbers in AtomData, got {wrong:g}")
    if (np.abs(types) > 1e6).any():
        raise ValueError(f"type: {types[np.abs(types) > 1e6][0]:g} is the type of no element")
    fields["types"] = types.astype(int).tolist()
    return fields


def _columns(names: list[str], rows: list[str], n: int) -> dict[str, np.ndarray]:
    unknown = sorted(set(names) - _KNOWN)
    if unknown:
        raise ValueError(f"unknown columns {unknown} in AtomData")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the columns {twice} are in AtomData twice")
    words = [row.split() for row in rows]
    if len(words) != n or any(len(row) != len(names) for row in words):
        raise ValueError(f"expected {n} rows of {len(names)} values in AtomData")
    columns = {}
    for name, column in zip(names, zip(*words) if words else [()] * len(names)):
        columns[name] = _ghosts(column) if name == "ghost" else _numbers(name, column)
    if "id" in columns and (columns["id"] != np.arange(1, n + 1)).any():
        raise ValueError("expected ids from 1 in order")
    return columns


def _numbers(name: str, words: Sequence[str]) -> np.ndarray:
    if _PLAIN.fullmatch("".join(words)):  # almost always, and much faster all at once
        try:
            numbers = np.array(words, dtype=float)
        except ValueError:
            numbers = np.array([np.nan])
        if np.isfinite(numbers).all():
            return numbers
    return np.array([real(word, f"{name} of atom {i}") for i, word in enumerate(words, 1)])


def _ghosts(words: Sequence[str]) -> np.ndarray:
    strange = sorted(set(words) - {"true", "false"})
    if strange:
        raise ValueError(f"ghost: expected true or false, got {strange[0][:40]!r}")
    return np.array([word == "true" for word in words], bool)


def _configuration(
    fields: Mapping[str, Any],
    every: Iterable[int],
    elements: Sequence[str] | None,
    default: Sequence[str] | None,
) -> Configurations:
    """Return a configuration of a file that has ``every`` one of these types."""
    columns, n, types = fields["columns"], fields["size"], fields["types"]
    features = dict(fields["features"])
    named = features.pop(ELEMENTS, "").split()
    if named:
        element = element_of_types(types, named)
    else:
        element = element_of_types(every, elements or default)
    others = sorted({element[t] for t in types} - set(elements or element.values()))
    if others and named == chemical_symbols[1 : len(named) + 1]:  # nobody has named them
        element = element_of_types(every, elements)
    else:
        check_named(others, elements)
    cell = np.zeros((3, 3))
    vectors = np.array(fields["cell"]).reshape(-1, 3)
    cell[: len(vectors)] = vectors
    pbc = cell.any(axis=1)
    if "cartes_x" in columns:
        positions = _vectors(columns, "cartes_{}")
    elif "direct_x" in columns:
        positions = _vectors(columns, "direct_{}") @ cell
    else:
        raise ValueError("there are no positions, cartes_x or direct_x, in AtomData")
    labels: dict[str, Any] = {}
    if "energy" in fields:
        labels["energies"] = [fields["energy"]]
    if "fx" in columns:
        labels["forces"] = _vectors(columns, "f{}")
    if "virial" in fields and pbc.all():
        if not abs(np.linalg.det(cell)) > 0:
            raise ValueError("the three vectors of Supercell lie in a plane: there is no volume")
        xx, yy, zz, yz, xz, xy = np.array(fields["virial"]) / abs(np.linalg.det(cell))
        labels["stresses"] = [[[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]]
    return Configurations.from_geometry(
        numbers=[atomic_numbers[element[t]] for t in types],
        positions=positions,
        counts=[n],
        cells=cell,
        pbc=[pbc],
        info={key: [_value(value)] for key, value in features.items()},
        arrays={key: column for key, column in columns.items() if key not in _STRUCTURE},
        **labels,
    )


def _is_vector(line: str) -> bool:
    words = line.split()
    return len(words) == 3 and all(is_real(word) for word in words)


def _vectors(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return np.stack([columns[name.format(axis)] for axis in _AXES], axis=1)
    except KeyError as error:
        raise ValueError(f"the column {error} is missing in AtomData") from error


def _value(text: str) -> bool | int | float | str:
    if text in ("True", "False"):
        return text == "True"
    if text.isascii() and text.isdigit():  # a long one, or with zeros before it, is a name
        return int(text) if text == str(int(text)) and len(text) < 19 else text
    return real(text, "") if is_real(text) and "d" not in text.lower() else text


def _text(one: Configurations, types: Mapping[int, int], elements: Sequence[str]) -> str:
    n = int(one.counts[0])
    lines = ["BEGIN_CFG", " Size", f"    {n}"]
    rows = [
        [f"{i + 1:6d}", f"{types[z]:3d}", *map(_number, position)]
        for i, (z, position) in enumerate(zip(one.numbers.tolist(), one.positions))
    ]
    names = ["id", "type", "cartes_x", "cartes_y", "cartes_z"]
    periodic = np.flatnonzero(one.pbc[0])
    if len(periodic):
        lines.append(" Supercell")
        lines += ["    " + " ".join(map(_number, vector)) for vector in one.cells[0][periodic]]
    if np.isfinite(one.forces).all():
        names += ["fx", "fy", "fz"]
        rows = [row + list(map(_number, force)) for row, force in zip(rows, one.forces)]
    arrays = dict(one.arrays)
    if GRADE in arrays:
        arrays.setdefault(GRADES, arrays[GRADE])
    for name, column in sorted(arrays.items()):
        if name == GRADE or not _is_column(name, column) or not np.isfinite(column).all():
            continue
        names.append(name)
        words = [str(bool(x)).lower() if name == "ghost" else _number(x) for x in column]
        rows = [[*row, word] for row, word in zip(rows, words)]
    lines.append(" AtomData:  " + " ".join(names))
    lines += [" ".join(row) for row in rows]
    if np.isfinite(one.energies[0]):
        lines += [" Energy", f"    {_number(one.energies[0])}"]
    if np.isfinite(one.stresses[0]).all() and len(periodic) == 3:
        virial = -one.stresses[0] * abs(np.linalg.det(one.cells[0]))
        pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
        lines.append(" PlusStress:  " + " ".join(f"{name:>23}" for name in _STRESS))
        lines.append("    " + " ".join(_number(virial[pair]) for pair in pairs))
    for key, value in one.info.items():
        if _is_feature(key, value) and str(value[0]) not in ("", "nan"):
            lines += [f" Feature   {key}\t{line}" for line in str(value[0]).split("\n")]
    if elements:
        lines.append(f" Feature   {ELEMENTS}\t{' '.join(elements)}")
    return "\n".join([*lines, "END_CFG", "", ""])


def _is_feature(key: str, values: np.ndarray) -> bool:
    """Whether information of structures is a feature, and none that is read as something else."""
    return values.ndim == 1 and key != ELEMENTS


def _is_column(name: str, values: np.ndarray) -> bool:
    """Whether an array of atoms has a column that no part of the structure has."""
    return values.ndim == 1 and name in {*_KNOWN - _STRUCTURE, GRADE}


def _number(value: float) -> str:
    return f"{value: .16e}"
