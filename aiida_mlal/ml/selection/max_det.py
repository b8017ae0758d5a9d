"""The structures that leave the smallest variance together."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.selection.by_features import ByFeatures


@dataclass(frozen=True)
class MaxDet(ByFeatures):
    """Choose the structure of largest variance, then the next with what the first leaves.

    Greedy maximisation of a determinant, section 4.4 of D. Holzmüller et al., J. Mach. Learn. Res.
    24, 164 (2023). With features of the last layer it is ``oed`` with ``sequential``, but for the
    ridge.
    """

    sigma: float | None = 1e-2

    wanted: ClassVar[str] = "variance"

    def __post_init__(self) -> None:
        """Refuse no noise: a determinant is 0 from as many choices on as there are features."""
        super().__post_init__()
        if self.sigma is None:
            raise ValueError("expected sigma above 0, got null")

    def pick(
        self,
        pool: Float[np.ndarray, "left features"],
        train: Float[np.ndarray, "train features"],
        n: int,
        rng: np.random.Generator,
    ) -> tuple[Any, Any]:
        """Return the rows of a pivoted Cholesky decomposition."""
        from aiida_mlal.ml.fast.determinant import greedy_determinant  # numba is slow to import

        return greedy_determinant(pool, n, float(self.sigma or 1.0) ** 2)
