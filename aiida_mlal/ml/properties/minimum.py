"""The minimum of a curve of which some points are known."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar


def minimum(
    function: Callable[[float], float],
    x: Float[np.ndarray, " n"],
    values: Float[np.ndarray, " n"],
    precision: float,
) -> tuple[float, float]:
    """Return where a function is lowest, and how low it is there.

    It is searched for between the neighbours of the lowest point, by Brent's method; where that is
    at an end it is that one.

    Parameters
    ----------
    x, values
        Points of the function, in their order, of which the lowest one is near the minimum.
    precision
        Of the place.
    """
    best = int(np.argmin(values))
    if best in (0, len(x) - 1):
        return float(x[best]), float(values[best])
    found = minimize_scalar(
        lambda at: function(float(at)),
        bounds=(float(x[best - 1]), float(x[best + 1])),
        method="bounded",
        options={"xatol": precision},
    )
    if found.fun > values[best]:
        return float(x[best]), float(values[best])
    return float(found.x), float(found.fun)
