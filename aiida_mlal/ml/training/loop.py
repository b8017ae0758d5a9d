"""The loop that fits a potential, and what it does where that fails: other first weights.

A training has failed if it leaves more of the variance of the labels unexplained than the options
allow, or if its loss is not finite any more. Then others are begun, each from first weights of a
seed of its own. What does not promise to become better is dropped after a third of the epochs.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from ase.data import chemical_symbols

from aiida_mlal.ml import plugins
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.registry import from_config
from aiida_mlal.ml.training.optimizers import Optimizer
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.training.problem import Problem
from aiida_mlal.ml.training.verdict import Verdict, without_neighbours

PROBE = 5
"""After so many epochs, or a third of those that the best start took, another one is judged."""

PROMISING = 0.5
"""To be followed to its end it must be below this share of the loss that the best had by then, or
below the end of the best."""

ALIKE = 0.1
"""Relative difference of losses at the end that means that two starts came to the same."""

Progress = Callable[[int, float], None]


class DivergedError(RuntimeError):
    """The loss is not finite any more."""


@dataclass(frozen=True)
class Start:
    """First weights that were tried.

    Attributes
    ----------
    seed
        Of the first weights; None if they were given.
    loss
        The lowest one, that which decides; None if it was not finite.
    epochs
        How many there were, until the end or until it was plain that this start is no better.
    unexplained
        The share of the variance of the labels that is left at the end, of ``Verdict``; None for a
        start that did not come to an end.
    unexplained_of
        Which labels those are: all ``labels``, or the kind that was not learned.
    kept
        Whether the potential has the weights that came of it.
    """

    seed: int | None
    loss: float | None
    epochs: int
    unexplained: float | None
    kept: bool
    unexplained_of: str = "labels"


@dataclass(frozen=True)
class Curve:
    """How the training of one potential went.

    Attributes
    ----------
    train, validation
        Loss after each epoch from the start that was kept; the latter, or the criterion chosen
        instead, is empty without a validation set.
    best
        Index of the epoch whose weights were kept.
    ended
        What ended it: the limit of ``epochs``, ``patience``, or the ``optimizer``, which found
        nothing better.
    starts
        All that were tried; more than one if the training had failed from the first.
    """

    train: list[float]
    validation: list[float]
    best: int
    ended: Literal["epochs", "patience", "optimizer"] = "optimizer"
    starts: list[Start] = field(default_factory=list)

    @property
    def kept(self) -> Start:
        """The start whose weights the potential has."""
        return next(start for start in self.starts if start.kept)

    @property
    def unexplained(self) -> float:
        """The share of the variance of the labels that is left; all if nobody knows."""
        left = self.kept.unexplained
        return 1.0 if left is None else left

    @property
    def judged(self) -> list[float]:
        """What decides, after each epoch."""
        return self.validation or self.train


@dataclass(frozen=True, eq=False)
class Tried:
    """The training from some first weights; ``verdict`` is missing if it was stopped early."""

    seed: int | None
    curve: Curve
    weights: dict[str, Any]
    verdict: Verdict | None = None
    error: DivergedError | None = None

    @property
    def loss(self) -> float:
        """The lowest loss, that of a training that came to an end."""
        return self.curve.judged[self.curve.best] if self.error is None else math.inf

    def is_good(self, unexplained: float) -> bool:
        """Whether the labels are explained."""
        return self.verdict is not None and self.verdict.unexplained.left <= unexplained

    def start(self, kept: bool) -> Start:
        """Return the record."""
        loss = self.loss if self.error is None else None
        known = self.seed, loss, len(self.curve.train)
        if self.verdict is None:
            return Start(*known, None, kept)
        share = self.verdict.unexplained
        return Start(*known, share.left, kept, share.kind)


@dataclass(frozen=True, eq=False)
class Loop:
    """Epochs of an optimizer, until nothing gets better any more."""

    problem: Problem
    judge: Problem | None
    options: TrainingOptions

    def best(self, seed: int, given: bool, progress: Progress | None) -> Curve:
        """Fit from the weights that the potential has, and from others while that fails.

        Parameters
        ----------
        given
            Whether the weights are those of another training, or the first ones of ``seed``.
        """
        best = self.run(None if given else seed, seed, progress)
        tried = [best]
        while len(tried) < self.options.starts and not best.is_good(self.options.unexplained):
            tried.append(self.run_afresh(start_seed(seed, len(tried)), best, progress))
            alike = abs(tried[-1].loss - best.loss) < ALIKE * best.loss
            best = min(tried, key=lambda one: one.loss)
            if alike and tried[-1].verdict is not None:
                break  # it is the model or the labels, not the start
        if best.error is not None:
            raise best.error
        self.problem.potential.load_state_dict(best.weights)
        return replace(best.curve, starts=[one.start(one is best) for one in tried])

    def run(
        self,
        first: int | None,
        seed: int,
        progress: Progress | None,
        is_hopeless: Callable[[Curve], bool] = lambda _: False,
    ) -> Tried:
        """Fit from the weights that the potential has, those of the seed ``first``."""
        learner = self.problem.potential
        optimizer = plugins.make("optimizers", self.options.optimizer, "optimizer")
        tolerance = self.options.tolerance
        if tolerance is None:
            tolerance = optimizer.TOLERANCE
        curve = Curve([], [], 0)
        best, best_weights, since = math.inf, copy.deepcopy(learner.state_dict()), 0
        losses = _epochs(optimizer, self.problem, self.options.epochs, seed)
        for epoch, loss in enumerate(losses):
            curve.train.append(loss)
            if self.judge is not None:
                loss = _judged(self.judge, self.options.criterion)
                curve.validation.append(loss)
            if not math.isfinite(loss):
                error = DivergedError(f"the loss is {loss} in epoch {epoch + 1}")
                return Tried(first, curve, best_weights, error=error)
            since = 0 if loss < best * (1 - tolerance) else since + 1
            if loss < best:
                best, curve = loss, replace(curve, best=epoch)
                best_weights = copy.deepcopy(learner.state_dict())
            if progress is not None:
                progress(epoch + 1, loss)
            if self.options.patience is not None and since >= self.options.patience:
                curve = replace(curve, ended="patience")
                break
            if is_hopeless(curve):
                return Tried(first, curve, best_weights)
        else:
            if len(curve.train) == self.options.epochs:
                curve = replace(curve, ended="epochs")
        learner.load_state_dict(best_weights)
        return Tried(first, curve, best_weights, Verdict.of(self.problem))

    def run_afresh(self, seed: int, rival: Tried, progress: Progress | None) -> Tried:
        """Fit from other first weights, as long as they promise to come below ``rival``."""
        learner, losses = self.problem.potential, rival.curve.judged
        look = max(PROBE, len(losses) // 3)
        lowest = rival.loss

        def tell(epoch: int, loss: float) -> None:
            nonlocal lowest
            if loss < lowest:  # these weights are worth to be kept by who is told
                lowest = loss
                if progress is not None:
                    progress(epoch, loss)

        def is_hopeless(curve: Curve) -> bool:
            if rival.error is not None or len(curve.judged) != look:
                return False
            return min(curve.judged) >= max(PROMISING * min(losses[:look]), rival.loss)

        try:
            learner.load_state_dict(first_weights(learner, seed))
            learner.initialise(self.problem.prepared, self.problem.targets, seed)
            return self.run(seed, seed, tell, is_hopeless)
        except BaseException:  # an interrupted training leaves the best weights that there are
            if not lowest < rival.loss:
                learner.load_state_dict(rival.weights)
            raise


def _epochs(optimizer: Optimizer, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
    with plugins.named("optimizers", optimizer, *plugins.NUMERICAL):
        yield from optimizer.run(problem, epochs, seed)


def first_weights(potential: Potential, seed: int) -> dict[str, Any]:
    """Return first weights of a potential like this one, of its reference energies."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other = from_config(potential.config())
    other.references = dict(potential.references)
    return other.state_dict()


