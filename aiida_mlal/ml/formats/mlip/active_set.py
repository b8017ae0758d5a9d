"""The active set of a file of MLIP-3, and that which a potential carries."""

import numpy as np

from aiida_mlal.ml.formats.mlip.selection import SelectionState
from aiida_mlal.ml.models.mtp import MTP
from aiida_mlal.ml.uncertainty.active_set import ActiveSet, fingerprint
from aiida_mlal.ml.uncertainty.maxvol import Volume
from aiida_mlal.ml.uncertainty.rows import SelectionWeights


def from_file(potential: MTP, state: SelectionState) -> ActiveSet:
    """Read the active set of a file, which must be that of its potential.

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
    active = ActiveSet(
        volume, links[:, 1], state.weights, state.configurations, fingerprint(potential)
    )
    active.verify(potential)
    return active


def to_file(potential: MTP) -> SelectionState | None:
    """Return the active set that a potential carries as a file has it; None if it carries none."""
    if not ActiveSet.is_in(potential):
        return None
    active = ActiveSet.stored(potential)
    links = np.stack([active.volume.owners, active.equations], axis=1)
    for row in np.flatnonzero(links[:, 0] >= 0):
        owner, equation = links[row]
        links[row, 1] = _numbers(active.weights, active.configurations.counts[owner])[equation]
    matrix, inverse = active.volume.matrix, active.volume.inverse
    return SelectionState(matrix, inverse, active.weights, links, active.configurations)


def _numbers(weights: SelectionWeights, n_atoms: int) -> list[int]:
    """Return the numbers that MLIP-3 has for the rows of a structure as ``rows_of`` makes them.

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
