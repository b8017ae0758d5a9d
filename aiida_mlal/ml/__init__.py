"""The machine-learning layer: configurations, potentials, training, selection, simulation.

Nothing here imports AiiDA, so every part runs on a compute node without a profile. Inside this
layer energies are in eV, lengths in Å, masses in amu, temperatures in K and times in fs; stresses
are in eV/Å³ and positive in tension.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida_mlal.ml.models.base import Potential


def load_potential(path: str | Path, elements: Sequence[str] | None = None) -> "Potential":
    """Read a potential from a file of any format that is known, by the end of its name.

    Parameters
    ----------
    path
        A checkpoint of this package, ``.safetensors``, or a trained potential of the MLIP codes,
        ``.mtp`` or ``.almtp`` (perhaps compressed, ``.xz``).
    elements
        Chemical symbols of the types 0, 1, ... in files that only number them. For a file that
        names its elements, those that the potential must know.

    Raises
    ------
    ValueError
        If there is no such file, it is of another format or damaged, or an element is missing.
    """
    from aiida_mlal.ml.formats.potentials import load

    return load(path, elements)
