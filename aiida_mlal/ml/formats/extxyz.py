"""Extended XYZ: written with all digits, read structure by structure, each by ASE."""

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_dict_to_str

from aiida_mlal.ml.arrays import says_nothing
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.ase_errors import without_internals
from aiida_mlal.ml.formats.content import compress
from aiida_mlal.ml.formats.momenta import ase_momenta
from aiida_mlal.ml.formats.numbers import is_real, whole
from aiida_mlal.ml.frames import VELOCITIES
from aiida_mlal.ml.options import within
from aiida_mlal.ml.wholefile import write_whole

ISOTOPES = {"D": 2.014101778, "T": 3.016049278}
"""Masses in amu of the isotopes of hydrogen that have symbols of their own."""

_HEAD = {"Lattice", "Properties", "pbc", "energy", "free_energy", "stress"}
"""Keys that are more than information when they are read."""

_COLUMNS = {
    "species", "pos", "move_mask", "forces", "momenta", "numbers", "Z", "positions", "symbols",
}  # fmt: skip
"""Columns that are read as the structure, how it moves, or its labels."""


def write(configurations: Configurations, path: str | Path) -> None:
    """Write structures to a file, compressed as the end of its name says."""
    text = "".join(_text(one) for one in configurations)
    write_whole(path, compress(text.encode(), path))


def left_out(configurations: Configurations) -> list[str]:
    """Name what structures have that would be read as something else."""
    return sorted(_HEAD & {*configurations.info}) + sorted(_COLUMNS & {*configurations.arrays})


def parse(text: str) -> tuple[list[Atoms], list[str]]:
    """Return the structures of a text, and what is to be said about them.

    ``D`` and ``T`` become hydrogen with their mass.

    Raises
    ------
    ValueError
        Which names the structure, counted from 0, and its line.
    """
    lines = text.split("\n")
    frames: list[Atoms] = []
    nameless = 0
    i = 0
    while i < len(lines):
        if not lines[i].strip():
            i += 1
            continue
        with within(f"structure {len(frames)} (line {i + 1})"):
            n = whole(lines[i].strip(), "number of atoms")
            end = i + 2 + n
            if end > len(lines):
                raise ValueError(f"expected {n} atoms, the file has {len(lines) - i - 2} lines")
            while end < len(lines) and lines[end].startswith("VEC"):
                end += 1
            frames.append(_frame(lines[i:end], n))
        nameless += "Properties" not in lines[i + 1] and n and len(lines[i + 2].split()) > 4
        i = end
    said = []
    if nameless:
        said.append(
            f"columns after x, y and z were not read: {nameless} structures have no Properties"
        )
    return frames, said


def _frame(lines: list[str], n: int) -> Atoms:
    """Return the structure of two lines of a head and ``n`` lines of atoms."""
    declared = re.search(r"Properties=\"?([^\s\"]+)", lines[1])
    columns = _columns(declared[1]) if declared else ["S", "R", "R", "R"]
    rows = [line.split() for line in lines[2 : 2 + n]]
    symbol = columns.index("S") if "S" in columns else None
    masses = {}
    for atom, row in enumerate(rows):
        if len(row) < len(columns) or (declared and len(row) > len(columns)):
            raise ValueError(f"atom {atom}: expected {len(columns)} columns, got {len(row)}")
        for kind, word in zip(columns, row):
            if (kind == "R" and not _is_real(word)) or (kind == "I" and not _WHOLE(word)):
                raise ValueError(f"atom {atom}: expected a number, got {word[:40]!r}")
        if symbol is not None and row[symbol] in ISOTOPES:
            masses[atom] = ISOTOPES[row[symbol]]
            row[symbol] = "H"
            lines[2 + atom] = " ".join(row)
    try:
        atoms: Any = ase.io.read(StringIO("\n".join(lines) + "\n"), 0, format="extxyz")
    except Exception as error:  # readers of ASE fail in all ways there are
        raise ValueError(without_internals(error)) from error
    if masses:
        all_masses = atoms.get_masses()
        all_masses[list(masses)] = list(masses.values())
        atoms.set_masses(all_masses)
    return atoms


def _columns(properties: str) -> list[str]:
    """Return the kind of each column, R, I, S or L."""
    fields = properties.split(":")
    if len(fields) % 3 or len(fields) > 300:
        raise ValueError(f"Properties: expected name:kind:columns:..., got {properties[:60]!r}")
    columns = []
    for name, kind, number in zip(fields[::3], fields[1::3], fields[2::3]):
        n = whole(number, f"Properties: columns of {name!r}", 1)
        if kind not in _KINDS_READ or n > 1000:
            raise ValueError(
                f"Properties: expected kind R, I, S or L and up to 1000 columns for {name!r}, "
                f"got {kind}:{number}"
            )
        columns += n * [kind]
    return columns


_KINDS_READ = ("R", "I", "S", "L")
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII).fullmatch


def _is_real(word: str) -> bool:
    return is_real(word) or word.lower().lstrip("+-") in ("nan", "inf", "infinity")


def _text(one: Configurations) -> str:
    columns: dict[str, np.ndarray] = {"pos": one.positions}
    if one.fixed.any():
        whole = (one.fixed == one.fixed[:, :1]).all()
        columns["move_mask"] = ~(one.fixed[:, 0] if whole else one.fixed)
    if np.isfinite(one.forces).all():
        columns["forces"] = one.forces
    arrays = dict(one.arrays)
    if (momenta := ase_momenta(one)) is not None:  # which ASE reads, as it does no velocities
        columns["momenta"] = momenta
        del arrays[VELOCITIES.name]
    columns |= {name: values for name, values in arrays.items() if name not in _COLUMNS}
    properties = ["species:S:1"]
    rows = [[f"{chemical_symbols[z]:2s}"] for z in one.numbers.tolist()]
    for name, values in columns.items():
        table = values.reshape(len(rows), int(np.prod(values.shape[1:])))
        kind, words = _KINDS[table.dtype.kind]
        properties.append(f"{name}:{kind}:{table.shape[1]}")
        for row, numbers in zip(rows, table.tolist()):
            row += map(words, numbers)
    head: dict[str, Any] = {"Lattice": one.cells[0].T} if one.cells[0].any() else {}
    head["Properties"] = ":".join(properties)
    info = {key: value[0] for key, value in one.info.items() if key not in _HEAD}
    head |= {key: _plain(value) for key, value in info.items() if not says_nothing(value)}
    if np.isfinite(one.energies[0]):
        head["energy"] = float(one.energies[0])
    if np.isfinite(one.stresses[0]).all():
        head["stress"] = one.stresses[0]
    head["pbc"] = one.pbc[0]
    lines = [str(len(rows)), key_val_dict_to_str(head), *(" ".join(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    """Return a text as it will be read again: a backslash doubled, several lines as JSON."""
    if not isinstance(value, str):
        return value
    text = f"_JSON {json.dumps(value)}" if len(value.splitlines()) > 1 else value
    return text.replace("\\", "\\\\")


def _number(value: float) -> str:
    return f"{value!r:>22s}"


def _integer(value: int) -> str:
    return f"{value:8d}"


def _truth(value: bool) -> str:
    return "T" if value else "F"


_KINDS = {"f": ("R", _number), "i": ("I", _integer), "u": ("I", _integer), "b": ("L", _truth)}
