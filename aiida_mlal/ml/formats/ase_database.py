"""Databases of ASE, whose rows have values beside structures and results."""

from collections.abc import Iterator
from pathlib import Path

import ase.db
from ase import Atoms

NAMES = ("db", "json")
"""What ASE calls these formats."""


def read(path: str | Path, name: str) -> Iterator[Atoms]:
    """Read all rows; what a row has beside structure and results is in ``info``."""
    with ase.db.connect(str(path), type=name, serial=True) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            if data := row.get("data"):
                atoms.info["data"] = data
            yield atoms
