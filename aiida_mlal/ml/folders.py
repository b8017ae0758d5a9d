"""The folder at hand, and folders that files are to be written to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(path: str | Path) -> None:
    """Refuse a path where no file can be written: better before the work than after it.

    Raises
    ------
    ValueError
        If the folder is missing or not writable, or the file is there and is not.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent} to write to")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, a file is to be written")
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK):
        raise ValueError(f"{path}: {target} is not writable")


def is_beside(name: str) -> bool:
    """Whether a name is that of a file in the folder at hand, without a path to another one."""
    return name not in ("", "..") and name == Path(name).name


def is_inside(name: str) -> bool:
    """Whether a path is that of a file in the folder at hand, or in one of its folders."""
    path = Path(name)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


@contextmanager
def working_in(folder: str | Path = ".") -> Iterator[None]:
    """Work in a folder, and return to the one before, wherever others went meanwhile."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
