"""Potentials from files of any format that is known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from aiida_mlal.ml.formats import mtp
from aiida_mlal.ml.formats.place import check_place
from aiida_mlal.ml.formats.table import ALMTP, CHECKPOINT, CONFIGURATIONS, by_name, known
from aiida_mlal.ml.formats.table import MTP as MTP_FILE
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.checkpoint import Checkpoint
from aiida_mlal.ml.models.mtp import MTP
from aiida_mlal.ml.options import within
from aiida_mlal.ml.uncertainty.active_set import ActiveSet, fingerprint
from aiida_mlal.ml.uncertainty.maxvol import Volume
from aiida_mlal.ml.uncertainty.rows import SelectionWeights


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
    check_place(path)
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
        mtp.write(held, path, _state(held) if name == ALMTP else None)
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
            _active_set(file.potential, file.selection).store(file.potential)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return file.potential


def _active_set(potential: MTP, state: mtp.SelectionState) -> ActiveSet:
    """Return the active set of a file, which must be that of its potential.

    The format has nothing that ties the one to the other but the structures that own rows: from
    these the rows are computed again. An active set without structures is taken as it is.
    """
    n, counts = len(state.matrix), state.configurations.counts
    links = np.full((n, 2), -1) if state.links is None else state.links.copy()
    for row in np.flatnonzero(links[:, 0] >= 0):
        owner, number = links[row]
        if not owner < len(counts):
            raise ValueError(f"a row of the active set is of structure {owner} of {len(counts)}")
        numbers = _numbers(state.weights, counts[owner])
        if number not in numbers:
            raise ValueError(
                f"a row of the active set is equation {number} of structure {owner}, which with "
                "these weights has none of that number"
            )
        links[row, 1] = numbers.index(number)
    volume = Volume(state.matrix, state.inverse, links[:, 0])
    found = ActiveSet(
        volume, links[:, 1], state.weights, state.configurations, fingerprint(potential)
    )
    found.verify(potential)
    return found


def _state(potential: MTP) -> mtp.SelectionState | None:
    if not ActiveSet.is_in(potential):
        return None
    active = ActiveSet.stored(potential)
    links = np.stack([active.volume.owners, active.equations], axis=1)
    for row in np.flatnonzero(links[:, 0] >= 0):
        owner, equation = links[row]
        links[row, 1] = _numbers(active.weights, active.configurations.counts[owner])[equation]
    matrix, inverse = active.volume.matrix, active.volume.inverse
    return mtp.SelectionState(matrix, inverse, active.weights, links, active.configurations)


def _numbers(weights: SelectionWeights, n_atoms: int) -> list[int]:
    """Return the number that each row of a structure, as ``rows_of`` makes them, has in MLIP-3.

    There the energy is the first equation, then come forces, the virial and at last the atoms.
    """
    virial = 1 + 3 * n_atoms
    parts = (
        (weights.energy_weight, range(1)),
        (weights.site_en_weight, range(virial + 9, virial + 9 + n_atoms)),
        (weights.force_weight, range(1, virial)),
        (weights.stress_weight, range(virial, virial + 9)),
    )
    return [number for weight, numbers in parts if weight for number in numbers]


READERS: dict[str, Callable[[Path, Sequence[str] | None], Potential]] = {
    CHECKPOINT: _load_checkpoint,
    MTP_FILE: _load_mtp,
    ALMTP: _load_mtp,
}
"""What reads a potential, by the name of its format in the table."""
