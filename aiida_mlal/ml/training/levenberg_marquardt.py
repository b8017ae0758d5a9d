"""Levenberg-Marquardt: least squares with the exact Jacobian, for few data and many weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from aiida_mlal.ml.training.optimizers import Optimizer, positive_solve

if TYPE_CHECKING:
    from torch import Tensor

    from aiida_mlal.ml.training.problem import Problem

LARGEST = 2**28
"""Largest number of entries of a matrix (2 GiB in float64)."""


@dataclass(frozen=True)
class LevenbergMarquardt(Optimizer):
    r"""Least squares, held near the first weights.

    Minimises :math:`\frac{1}{2} |r(\theta)|^2 + \frac{\lambda}{2} |\theta - \theta_0|^2` with the
    residuals of the loss and the first weights :math:`\theta_0`. Where weights outnumber labels
    this picks, of all functions that fit, the one nearest to the random one at the start, and
    members of an ensemble that differ in :math:`\theta_0` only are samples of a posterior:
    T. Pearce et al., AISTATS 2020, "anchored ensembling". Linear systems are solved in the smaller
    of the two spaces; the damping follows H. B. Nielsen, IMM-REP-1999-05.

    Attributes
    ----------
    ridge
        :math:`\lambda`, in the units of the loss.
    damping
        First damping, relative to the largest curvature.
    """

    ridge: float = 1e-4
    damping: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse what has no minimum."""
        if not (self.ridge >= 0 and self.damping > 0):
            raise ValueError(
                f"expected a ridge of 0 or more and a damping above 0, "
                f"got {self.ridge} and {self.damping}"
            )

    def run(self, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
        """Yield the loss, ridge included, after each accepted step, or once if there is none.

        These are the epochs: how many steps were tried in vain does not count.
        """
        from torch.nn.utils import parameters_to_vector, vector_to_parameters

        weights = problem.parameters
        theta = parameters_to_vector(weights).detach()
        anchor = theta.clone()
        _check_size(len(theta), problem)

        def measure(theta: Tensor) -> tuple[Tensor, float]:
            vector_to_parameters(theta, weights)
            residuals = problem.residuals()
            penalty = self.ridge * (theta - anchor).square().sum()
            return residuals, float((residuals.square().sum() + penalty) / 2)

        residuals, loss = measure(theta)
        damping, growth, fresh, accepted = 0.0, 2.0, True, 0
        while isfinite(loss) and accepted < epochs:
            if fresh:
                normal, downhill, jacobian = _normal(problem, len(theta), len(residuals))
                gradient = downhill + self.ridge * (theta - anchor)
                damping = damping or self.damping * float(normal.diagonal().max())
            step = _solve(normal, -gradient, self.ridge + damping, jacobian)
            trial, trial_loss = measure(theta + step)
            promised = float(step @ (damping * step - gradient)) / 2
            gain = (loss - trial_loss) / promised if promised > 0 else -1.0
            fresh = gain > 0 and trial_loss < loss
            if fresh:
                theta, residuals, loss = theta + step, trial, trial_loss
                damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
            else:
                vector_to_parameters(theta, weights)
                damping, growth = damping * growth, 2 * growth
                if not damping < 1e16 * float(normal.diagonal().max()):
                    break
                continue
            accepted += 1
            yield loss
        if not accepted:
            yield loss


def _normal(
    problem: Problem, n_weights: int, n_labels: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return JᵀJ and Jᵀr, made of blocks of labels; or JJᵀ, Jᵀr and J itself if J is wide."""
    if n_labels < n_weights:
        jacobian = problem.jacobian()
        return jacobian @ jacobian.T, jacobian.T @ problem.residuals(), jacobian
    blocks = [problem]
    if n_labels * n_weights > LARGEST:
        blocks = problem.blocks(max(1, LARGEST // (8 * n_weights)))
    like = next(iter(problem.parameters))
    normal = like.new_zeros(n_weights, n_weights).detach()
    downhill = like.new_zeros(n_weights).detach()
    for block in blocks:
        rows = block.jacobian()
        normal += rows.T @ rows
        downhill += rows.T @ block.residuals()
    return normal, downhill, None


def _solve(normal: Tensor, right: Tensor, damping: float, jacobian: Tensor | None) -> Tensor:
    """Solve (JᵀJ + damping) x = right, by the push-through identity if J is wide."""
    import torch

    damped = normal + damping * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    if jacobian is None:
        return positive_solve(damped, right)
    inner = positive_solve(damped, jacobian @ right)
    return (right - jacobian.T @ inner) / damping


def _check_size(n_weights: int, problem: Problem) -> None:
    n_residuals = len(problem.residuals())
    if n_weights * min(n_residuals, n_weights) > LARGEST:
        raise ValueError(
            f"the equations of {n_residuals} labels and {n_weights} weights are too large for "
            "levenberg_marquardt, choose the optimizer 'lbfgs' or 'adam'"
        )
