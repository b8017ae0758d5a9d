"""The rows that make the determinant of an information matrix largest, one after the other."""

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.fast.jit import inlined, jit


def greedy_determinant(
    rows: Float[np.ndarray, "rows features"], n: int, noise: float = 1.0
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    r"""Return ``n`` rows of largest variance, and their variances when they were chosen.

    The variance of row x is :math:`x^T C x`. C begins as the unit matrix, and loses
    :math:`C x x^T C / (\mathrm{noise} + x^T C x)` with each choice (equation 11 of V. Zaverkin and
    J. Kästner, Mach. Learn.: Sci. Technol. 2, 035009 (2021)). With the kernel K of products of
    rows, each choice makes the determinant of K + noise among those chosen as large as it can.

    Variances only become smaller, so those that were too small before their last update need none.
    """
    if not noise > 0:
        raise ValueError(f"expected a noise above 0, got {noise}")
    result: tuple[np.ndarray, np.ndarray] = _greedy(np.ascontiguousarray(rows), n, float(noise))
    return result


@jit(fastmath={"contract", "reassoc", "nsz"})
def _greedy(rows: np.ndarray, n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose: variances lose (x v)² for each v of ``lost``, C being 1 less the sum of v vᵀ."""
    n_rows, n_features = rows.shape
    variances, since = np.zeros(n_rows), np.zeros(n_rows, np.int64)
    for i in range(n_rows):
        for k in range(n_features):
            variances[i] += np.float64(rows[i, k]) * rows[i, k]
    lost, free = np.zeros((n, n_features)), np.ones(n_rows, np.bool_)
    chosen, scores = np.zeros(n, np.int64), np.zeros(n)
    for step in range(n):
        best = -1
        for i in range(n_rows):
            if free[i] and (best < 0 or variances[i] > variances[best]):
                best = i
        _update(rows[best], lost, variances, since, best, step)
        for i in range(n_rows):
            if free[i] and variances[i] >= variances[best]:
                _update(rows[i], lost, variances, since, i, step)
                if variances[i] > variances[best] or (variances[i] == variances[best] and i < best):
                    best = i
        chosen[step], scores[step], free[best] = best, variances[best], False
        moved = rows[best].astype(np.float64)
        for earlier in range(step):
            product = 0.0
            for k in range(n_features):
                product += lost[earlier, k] * rows[best, k]
            for k in range(n_features):
                moved[k] -= product * lost[earlier, k]
        scale = 1 / np.sqrt(noise + max(variances[best], 0.0))
        for k in range(n_features):
            lost[step, k] = scale * moved[k]
    return chosen, scores


@inlined(fastmath={"contract", "reassoc", "nsz"})
def _update(
    row: np.ndarray, lost: np.ndarray, variances: np.ndarray, since: np.ndarray, i: int, step: int
) -> None:
    """Let a variance lose what it has not yet lost until a step."""
    for earlier in range(since[i], step):
        product = 0.0
        for k in range(len(row)):
            product += lost[earlier, k] * row[k]
        variances[i] -= product * product
    since[i] = step
