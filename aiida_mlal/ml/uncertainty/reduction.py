"""From values of atoms, or of rows of other kinds, to one for each structure."""

import numpy as np
from jaxtyping import Float, Int


def largest(
    values: Float[np.ndarray, " rows"], owner: Int[np.ndarray, " rows"], n: int
) -> Float[np.ndarray, " structures"]:
    """Return the largest of the values that each of ``n`` structures owns; 0 where it has none."""
    maxima = np.zeros(n)
    if n == 1:  # as at every step of a simulation
        maxima[0] = values.max(initial=0.0)
    else:
        np.maximum.at(maxima, owner, values)
    return maxima
