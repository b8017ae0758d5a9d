"""Moment tensor potentials in the formats of the MLIP codes: ``.mtp``, and ``.almtp`` of MLIP-3."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiida_mlal.ml.formats.content import as_text, compress, read_bytes
from aiida_mlal.ml.formats.mlip import mtp_text
from aiida_mlal.ml.formats.mlip import selection as active
from aiida_mlal.ml.formats.mlip.selection import SelectionState
from aiida_mlal.ml.models.mtp import MTP
from aiida_mlal.ml.wholefile import write_whole


@dataclass(frozen=True, eq=False)
class MTPFile:
    """What such a file holds.

    Attributes
    ----------
    potential
        Its coefficients mean something only if the file is of a ``trained`` potential.
    trained
        Whether the file has coefficients.
    selection
        The active set, if there is one.
    """

    potential: MTP
    trained: bool = True
    selection: SelectionState | None = None


def read(path: str | Path, elements: Sequence[str] | None = None) -> MTP:
    """Read a trained potential; see ``load``."""
    file = load(path, elements)
    if not file.trained:
        raise ValueError(f"{path}: the file has no coefficients, so the potential must be trained")
    return file.potential


def load(path: str | Path, elements: Sequence[str] | None = None) -> MTPFile:
    """Read a file, which may be compressed.

    The file says which element each type is where we wrote it, or its types are atomic numbers; it
    must then have all the ``elements``. Else these are those of its types, by default H, He, ...
    """
    try:
        return parse(read_bytes(path), elements)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def model_options(path: str | Path) -> dict[str, Any]:
    """Return the options of the model that a file is of, whether or not it has coefficients.

    They are those of ``MTPOptions``; the lists of the basis are in the order of the file.
    """
    potential = load(path).potential
    radial, basis = potential.radial, potential.basis
    lists = {"basic": basis.basic, "times": basis.times, "mapping": basis.mapping}
    return {
        "architecture": "mtp",
        "radial_basis": radial.kind,
        "radial_basis_size": radial.size,
        "min_dist": radial.min_dist,
        "cutoff": radial.cutoff,
        "scaling": radial.scaling,
        "basis": {name: rows.tolist() for name, rows in lists.items()},
    }


def parse(content: bytes, elements: Sequence[str] | None = None) -> MTPFile:
    """Return the potential, and the active set if there is one, of the content of a file.

    The lists of the basis are taken from the file as they are.

    Raises
    ------
    ValueError
        For anything that is not a whole file of this kind; for a magnetic potential, which this
        package does not know; and for elements that are not as many as the species.
    """
    head, *rest = content.split(b"#", maxsplit=1)
    potential, trained, order = mtp_text.parse(as_text(head), elements)
    selection = active.parse(rest[0], order, potential.types) if rest else None
    return MTPFile(potential, trained, selection)


def write(potential: MTP, path: str | Path, selection: SelectionState | None = None) -> None:
    """Write a potential, with its active set if one is given (only MLIP-3 reads this)."""
    write_whole(path, compress(to_bytes(potential, selection), path))


def to_bytes(potential: MTP, selection: SelectionState | None = None) -> bytes:
    """Return the content of a file. The elements of the types stand in ``potential_tag``."""
    text = mtp_text.to_text(potential).encode()
    if selection is None:
        return text + b"\n"
    order = mtp_text.parameter_order(potential, potential.types)
    return text + active.to_bytes(selection, order, potential.types)
