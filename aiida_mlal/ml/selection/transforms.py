"""Linear maps of features, before distances and products are taken."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Transform:
    """A shift and a linear map that are the same for all structures.

    Attributes
    ----------
    origin
        Is subtracted from each row.
    matrix
        Multiplies it then; a number is a multiple of the identity.
    """

    origin: Float[np.ndarray, " features"] | float
    matrix: Float[np.ndarray, "features features"] | float

    def __call__(
        self, rows: Float[np.ndarray, "structures features"]
    ) -> Float[np.ndarray, "structures features"]:
        """Transform rows, in single precision."""
        moved = rows - self.origin
        mapped = moved * self.matrix if np.ndim(self.matrix) == 0 else moved @ self.matrix
        return np.asarray(mapped, np.float32)


def scaled(train: Float[np.ndarray, "train features"]) -> Transform:
    """Centre features on the training set, in units of the root mean square of their lengths.

    The lengths are those before centring. The identity without a training set.
    """
    if not len(train):
        return Transform(0.0, 1.0)
    return Transform(train.mean(axis=0), 1 / _rms(train))


def posterior(train: Float[np.ndarray, "train features"], sigma: float) -> Transform:
    r"""Whiten features: their products become the posterior kernel of a Gaussian process.

    With rows :math:`\phi` in units of the root of their mean square length, products become
    :math:`\phi^T (\Phi^T \Phi / \sigma^2 + I)^{-1} \phi'`: D. Holzmüller et al., J. Mach. Learn.
    Res. 24, 164 (2023), equation 8.
    """
    if not len(train):
        return Transform(0.0, 1.0)
    unit = train / _rms(train)
    factor = np.linalg.cholesky(unit.T @ unit / sigma**2 + np.eye(train.shape[1]))
    inverse = scipy.linalg.solve_triangular(factor, np.eye(train.shape[1]), lower=True)
    return Transform(0.0, inverse.T / _rms(train))


def _rms(rows: Float[np.ndarray, "structures features"]) -> float:
    length = float(np.sqrt(np.einsum("ij,ij->i", rows, rows).mean()))
    return length if length > 0 else 1.0
