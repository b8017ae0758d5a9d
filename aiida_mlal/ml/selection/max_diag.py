"""The structures of largest variance."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.by_features import ByFeatures


@dataclass(frozen=True)
class MaxDiag(ByFeatures):
    """Choose the structures of largest variance, each as if it were the only choice.

    D. Holzmüller et al., J. Mach. Learn. Res. 24, 164 (2023), section 4.3. With features of the
    last layer it is the order of QS1 (``oed``), but for the ridge.
    """

    sigma: float | None = 1e-2

    wanted: ClassVar[str] = "variance"

    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return the longest rows."""
        variances = np.einsum("ij,ij->i", pool, pool, dtype=np.float64)
        best = np.argsort(-variances, kind="stable")[:n]
        return best, variances[best]
