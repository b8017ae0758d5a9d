"""Potentials from files of any format that is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.options import suggest


def load(path: str | Path, elements: Sequence[str] | None = None) -> Potential:
    """Read a potential; see ``aiida_mlal.ml.load_potential``."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix not in READERS:
        raise ValueError(
            f"{path}: unknown format of a potential {path.suffix!r}{suggest(path.suffix, READERS)}"
        )
    return READERS[path.suffix](path, elements)


def _load_checkpoint(path: Path, elements: Sequence[str] | None) -> Potential:
    potential = Checkpoint.load(path).potential
    missing = sorted(set(elements or ()) - set(potential.elements))
    if missing:
        raise ValueError(f"{path}: the potential knows {list(potential.elements)}, not {missing}")
    return potential


READERS: dict[str, Callable[[Path, Sequence[str] | None], Potential]] = {
    ".safetensors": _load_checkpoint,
}
"""What reads a file, by the end of its name."""
