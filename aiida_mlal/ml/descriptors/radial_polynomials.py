"""The radial functions of the MLIP codes: polynomials in the distance, most with an envelope."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Kind = Literal[
    "RBChebyshev", "RBChebyshev_repuls", "RBShapeev", "RBTaylor", "BChebyshev", "BChebyshev_repuls"
]


@dataclass(frozen=True)
class RadialBasis:
    r"""Functions :math:`Q_b(r) = s\, w(r)\, t_b(\xi)`, with :math:`\xi` from -1 to 1.

    The polynomials follow
    :math:`t_{b+1} = (\alpha_b \xi + \beta_b) t_b - \gamma_b t_{b-1}`, :math:`t_0 = 1`.

    Attributes
    ----------
    kind
        As in the files of MLIP: Chebyshev polynomials with the envelope :math:`(r - r_{max})^2`
        (``RBChebyshev``) or none (``BChebyshev``), those held constant below ``min_dist``
        (``_repuls``), orthonormal functions (``RBShapeev``) and powers (``RBTaylor``).
    size
        How many functions.
    min_dist, cutoff
        The distances in Å that :math:`\xi = -1` and 1 stand for.
    scaling
        The factor :math:`s`.
    """

    kind: Kind = "RBChebyshev"
    size: int = 8
    min_dist: float = 2.0
    cutoff: float = 5.0
    scaling: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 100:
            raise ValueError(f"expected a radial basis of 1 to 100 functions, got {self.size}")
        if not 0 < self.min_dist < self.cutoff < np.inf:
            raise ValueError(
                "expected 0 < min_dist < cutoff in Å, "
                f"got min_dist {self.min_dist} and cutoff {self.cutoff}"
            )
        if not 0 < abs(self.scaling) < np.inf:
            raise ValueError(f"expected a scaling that is not zero, got {self.scaling}")

    @property
    def envelope(self) -> int:
        """The factor w: 0 for (r - cutoff)², 1 for one, 2 for that of ``RBShapeev``."""
        return {"RBChebyshev": 0, "RBChebyshev_repuls": 0, "RBShapeev": 2}.get(self.kind, 1)

    @property
    def clamped(self) -> bool:
        """Whether the functions are constant below ``min_dist``."""
        return self.kind.endswith("_repuls")

    @property
    def repulsive(self) -> bool:
        """Whether pairs closer than ``min_dist`` get ``repulsion`` as well."""
        return self.kind == "RBChebyshev_repuls"

    @cached_property
    def recurrence(self) -> Float[np.ndarray, "size-1 3"]:
        """The coefficients that make each polynomial of the two before."""
        n = np.arange(self.size - 1, dtype=float)
        if self.kind == "RBTaylor":  # r = (max - min) / 2 * xi + (max + min) / 2
            low, high = self.min_dist, self.cutoff
            rows = [np.full_like(n, (high - low) / 2), np.full_like(n, (high + low) / 2), 0 * n]
        elif self.kind == "RBShapeev":
            rows = _jacobi(n)
        else:
            rows = [np.where(n == 0, 1.0, 2.0), 0 * n, np.where(n == 0, 0.0, 1.0)]
        return np.stack(rows, axis=1)

    @cached_property
    def slopes(self) -> Float[np.ndarray, "size size"]:
        """The derivative of each polynomial by ξ (rows), written in these polynomials."""
        matrix = np.zeros((self.size, self.size))
        for n, (a, b, c) in enumerate(self.recurrence):
            times_xi = np.zeros(self.size)  # of the derivative of the one before
            for k, (a_k, b_k, c_k) in enumerate(self.recurrence[:n]):
                times_xi[k + 1] += matrix[n, k] / a_k
                times_xi[k] -= matrix[n, k] * b_k / a_k
                times_xi[k - 1] += matrix[n, k] * c_k / a_k  # c is 0 for the first
            matrix[n + 1] = a * times_xi + b * matrix[n] - c * matrix[n - 1]
            matrix[n + 1, n] += a
        return matrix

    @property
    def factor(self) -> float:
        """The constant in front of the envelope."""
        if self.kind != "RBShapeev":
            return self.scaling
        return self.scaling * 0.5 * 21**0.5 * (self.min_dist / (self.cutoff - self.min_dist)) ** 2

    def __call__(self, distances: Float[Tensor, " edges"]) -> Float[Tensor, "edges size"]:
        """Return the functions at distances in Å below the cutoff."""
        r = distances.clamp(min=self.min_dist) if self.clamped else distances
        xi = (2 * r - self.min_dist - self.cutoff) / (self.cutoff - self.min_dist)
        polynomials = [torch.ones_like(xi)]
        before = torch.zeros_like(xi)
        for a, b, c in self.recurrence.tolist():
            following = (a * xi + b) * polynomials[-1] - c * before
            before = polynomials[-1]
            polynomials.append(following)
        values = torch.stack(polynomials, dim=1)
        if self.envelope == 1:
            return self.factor * values
        envelope = (r - self.cutoff) ** 2
        if self.envelope == 2:
            envelope = envelope / r**2
        return self.factor * envelope[:, None] * values

    def repulsion(self, distances: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
        """Return the energy in eV that ``RBChebyshev_repuls`` adds for a pair, to each of both."""
        r = distances.clamp(max=self.min_dist)
        at_min_dist = torch.exp(r.new_tensor(-10 * (self.min_dist - 1)))
        return 10000 * (torch.exp(-10 * (r - 1)) - at_min_dist)


def _jacobi(n: Float[np.ndarray, " size"]) -> list[np.ndarray]:
    """Return the recurrence of Jacobi polynomials P(5,1), scaled as MLIP's table is, from n = 0.

    MLIP's functions are (1 / (n+1)) (2 min / r)² ((1-ξ)/2)² P_n(ξ) / √h_n, with h_n the norm of P_n
    for the weight (1-ξ)⁵ (1+ξ).
    """
    m = n + 1
    k = 2 * m + 6
    a = (k - 1) * k * (k - 2)
    b = (k - 1) * 24.0
    c = 2 * (m + 4) * m * k
    d = 2 * m * (m + 6) * (k - 2)

    def scale(i: np.ndarray) -> np.ndarray:
        return np.sqrt((2 * i + 7) * (i + 6) / (i + 1) ** 3)

    step = scale(m) / scale(n)
    two_steps = scale(m) / scale(np.maximum(n - 1, 0))
    return [a / d * step, b / d * step, np.where(n == 0, 0.0, c / d * two_steps)]
