"""Files that are there whole or not at all, whenever a process or a machine dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to be written and read beside its place, and put it there at the end.

    No reader ever sees half of it; an error leaves nothing.
    """
    partial = Path(f"{path}.partial")
    try:
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file beside its place, then put it there: no reader ever sees half of it."""
    with whole(path) as file:
        file.write(content)
