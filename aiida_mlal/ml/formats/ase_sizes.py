"""Counts at the head of files that a reader of ASE would make room for, before it reads on."""

import re
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path

from aiida_mlal.ml.formats.content import read_bytes


def check_sizes(path: Path, name: str) -> None:
    """Refuse a file that announces more than it can hold; ``name`` is that of ASE's format.

    Raises
    ------
    ValueError
        Which says what was announced.
    """
    if name in _CHECKS:
        _CHECKS[name](path)


def _check_poscar(path: Path) -> None:
    """Compare the numbers of atoms, in the sixth line or the seventh, with the lines."""
    text = read_bytes(path).decode("utf-8", "replace")
    lines = StringIO(text, newline=None).readlines()  # splitlines knows other ends
    for line in lines[5:7]:
        n = sum(_leading_integers(line))
        if n > len(lines):
            raise ValueError(f"it is to have {n} atoms, but has {len(lines)} lines")


def _check_ulm(path: Path) -> None:
    """Compare the number of items and their place, behind a tag, with the size (ase.io.ulm)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(48)
    words = [int.from_bytes(head[i : i + 8], "little", signed=True) for i in (24, 32, 40)]
    _, n, start = words
    if len(head) < 48 or n < 0 or not 0 <= start <= size or start + 8 * n > size:
        raise ValueError(f"it is cut off or damaged: it is to have {n} structures")


def _check_dump(path: Path) -> None:
    """Compare the number of atoms of each frame of a dump of LAMMPS with the lines of its atoms."""
    content = read_bytes(path)
    frame, wanted, n_lines = -1, None, content.count(b"\n") + 1
    for item in content.split(b"ITEM:")[1:]:
        title, *lines = item.strip().splitlines() or [b""]
        if title.startswith(b"NUMBER OF ATOMS"):
            line = b"".join(lines[:1]).decode("utf-8", "replace")
            frame, wanted = frame + 1, next(iter(_leading_integers(line)), None)
            if wanted is not None and wanted > n_lines:
                raise ValueError(
                    f"frame {frame} is to have {wanted} atoms, but the file has {n_lines} lines"
                )
        elif title.startswith(b"ATOMS") and wanted is not None and wanted != len(lines):
            raise ValueError(
                f"frame {frame} is to have {wanted} atoms, but has {len(lines)} lines of atoms"
            )


def _check_head(pattern: str, path: Path) -> None:
    """Compare each number that a pattern finds in the lines of a text with how many there are."""
    lines = StringIO(read_bytes(path).decode("utf-8", "replace"), newline=None).readlines()
    for line in lines:
        found = re.match(pattern, line)
        for n in _leading_integers(found[1]) if found else []:
            if n > len(lines):
                raise ValueError(f"it is to have {n} atoms, but has {len(lines)} lines")


def _leading_integers(line: str) -> list[int]:
    """Return the words of a line up to the first that Python does not take for an integer."""
    found = []
    for word in line.split():
        try:
            found.append(int(word[:18]))
        except ValueError:
            break
    return found


_CHECKS: dict[str, Callable[[Path], None]] = {
    "vasp": _check_poscar,
    "traj": _check_ulm,
    "lammps-dump-text": _check_dump,
    "lammps-data": partial(_check_head, r"\s*(\S+)\s+atoms"),
    "atomeye": partial(_check_head, r"\s*(?:Number of particles)\s*=\s*(\S+)"),
}
