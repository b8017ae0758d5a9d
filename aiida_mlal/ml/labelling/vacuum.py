"""How much vacuum there is between a structure and its images, as plane waves have them."""

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations


def heights(one: Configurations) -> Float[np.ndarray, " 3"]:
    """Compute the heights of the cell in Å: distances of opposite faces."""
    cell = one.cells[0]
    above: np.ndarray = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return above


def vacuum(one: Configurations) -> Float[np.ndarray, " 3"]:
    """Return the widest gap between layers of atoms along each of ``heights``, in Å.

    Atoms are where their images in the cell are, whatever the structure is periodic in.
    """
    places = np.sort(np.linalg.solve(one.cells[0].T, one.positions.T) % 1.0, axis=1)
    gaps = np.diff(places, axis=1, append=places[:, :1] + 1.0)
    widths: np.ndarray = gaps.max(axis=1) * heights(one)
    return widths
