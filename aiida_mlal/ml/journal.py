"""Records that are on disk before anything else happens, each with a checksum."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

ROOM = 2**14
"""Bytes that are kept free for a record beside what is asked for."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk or quota that is full; with others a file system has no such reservation."""


class Journal:
    """An append-only file of JSON records, one on a line behind the checksum of its text.

    A record that was appended survives the end of the process in any way, and that of the machine
    as far as ``fsync`` holds. What was written by halves, or damaged later, is left out when the
    file is read. Only one process writes to a file at a time.

    Parameters
    ----------
    path
        Of the file, which is made with the first record. One that is there is gone on with.

    Attributes
    ----------
    path
        The absolute path: wherever the process goes, the file stays the same.
    records
        What was in the file when it was opened.

    Raises
    ------
    ValueError
        If another process is writing to the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.records: list[dict[str, Any]] = []
        self._file: int | None = None
        self._end = 0
        if self.path.exists():
            self._open()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record and wait until it is on disk; ``OSError`` if that cannot be."""
        text = json.dumps(record, sort_keys=True)
        self._write(f"{_checksum(text)} {text}\n".encode())

    def reserve(self, size: int) -> None:
        """Make sure that there is room for a record of so many bytes; ``OSError`` if there is not.

        On a full disk one learns so before something is computed, not after.
        """
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(self._open(), self._end, size + ROOM)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise

    def close(self) -> None:
        """Truncate the space that was reserved, and release the lock on the file."""
        if self._file is not None:
            os.ftruncate(self._file, self._end)
            os.close(self._file)
            self._file = None

    def remove(self) -> None:
        """Close the file and delete it, when what it records is safe elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        if self._file is not None:
            return self._file
        is_new = not self.path.exists()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._lock(self._file)
        if is_new:
            _sync_folder(self.path.parent)
            return self._file
        content = self.path.read_bytes().rstrip(b"\0")
        self.records, self._end = list(read(content)), len(content)
        if content and not content.endswith(b"\n"):  # the process ended while it wrote
            self._write(b"\n")
        return self._file

    def _lock(self, file: int) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            self._file = None
            raise ValueError(f"{self.path}: another process is writing to it") from error
        except OSError:  # a file system without locks
            pass

    def _write(self, line: bytes) -> None:
        file, done = self._open(), 0
        while done < len(line):
            done += os.pwrite(file, line[done:], self._end + done)
        os.fsync(file)
        self._end += len(line)


def read(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the records of a file that are whole."""
    for line in content.split(b"\n"):
        mark, _, text = line.decode(errors="replace").partition(" ")
        if text and mark == _checksum(text):
            yield json.loads(text)


def _checksum(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Wait until the name of a new file is on disk too, where folders can be waited for."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
