"""Structures from any file that ASE knows, and from those of this package."""

from pathlib import Path

import ase.io
from ase import Atoms
from ase.io.formats import UnknownFileTypeError

from aiida_mlal.ml.configurations import Configurations

SUFFIX = ".safetensors"


def read(path: str | Path) -> Configurations:
    """Read all structures of a file, with their labels where there are any.

    Raises
    ------
    ValueError
        If there is no such file, or neither this package nor ASE can read it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == SUFFIX:
        return Configurations.load(path)
    try:
        frames = ase.io.read(path, index=":")
    except UnknownFileTypeError as error:
        raise ValueError(f"{path}: ASE does not know this format: {error}") from error
    except Exception as error:  # readers of ASE fail in all ways there are
        raise ValueError(f"{path}: ASE could not read it: {error!r}") from error
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    return Configurations.from_ase(frames)


def write(configurations: Configurations, path: str | Path) -> None:
    """Write structures in the format that the end of the name stands for.

    Raises
    ------
    ValueError
        If ASE does not know the format.
    """
    path = Path(path)
    if path.suffix == SUFFIX:
        configurations.save(path)
        return
    try:
        ase.io.write(path, configurations.to_ase())
    except UnknownFileTypeError as error:
        raise ValueError(f"{path}: ASE does not know this format: {error}") from error
