"""Potentials from files of any format that is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

from aiida_mlal.ml.formats import mtp
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.mtp import MTP


def load(path: str | Path, elements: Sequence[str] | None = None) -> Potential:
    """Read a potential; see ``aiida_mlal.ml.load_potential``."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    for end, reader in READERS.items():
        if path.name.endswith(end):
            return reader(path, elements)
    raise ValueError(
        f"{path}: the end of the name is of no format of potentials, choose from {list(READERS)}"
    )


def save(potential: Potential, path: str | Path) -> None:
    """Write a potential in the format that the end of the name stands for.

    Raises
    ------
    ValueError
        If there is no such format, or the potential is not of the kind that it holds.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        Checkpoint(potential).save(path)
    elif path.suffix in (".mtp", ".almtp"):
        if not isinstance(potential, MTP):
            raise ValueError(
                f"{path}: the format holds moment tensor potentials, this is a "
                f"{potential.describe()['architecture']!r}"
            )
        mtp.write(potential, path)
    else:
        raise ValueError(
            f"{path}: the end of the name is of no format of potentials, "
            "choose from ['.safetensors', '.mtp', '.almtp']"
        )


def _load_checkpoint(path: Path, elements: Sequence[str] | None) -> Potential:
    potential = Checkpoint.load(path).potential
    missing = sorted(set(elements or ()) - set(potential.elements))
    if missing:
        raise ValueError(f"{path}: the potential knows {list(potential.elements)}, not {missing}")
    return potential


READERS: dict[str, Callable[[Path, Sequence[str] | None], Potential]] = {
    ".safetensors": _load_checkpoint,
    ".mtp": mtp.read,
    ".mtp.xz": mtp.read,
    ".almtp": mtp.read,
    ".almtp.xz": mtp.read,
}
"""What reads a file, by the end of its name."""
