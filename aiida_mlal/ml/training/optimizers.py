"""Optimisers: each is its options, and yields the training loss epoch by epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiida_mlal.ml import plugins

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer as TorchOptimizer

    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.training.problem import Problem


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes from epoch to epoch.

    ``cosine_restarts`` is the cosine annealing with warm restarts of Loshchilov and Hutter
    (arXiv:1608.03983), ``exponential`` multiplies by ``factor`` each epoch, ``linear`` goes to
    zero at the last epoch.
    """

    name: Literal["constant", "cosine_restarts", "exponential", "linear"] = "constant"
    first_period: int = 10
    period_factor: int = 2
    factor: float = 0.99

    def __post_init__(self) -> None:
        """Refuse periods that never end and rates that are none."""
        if self.first_period < 1 or self.period_factor < 1 or not 0 < self.factor <= 1:
            raise ValueError(
                "expected a first_period and a period_factor of 1 or more and a factor in (0, 1], "
                f"got {self.first_period}, {self.period_factor} and {self.factor}"
            )

    def rate(self, epoch: int, epochs: int) -> float:
        """Return the learning rate of an epoch as a share of the first one."""
        import math

        if self.name == "exponential":
            return self.factor**epoch
        if self.name == "linear":
            return 1 - epoch / epochs
        if self.name == "cosine_restarts":
            period, since = self.first_period, epoch
            while since >= period:
                since -= period
                period *= self.period_factor
            return (1 + math.cos(math.pi * since / period)) / 2
        return 1.0


@dataclass(frozen=True)
class Optimizer(ABC):
    """Changes the weights of a problem for the better."""

    TOLERANCE: ClassVar[float] = 1e-3
    """Relative decrease of the loss in an epoch that is worth going on."""

    @abstractmethod
    def run(self, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
        """Yield the training loss after each epoch; the weights have then changed in place."""

    def remarks(self, potential: Potential) -> list[str]:
        """Say what the trained weights tell of the labels that is doubtful, in sentences."""
        return []

    def check_model(self, model: ModelOptions) -> None:
        """Raise ``ValueError`` if it cannot train such potentials; here: not by derivatives."""
        learner: Any = plugins.find("models", model.learner())
        if not learner.by_derivatives:
            usual = learner.usual_training["optimizer"]["name"]
            raise ValueError(
                f"{plugins.name_of('optimizers', type(self))!r} changes weights by derivatives of "
                f"the loss, and those of the model {model.learner()!r} are solved for: choose the "
                f"optimizer {usual!r}"
            )


@dataclass(frozen=True)
class LBFGS(Optimizer):
    """Limited-memory BFGS on all structures at once.

    With the strong Wolfe line search the learning rate is only the first trial step. The paper on
    offline active learning used none, 1e-2 and ``cosine_restarts``.

    Attributes
    ----------
    learning_rate
        Length of the first trial step, in units of the weights; without a line search of each step.
    line_search
        How the length of a step is found; null for the learning rate alone.
    iterations
        The largest number of steps in an epoch.
    history
        How many steps are remembered for the approximation of the Hessian.
    schedule
        How the learning rate changes from epoch to epoch.
    """

    learning_rate: float = 1.0
    line_search: Literal["strong_wolfe"] | None = "strong_wolfe"
    iterations: int = 20
    history: int = 100
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what takes no step."""
        if not self.learning_rate > 0 or self.iterations < 1 or self.history < 1:
            raise ValueError(
                "expected a learning_rate above 0, iterations and a history of 1 or more, "
                f"got {self.learning_rate}, {self.iterations} and {self.history}"
            )

    def run(self, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
        """Yield the loss after every ``iterations`` steps."""
        import torch

        optimizer = torch.optim.LBFGS(
            problem.parameters,
            lr=self.learning_rate,
            max_iter=self.iterations,
            history_size=self.history,
            line_search_fn=self.line_search,
            tolerance_grad=1e-12,
            tolerance_change=1e-14,
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = problem.loss()
            loss.backward()
            return loss

        for epoch in range(epochs):
            _set_rate(optimizer, self.learning_rate * self.schedule.rate(epoch, epochs))
            optimizer.step(closure)
            with torch.no_grad():
                yield float(problem.loss())


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, or AMSGrad, on mini-batches drawn anew in each epoch.

    Attributes
    ----------
    learning_rate
        Of all weights that have none in ``rates``.
    rates
        Learning rates of some of the weights, by the first part of their names: those of a
        Gaussian-moment network are ``descriptor``, ``network``, ``scale`` and ``shift``.
    amsgrad
        Whether steps are divided by the largest of the second moments until then (AMSGrad).
    weight_decay
        What each step takes from the weights, as a share of them per learning rate (AdamW).
    batch_size
        Number of structures in a mini-batch.
    schedule
        How the learning rate changes from epoch to epoch.
    """

    learning_rate: float = 1e-3
    rates: Mapping[str, Any] = field(default_factory=dict)
    amsgrad: bool = True
    weight_decay: float = 0.0
    batch_size: int = 32
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        """Refuse what takes no step."""
        if not self.learning_rate > 0 or not self.weight_decay >= 0 or self.batch_size < 1:
            raise ValueError(
                "expected a learning_rate above 0, a weight_decay of 0 or more and a batch_size "
                f"of 1 or more, got {self.learning_rate}, {self.weight_decay} and "
                f"{self.batch_size}"
            )
        for part, rate in self.rates.items():
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate >= 0:
                raise ValueError(
                    f"rates.{part}: expected a learning rate of 0 or more, got {rate!r}"
                )

    def run(self, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
        """Yield the sum of the losses of the batches, each before its step."""
        import numpy as np
        import torch

        generator = np.random.default_rng(seed)
        groups = self._groups(problem)
        rates = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(
            groups, amsgrad=self.amsgrad, weight_decay=self.weight_decay, fused=True
        )
        for epoch in range(epochs):
            share = self.schedule.rate(epoch, epochs)
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * share
            total = 0.0
            for batch in problem.batches(self.batch_size, generator):
                optimizer.zero_grad()
                loss = batch.loss()
                loss.backward()
                optimizer.step()
                total += float(loss.detach())
            yield total

    def _groups(self, problem: Problem) -> list[dict[str, Any]]:
        """Return the weights by their learning rates."""
        parts: dict[str, list[nn.Parameter]] = {}
        for name, weight in problem.potential.named_parameters():
            if weight.requires_grad:
                parts.setdefault(name.split(".")[0], []).append(weight)
        strange = sorted(set(self.rates) - set(parts))
        if strange:
            raise ValueError(f"rates: there are no weights {strange}, there are {sorted(parts)}")
        return [
            {"params": weights, "lr": float(self.rates.get(part, self.learning_rate))}
            for part, weights in parts.items()
        ]


def positive_solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve for a symmetric matrix without negative eigenvalues; the shortest if it is singular."""
    import torch

    factor, failed = torch.linalg.cholesky_ex(matrix)
    if int(failed):
        driver = None if matrix.is_cuda else "gelsd"
        return torch.linalg.lstsq(matrix, right[:, None], driver=driver).solution[:, 0]
    return torch.cholesky_solve(right[:, None], factor)[:, 0]


def _set_rate(optimizer: TorchOptimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
