"""Variable projection: weights that the energy is linear in are solved for, the others searched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from aiida_mlal.ml import plugins
from aiida_mlal.ml.training.optimizers import Optimizer, positive_solve

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.training.problem import Problem

ROWS = 2**13
"""Labels whose derivatives are computed together: what of a Jacobian is in memory at least."""


@runtime_checkable
class Separable(Protocol):
    """A potential whose energy is linear in some of its weights."""

    def linear_weights(self) -> list[nn.Parameter]:
        """Return the weights that the energy is linear in."""

    def fix_gauge(self) -> None:
        """Change the other weights to an equal potential of some standard form.

        Equal but for the linear weights, which are solved for thereafter.
        """

    def free_directions(self) -> Float[Tensor, "directions weights"]:
        """Span the changes of the other weights that the linear ones cannot undo, orthonormal."""


@dataclass(frozen=True)
class VariableProjection(Optimizer):
    r"""Levenberg-Marquardt on some weights, with the best linear weights at each point.

    With residuals :math:`r = A(c) z + b(c)` this minimises :math:`\min_z |r|^2 / 2` over
    :math:`c`. In a factorisation :math:`Q R` of the derivatives by :math:`z`, by :math:`c`, and of
    :math:`b` the last two, orthogonal to the first, are the Jacobian (in L. Kaufman's
    approximation, BIT 15, 49 (1975)) and the residuals that the step in :math:`c` needs. ``R`` is
    made block of labels by block, so the Jacobian itself need not fit into memory.

    With a ``spread`` s it finds the most likely weights for :math:`n` labels with normal errors of
    an unknown size and a normal prior of :math:`c` about the first ones, of standard deviation s:
    the minimum of :math:`n \ln |r|^2 / 2 + |c - c_0|^2 / 2 s^2`, or, as a loss, of
    :math:`|r|^2 \exp(|c - c_0|^2 / n s^2) / 2`. Few labels then change little of what they hardly
    determine, such as radial functions at distances that none of them has.

    Attributes
    ----------
    ridge
        A penalty of the squares of the linear weights, each in units of the size of its column of
        A; where columns are dependent it picks the smallest weights.
    damping
        First damping, relative to the curvature by each weight.
    longest
        No step is longer. The radial functions of a moment tensor potential have length 1: they
        do not turn by more than 45 degrees.
    spread
        Standard deviation of the searched weights about those to begin with, in units of the root
        mean square of these; null for no such prior.
    memory
        Derivatives by the linear weights are kept for the next step up to this size in GiB,
        beyond it they are computed twice.
    """

    TOLERANCE: ClassVar[float] = 1e-5
    """Small, since the search passes saddles, where a step gains a hundredth of those behind it."""

    ridge: float = 1e-10
    damping: float = 1e-2
    longest: float = 1.0
    spread: float | None = None
    memory: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what has no solution."""
        if not (self.ridge > 0 and self.damping > 0 and self.longest > 0 and self.memory >= 0):
            raise ValueError(
                "expected ridge, damping and longest above 0 and a memory of 0 or more, "
                f"got {self.ridge}, {self.damping}, {self.longest} and {self.memory}"
            )
        if self.spread is not None and not self.spread > 0:
            raise ValueError(f"expected a spread above 0 or null, got {self.spread}")

    def check_model(self, model: ModelOptions) -> None:
        """Want weights that the energy is linear in."""
        learner = model.learner()
        if not issubclass(plugins.find("models", learner), Separable):
            raise _inseparable(learner)

    def run(self, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
        """Yield the loss after the first solution, then after each accepted step."""
        search = _Search(problem, self)
        now = search.solve()
        yield now.loss
        damping = self.damping
        for _ in range(epochs - 1 if search.searched else 0):
            try:
                step = self._step(search, now, damping)
            except BaseException:  # an interrupted step leaves no weights of a trial behind
                search.restore(now)
                raise
            if step is None:
                return
            now, damping = step
            yield now.loss

    def _step(self, search: _Search, now: _Point, damping: float) -> tuple[_Point, float] | None:
        """Return a better point and the next damping, or nothing if there is none."""
        import torch

        if not now.loss:  # nothing is left to learn
            return None
        directions, jacobian, rest = search.linearise()
        moved = directions @ (now.searched - search.first)
        stiffness = 2 * now.errors * search.tightness  # of the prior, beside squared residuals
        curvature = jacobian.T @ jacobian
        largest = float(curvature.diagonal().max()) if len(directions) else 0.0
        if not largest > 0:  # nothing that is searched changes a label
            return None
        curvature.diagonal().add_(stiffness)
        scale = curvature.diagonal().clamp(min=1e-12 * largest)
        slope = jacobian.T @ rest + stiffness * moved
        while True:
            damped = curvature + damping * torch.diag(scale)
            step = -positive_solve(damped, slope)
            step *= min(1.0, self.longest / max(float(step.norm()), 1e-300))
            promised = -float(slope @ step + step @ curvature @ step / 2) * now.loss / now.errors
            if not promised > 1e-9 * now.loss:  # no trial at the bottom is worth its time
                search.restore(now)
                return None
            search.move(now, step @ directions)
            trial = search.solve()
            if trial.loss < now.loss:
                gain = (now.loss - trial.loss) / promised
                return trial, max(damping * max(1 / 5, 1 - (2 * gain - 1) ** 3), 1e-12)
            damping *= 4


@dataclass(frozen=True, eq=False)
class _Point:
    """Weights, half the square of the residuals with them, and the loss: this and the prior's."""

    searched: Tensor
    linear: Tensor
    errors: float
    loss: float


class _Search:
    """The problem as one of the searched weights alone; the potential holds them."""

    def __init__(self, problem: Problem, options: VariableProjection) -> None:
        potential = problem.potential
        if not isinstance(potential, Separable):
            raise _inseparable(potential.config()["architecture"])
        self.potential, self.ridge = potential, options.ridge
        linear = {id(w) for w in potential.linear_weights()}
        self.linear = [w for w in problem.parameters if id(w) in linear]
        self.searched = [w for w in problem.parameters if id(w) not in linear]
        self.n_linear = sum(w.numel() for w in self.linear)
        if self.searched:
            potential.fix_gauge()
        self.blocks = problem.blocks(ROWS)
        # without linear weights the residuals are what no weight changes
        for weight in self.linear:
            weight.data.zero_()
        self.constants = [block.residuals() for block in self.blocks]
        n_rows = sum(len(rows) for rows in self.constants)
        if not n_rows:
            raise ValueError("there is no label to learn from with these weights of the loss")
        self.first, self.tightness = _flat(self.searched), 0.0
        if options.spread is not None and self.searched:
            variance = options.spread**2 * float(self.first.square().mean())
            self.tightness = 1 / (n_rows * variance)
        self._fits = 8 * n_rows * self.n_linear <= options.memory * 2**30
        self._kept: dict[int, Tensor] = {}

    def solve(self) -> _Point:
        """Set the linear weights that are best with the others as they are."""
        import torch

        n = self.n_linear
        triangle = self._triangle(lambda block: self.constants[block][:, None], 1)
        right = -triangle[:n, n:]
        weights = torch.linalg.solve_triangular(triangle[:n, :n], right, upper=True)[:, 0]
        errors, searched = float(triangle[n, n].square()) / 2, _flat(self.searched)
        unlikely = float((self.tightness * (searched - self.first).square().sum()).exp())
        point = _Point(searched, weights, errors, errors * unlikely)
        self.restore(point)
        return point

    def linearise(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return directions, the derivatives along them, and the residuals.

        The latter two are in a basis of what the linear weights cannot change.
        """
        import torch

        directions = self.potential.free_directions()

        def columns(block: int) -> Tensor:
            along = self.blocks[block].jacobian(self.searched) @ directions.T
            return torch.cat([along, self.constants[block][:, None]], dim=1)

        n, m = self.n_linear, self.n_linear + len(directions)
        triangle = self._triangle(columns, len(directions) + 1)
        return directions, triangle[n:m, n:m], triangle[n:m, m]

    def move(self, point: _Point, change: Tensor) -> None:
        """Change the searched weights from those of a point."""
        from torch.nn.utils import vector_to_parameters

        vector_to_parameters(point.searched + change, self.searched)
        self.potential.fix_gauge()
        self._kept = {}

    def restore(self, point: _Point) -> None:
        """Set the weights of a point."""
        from torch.nn.utils import vector_to_parameters

        vector_to_parameters(point.searched, self.searched)
        vector_to_parameters(point.linear, self.linear)

    def _triangle(self, columns: Callable[[int], Tensor], n: int) -> Tensor:
        """Return R of the derivatives by the linear weights, the ridge below, and more columns."""
        import torch

        like, size = self.constants[0], self.n_linear + n
        triangle = like.new_zeros(size, size)
        for block in range(len(self.blocks)):
            rows = torch.cat([self._matrix(block), columns(block)], dim=1)
            triangle = torch.linalg.qr(torch.cat([triangle, rows]), mode="r").R
        sizes = triangle[:, : self.n_linear].norm(dim=0)
        sizes = torch.where(sizes > 0, sizes, 1.0)
        penalty = like.new_zeros(self.n_linear, size)
        penalty[:, : self.n_linear] = torch.diag(self.ridge**0.5 * sizes)
        return torch.linalg.qr(torch.cat([triangle, penalty]), mode="r").R

    def _matrix(self, block: int) -> Tensor:
        """Differentiate a block by the linear weights."""
        jacobian_block = self._kept.get(block)
        if jacobian_block is None:
            jacobian_block = self.blocks[block].jacobian(self.linear)
            if self._fits:
                self._kept[block] = jacobian_block
        return jacobian_block


def _inseparable(architecture: str) -> ValueError:
    return ValueError(
        "variable_projection is for potentials that are linear in some of their weights, such as "
        f"'mtp', this is {architecture!r}; choose the optimizer 'lbfgs', 'adam' or "
        "'levenberg_marquardt'"
    )


def _flat(weights: list[nn.Parameter]) -> Tensor:
    import torch

    parts = [weight.detach().flatten() for weight in weights]
    return torch.cat(parts) if parts else torch.zeros(0)
