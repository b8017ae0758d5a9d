"""Structures as extended XYZ with all digits; ASE, which reads it, would write eight decimals."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_dict_to_str
from ase.io.formats import open_with_compression

from aiida_mlal.ml.configurations import Configurations


def write(configurations: Configurations, path: str | Path) -> None:
    """Write structures to a file, compressed as the end of its name says."""
    with open_with_compression(str(path), "w") as file:
        for one in configurations:
            file.write(_text(one))


def _text(one: Configurations) -> str:
    columns: dict[str, np.ndarray] = {"pos": one.positions}
    if one.fixed.any():
        whole = (one.fixed == one.fixed[:, :1]).all()
        columns["move_mask"] = ~(one.fixed[:, 0] if whole else one.fixed)
    if np.isfinite(one.forces).all():
        columns["forces"] = one.forces
    columns |= one.arrays
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
    head |= {key: value[0] for key, value in one.info.items() if not _is_blank(value[0])}
    if np.isfinite(one.energies[0]):
        head["energy"] = float(one.energies[0])
    if np.isfinite(one.stresses[0]).all():
        head["stress"] = one.stresses[0]
    head["pbc"] = one.pbc[0]
    lines = [str(len(rows)), key_val_dict_to_str(head), *(" ".join(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _is_blank(value: Any) -> bool:
    """Return whether a value is an empty text: such a key would swallow the next one."""
    return isinstance(value, str) and not value


def _number(value: float) -> str:
    return f"{value!r:>22s}"


def _integer(value: int) -> str:
    return f"{value:8d}"


def _truth(value: bool) -> str:
    return "T" if value else "F"


_KINDS = {"f": ("R", _number), "i": ("I", _integer), "u": ("I", _integer), "b": ("L", _truth)}
