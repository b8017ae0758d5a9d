"""Structures in the configurations of AtomEye, which end in ``.cfg`` too."""

import re
from collections.abc import Iterator
from pathlib import Path

import ase.io
from ase import Atoms

from aiida_mlal.ml.formats.content import as_text, read_bytes
from aiida_mlal.ml.formats.table import ATOMEYE

_OF_ASE = "cfg"
"""What ASE calls the format."""


def read(path: str | Path) -> Iterator[Atoms]:
    """Read the structure: lattice vectors are in units of ``A`` Å, which ASE (3.29) ignores.

    Velocities are left out.
    """
    unit = re.search(r"^\s*A\s*=\s*(\S+)", as_text(read_bytes(path)), re.MULTILINE)
    for atoms in ase.io.iread(str(path), ":", format=_OF_ASE):
        atoms.set_cell(atoms.cell * (float(unit[1]) if unit else 1.0), scale_atoms=True)
        atoms.arrays.pop("momenta", None)
        yield atoms


def unread(path: str | Path, name: str) -> list[str]:
    """Say that velocities are not read, if there are any in a file of the format ``name``."""
    if name != ATOMEYE or b".NO_VELOCITY." in read_bytes(path):
        return []
    return ["its velocities are not read: in which units they are depends on what wrote them"]
