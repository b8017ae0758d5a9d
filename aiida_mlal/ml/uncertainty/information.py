"""The information matrix of a linear model, and the variance that it leaves."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg
from jaxtyping import Float

RIDGE = 1e-8
"""Ridge that is added to the diagonal of an information matrix, in units of its mean."""


@dataclass(frozen=True, eq=False)
class Information:
    r"""Information matrix of a linear model: the sum of the outer products of its rows g.

    :math:`\tilde A = \sum g g^T + \lambda I`, equation 8 of V. Zaverkin and J. Kästner,
    Mach. Learn.: Sci. Technol. 2, 035009 (2021), times the loss; their matrix has no ridge
    :math:`\lambda` and is singular while there are fewer rows than weights.

    Attributes
    ----------
    matrix
        The sum, without the ridge.
    n_rows
        Number of rows.
    ridge
        :math:`\lambda` in units of the mean of the diagonal.
    """

    matrix: Float[np.ndarray, "weights weights"]
    n_rows: int = 0
    ridge: float = RIDGE

    def __post_init__(self) -> None:
        """Refuse what is no ridge."""
        if not 0 <= self.ridge < np.inf:
            raise ValueError(f"expected a ridge of 0 or more, got {self.ridge}")

    @classmethod
    def of(cls, rows: Float[np.ndarray, "rows weights"], ridge: float = RIDGE) -> "Information":
        """Sum up rows."""
        return cls(np.zeros((rows.shape[1],) * 2), 0, ridge).extended(rows)

    def extended(self, rows: Float[np.ndarray, "rows weights"]) -> "Information":
        """Add rows."""
        rows = np.asarray(rows, float)
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = self.matrix + rows.T @ rows
        if not np.isfinite(matrix).all():
            raise ValueError(
                "expected derivatives by the last layer, and their squares, of finite numbers; "
                f"the largest of {len(rows)} rows is {np.abs(rows).max():g}"
            )
        return replace(self, matrix=matrix, n_rows=self.n_rows + len(rows))

    @cached_property
    def factor(self) -> Float[np.ndarray, "weights weights"]:
        """The lower triangle L of the matrix with its ridge, which is L times its transpose.

        Raises
        ------
        ValueError
            If the matrix is singular.
        """
        m = len(self.matrix)
        mean = float(np.trace(self.matrix)) / max(m, 1)
        matrix = self.matrix + self.ridge * mean * np.eye(m)
        sizes = np.linalg.eigvalsh(matrix) if m else np.ones(1)
        if not sizes[0] > 1e-15 * m * sizes[-1]:
            raise ValueError(
                f"the information matrix of {self.n_rows} rows for {m} weights is singular "
                f"(smallest and largest eigenvalue {sizes[0]:.3g}, {sizes[-1]:.3g}): "
                + (
                    f"take a ridge above {self.ridge:g}, such as {RIDGE:g}"
                    if mean > 0
                    else "it is of nothing, the last layer needs structures to learn from"
                )
            )
        factor: np.ndarray = np.linalg.cholesky(matrix)
        return factor

    def whitened(self, rows: Float[np.ndarray, "rows weights"]) -> np.ndarray:
        """Whiten rows: their squared lengths become ``variances``."""
        rows = np.asarray(rows, float)
        solved = scipy.linalg.solve_triangular(self.factor, rows.T, lower=True, check_finite=False)
        return np.asarray(solved.T)

    @property
    def covariance(self) -> Float[np.ndarray, "weights weights"]:
        """The inverse of the matrix with its ridge."""
        inverse = self.whitened(np.eye(len(self.matrix)))
        return inverse @ inverse.T

    def variances(self, rows: Float[np.ndarray, "... weights"]) -> Float[np.ndarray, "..."]:
        r"""Compute :math:`u = g^T \tilde A^{-1} g` of each row.

        Times the mean squared error it is the variance of the prediction, equation 5.
        """
        flat = self.whitened(np.reshape(rows, (-1, len(self.matrix))))
        variances: np.ndarray = np.einsum("ij,ij->i", flat, flat).reshape(np.shape(rows)[:-1])
        return variances


def gain(variances: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    r"""Compute the reduction of the variance by a label: :math:`u / (1 + u)`, equation 14.

    The factor :math:`\mathcal{L} / N_\mathrm{train}`, the same for all, is left out.
    """
    gains: np.ndarray = variances / (1 + variances)
    return gains


def with_rows(
    covariance: Float[np.ndarray, "weights weights"], rows: Float[np.ndarray, "rows weights"]
) -> np.ndarray:
    """Update the inverse of an information matrix for more rows.

    Woodbury's formula; for one row equations 10 and 11.
    """
    moved = rows @ covariance
    inner = np.eye(len(rows)) + moved @ rows.T
    updated: np.ndarray = covariance - moved.T @ np.linalg.solve(inner, moved)
    return updated
