"""Structures from any file that ASE knows, and from those of this package."""

import re
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import cfg, extxyz
from aiida_mlal.ml.formats.place import check_place

SUFFIX = ".safetensors"
CFG = (".cfg", ".cfg.xz")
"""Ends of names of files of MLIP that are written."""


def read(
    path: str | Path, elements: Sequence[str] | None = None, default: Sequence[str] | None = None
) -> Configurations:
    """Read all structures of a file, with their labels where there are any.

    Parameters
    ----------
    path
        A ``.safetensors`` file of this package, a ``.cfg`` file of the MLIP codes (perhaps
        compressed, ``.cfg.xz``, or that of a process, ``.cfg.0``), or whatever ASE can read.
    elements
        Chemical symbols of the types 0, 1, ... in ``.cfg`` files that only number them; one that
        names them may have no others.
    default
        The same, for a file that does not say; such as the types of a potential.

    Raises
    ------
    ValueError
        If there is no such file, or nothing that can read it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == SUFFIX:
        return Configurations.load(path)
    if _is_cfg(path):
        return cfg.read(path, elements, default)
    if not path.stat().st_size:
        raise ValueError(f"the file {path} is empty")
    try:
        frames = ase.io.read(path, index=":")
    except UnknownFileTypeError as error:
        raise ValueError(f"{path}: ASE does not know this format: {error}") from error
    except Exception as error:  # readers of ASE fail in all ways there are
        raise ValueError(f"{path}: ASE could not read it: {error!r}") from error
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    return Configurations.from_ase(frames).with_arrays(**_arrays(frames))


def write(
    configurations: Configurations, path: str | Path, elements: Sequence[str] | None = None
) -> None:
    """Write structures in the format that the end of the name stands for; see ``read``.

    Raises
    ------
    ValueError
        If ASE does not know the format, or cannot write these structures in it, or the system
        writes no file.
    """
    path = Path(path)
    check_target(path)
    try:
        if path.suffix == SUFFIX:
            configurations.save(path)
        elif path.name.endswith(CFG):
            cfg.write(configurations, path, elements)
        elif _format(path) == "extxyz":
            extxyz.write(configurations, path)
        else:
            _write_with_ase(configurations, path)
    except OSError as error:
        raise ValueError(f"{path} could not be written: {error.strerror or error}") from error


def _write_with_ase(configurations: Configurations, path: Path) -> None:
    try:
        ase.io.write(path, configurations.to_ase())
    except OSError:
        raise
    except Exception as error:  # writers of ASE fail in all ways there are
        raise ValueError(f"{path}: ASE could not write it: {error!r}") from error


def check_target(path: str | Path) -> None:
    """Refuse a file that ``write`` could not write, whatever the structures.

    Raises
    ------
    ValueError
        If its folder is missing or not writable, or ASE does not know the format.
    """
    check_place(path)
    path = Path(path)
    if path.suffix != SUFFIX and not path.name.endswith(CFG):
        _format(path)


def types(path: str | Path, configurations: Configurations) -> list[str] | None:
    """Return the elements of the types in a file, from which some configurations were read.

    They are what the file says or, as for ``only_numbers``, H, He, ...; None for a file that has
    no types, or whose structures say different things.
    """
    if only_numbers(path):
        return chemical_symbols[1 : configurations.numbers.max(initial=0) + 1]
    return cfg.named_types(path) if _is_cfg(Path(path)) else None


def only_numbers(path: str | Path) -> bool:
    """Return whether a file numbers the types of its atoms, and does not name them."""
    return _is_cfg(Path(path)) and cfg.named_types(path) == []


def _is_cfg(path: Path) -> bool:
    return bool(re.search(r"\.cfg(\.\d+)?(\.xz)?$", path.name))


def _format(path: Path) -> str:
    """Return ASE's name of the format that the end of a name stands for."""
    try:
        form = get_ioformat(filetype(str(path), read=False))
    except UnknownFileTypeError as error:
        raise ValueError(f"{path}: ASE does not know this format: {error}") from error
    if not form.can_write:
        raise ValueError(f"{path}: ASE reads the format {form.name!r} only")
    return str(form.name)


def _arrays(frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Return the numbers of atoms that all frames have, and that are not ASE's own."""
    if not frames:
        return {}
    shared = set.intersection(*(set(atoms.arrays) for atoms in frames)) - _OF_ASE
    found = {}
    for key in sorted(shared):
        parts = [atoms.arrays[key] for atoms in frames]
        if all(p.dtype.kind in "biuf" and p.shape[1:] == parts[0].shape[1:] for p in parts):
            found[key] = np.concatenate(parts)
    return found


_OF_ASE = {
    "numbers", "positions", "momenta", "masses", "tags", "initial_magmoms", "initial_charges",
    "move_mask",
}  # fmt: skip
