"""Potentials from files of any format that is known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from aiida_mlal.ml.folders import check_writable
from aiida_mlal.ml.formats.mlip import active_set, mtp
from aiida_mlal.ml.formats.table import ALMTP, CHECKPOINT, CONFIGURATIONS, by_name, known
from aiida_mlal.ml.formats.table import MTP as MTP_FILE
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.mtp import MTP
from aiida_mlal.ml.options import within


def load(path: str | Path, elements: Sequence[str] | None = None) -> Potential:
    """Read a potential; see ``aiida_mlal.ml.load_potential``."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with within(str(path)):
        form = known(path)
    if form.name not in READERS:
        raise ValueError(
            f"{path} is of no format of potentials (it is {form.name!r} by its content and its "
            f"name), choose from {list(READERS)}"
        )
    return READERS[form.name](path, elements)


def save(potential: Potential, path: str | Path) -> None:
    """Write a potential in the format that the end of the name stands for.

    The active set that it carries is written too, if the format knows one (``.mtp`` does not).

    Raises
    ------
    ValueError
        If there is no such format, the potential is not of the kind that it holds, or its folder
        is missing.
    """
    path = Path(path)
    check_writable(path)
    name = by_name(path).name
    if name == CONFIGURATIONS:  # the end of the name is the same
        Checkpoint(potential).save(path)
    elif name in (MTP_FILE, ALMTP):
        if f".{name}" not in potential.formats:
            raise ValueError(
                f"{path}: the format holds moment tensor potentials, this is a "
                f"{potential.config()['architecture']!r}"
            )
        held = cast(MTP, potential)
        mtp.write(held, path, active_set.to_file(held) if name == ALMTP else None)
    else:
        raise ValueError(
            f"{path}: the end of the name is of no format of potentials, "
            "choose from ['.safetensors', '.mtp', '.almtp']"
        )


def types(potential: Potential) -> tuple[str, ...]:
    """Return the elements in the order in which files of MLIP number them."""
    return potential.types


def _load_checkpoint(path: Path, elements: Sequence[str] | None) -> Potential:
    potential = Checkpoint.load(path).potential
    missing = sorted(set(elements or ()) - set(potential.elements))
    if missing:
        raise ValueError(f"{path}: the potential knows {list(potential.elements)}, not {missing}")
    return potential


def _load_mtp(path: Path, elements: Sequence[str] | None) -> Potential:
    file = mtp.load(path, elements)
    if not file.trained:
        raise ValueError(f"{path}: the file has no coefficients, so the potential must be trained")
    if file.selection is not None:
        try:
            active_set.from_file(file.potential, file.selection).store(file.potential)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return file.potential


READERS: dict[str, Callable[[Path, Sequence[str] | None], Potential]] = {
    CHECKPOINT: _load_checkpoint,
    MTP_FILE: _load_mtp,
    ALMTP: _load_mtp,
}
"""What reads a potential, by the name of its format in the table."""
