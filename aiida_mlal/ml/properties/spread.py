"""Intervals over the members of a committee."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95


def interval95(values: Sequence[Any]) -> np.ndarray:
    r"""Return half the width of the 95 % interval of a further member, by Student's distribution.

    Of :math:`n` members with the standard deviation :math:`s` (of :math:`n-1` degrees of freedom)
    it is :math:`t_{0.975,n-1}\, s \sqrt{1 + 1/n}`: another potential that is trained alike is
    expected to be as near to their mean as this, with 95 %. Unlike the error of the mean it does
    not vanish with many members, all of which may be wrong alike; 2 s, which the paper on MLIP
    gives (Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), section 4), is its limit
    for many. NaN for a single member.
    """
    array = np.asarray(values, float)
    n = len(array)
    if n < 2:
        return np.full(array.shape[1:], np.nan)
    width = t.ppf((1 + CONFIDENCE) / 2, n - 1) * np.sqrt(1 + 1 / n)
    return np.asarray(width * array.std(axis=0, ddof=1))
