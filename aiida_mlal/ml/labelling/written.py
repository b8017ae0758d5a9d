"""What a code writes while it labels: some say there alone that they did not converge."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ase.calculators.calculator import BaseCalculator

NOT_CONVERGED = re.compile(
    rb"""
    SCF\ run\ NOT\ converged                            # CP2K
    | convergence\ NOT\ achieved                        # pw.x
    | Calculation\ failed\ to\ converge                 # NWChem
    | was\ not\ enough\ SCF\ cycles\ to\ converge       # ABINIT
    | SCF_NOT_CONV                                      # SIESTA
    | SCC\ is\ NOT\ converged                           # DFTB+
    | SCF\ NOT\ CONVERGED\ AFTER                        # ORCA
    """,
    re.VERBOSE,
)
"""What codes say of a self-consistent cycle that used all its iterations."""

LARGEST = 100_000_000
"""Bytes at the end of a file that are looked through."""

OVERLAP = 256
"""Bytes before its old end by which a file that grew is told from one that was written anew."""


@dataclass(frozen=True)
class _Before:
    """State of a file when a label was begun."""

    size: int
    modified: int
    end: bytes


class Written:
    """Texts that are written to some folders from now on.

    Parameters
    ----------
    folders
        Files of these are watched, not those of folders inside of them.
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        self._folders = {Path(folder).resolve() for folder in folders}
        self._before = {path: _state(path) for path in self._files()}

    @classmethod
    def by(cls, calculator: BaseCalculator) -> "Written":
        """Watch the folder at hand, and that in which a calculator runs its code."""
        return cls({".", str(getattr(calculator, "directory", None) or ".")})

    def unconverged(self) -> str | None:
        """Return the file and the line in which a code says that it did not converge, if so."""
        for path in self._files():
            try:
                match = NOT_CONVERGED.search(self._new(path))
            except FileNotFoundError:  # a code may clean up meanwhile
                continue
            if match is not None:
                return f"{path.name}: {match[0].decode()!r}"
        return None

    def _files(self) -> list[Path]:
        files = []
        for folder in self._folders:
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    files += [Path(entry) for entry in entries if entry.is_file()]
        return sorted(files)

    def _new(self, path: Path) -> bytes:
        """Return the bytes that were appended to a file since then."""
        before, about = self._before.get(path), path.stat()
        if before is None:
            start = 0
        elif (before.size, before.modified) == (about.st_size, about.st_mtime_ns):
            return b""
        else:
            start = before.size
        with path.open("rb") as file:
            file.seek(max(start - OVERLAP, 0))
            if before is not None and file.read(len(before.end)) != before.end:
                start = 0  # written anew
            file.seek(max(start, about.st_size - LARGEST))
            return file.read()


def _state(path: Path) -> _Before:
    about = path.stat()
    with path.open("rb") as file:
        file.seek(max(about.st_size - OVERLAP, 0))
        return _Before(about.st_size, about.st_mtime_ns, file.read(OVERLAP))