def start_seed(seed: int, start: int) -> int:
    """Return the seed of the first weights of another start, unlike those of members."""
    return int(np.random.SeedSequence(seed, spawn_key=(start,)).generate_state(1)[0])


def training_warnings(
    curves: Sequence[Curve], options: TrainingOptions, graph: Graph, cutoff: float
) -> list[str]:
    """Warn of lone atoms, of labels that are explained badly, and of too few epochs."""
    said = []
    alone = [chemical_symbols[z] for z in without_neighbours(graph)]
    if not graph.pairs.shape[1]:
        said.append(
            f"no two atoms are within the cutoff, {cutoff:g} Å, of each other: nothing but the "
            "energies of the elements was learned"
        )
    elif alone:
        said.append(
            f"no atom of {alone} has a neighbour within the cutoff, {cutoff:g} Å: of these nothing "
            "but the energy of the element was learned"
        )
    for k, curve in enumerate(curves):
        who = f"member {k} of the committee" if len(curves) > 1 else "the potential"
        kept, left, n = curve.kept, curve.unexplained, len(curve.starts)
        if left > options.unexplained:
            what = kept.unexplained_of
            advice = "more epochs, another optimizer, a larger model or another seed may help"
            if what != "labels":
                advice = (
                    "energies, forces and stresses may contradict each other (by units, signs, "
                    "the order of atoms or of structures), "
                    f"or {what} count too little in the loss"
                )
            said.append(
                f"{who} has learned "
                + ("nothing" if left > 0.99 else "badly")
                + f": {left:.2g} of the variance of the {what} is left unexplained, the best of "
                f"{n} start{'s' if n > 1 else ''}; {advice}"
            )
        elif kept is not curve.starts[0]:
            first = curve.starts[0]
            what = "the weights given" if first.seed is None else f"the seed {first.seed}"
            end = "diverged" if first.loss is None else f"stalled at a loss of {first.loss:.3g}"
            said.append(
                f"{who} has begun afresh: the training from {what} {end}, that from the seed "
                f"{kept.seed} came to {kept.loss:.3g}"
            )
    short = [k for k, curve in enumerate(curves) if curve.ended == "epochs"]
    if short and options.patience is not None:
        who = f"of the members {short} " if len(curves) > 1 else ""
        said.append(
            f"the training {who}ended at its limit of {options.epochs} epochs, not because nothing "
            "got better any more"
        )
    return said


def _judged(judge: Problem, criterion: str) -> float:
    """Choose the part of a validation set that decides."""
    if criterion == "mae":
        return judge.mean_absolute_errors()
    with torch.no_grad():
        return float(judge.loss())
