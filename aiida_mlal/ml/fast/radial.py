"""The radial basis of moment tensor potentials, as compiled code takes it."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from aiida_mlal.ml.descriptors.radial_polynomials import RadialBasis


def tables(basis: "RadialBasis") -> tuple[Float[np.ndarray, "6"], Float[np.ndarray, "size 3"]]:
    """Arrange a basis: polynomials of the distance times an envelope.

    Returns
    -------
    tuple
        ``min_dist`` and cutoff (Å); the factor of all functions; the envelope (0: (r - cutoff)²,
        1: none, 2: (r - cutoff)² / r²); 1 if the functions are constant below ``min_dist``; 1 if
        there is an exponential repulsion below it. Then rows (a, b, c) of the recurrence
        Q[n + 1] = (a x + b) Q[n] - c Q[n - 1], the last one of zeros.
    """
    settings = [basis.min_dist, basis.cutoff, basis.factor, basis.envelope]
    settings += [basis.clamped, basis.repulsive]
    return np.array(settings, dtype=float), np.concatenate([basis.recurrence, np.zeros((1, 3))])
