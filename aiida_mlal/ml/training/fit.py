"""The one loop that fits every potential."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.doubtful_labels import doubtful_labels
from aiida_mlal.ml.labelling.outliers import outlying
from aiida_mlal.ml.lengths import doubtful_lengths
from aiida_mlal.ml.metrics import errors
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import Adapts
from aiida_mlal.ml.models.ensemble import member_seed
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.models.references import regress
from aiida_mlal.ml.stopping import end_with_parent
from aiida_mlal.ml.training.loop import Curve, Loop, Progress, training_warnings
from aiida_mlal.ml.training.options import TrainingOptions
from aiida_mlal.ml.training.problem import Problem
from aiida_mlal.ml.training.unseen import unseen
from aiida_mlal.ml.uncertainty.committee import equal_members
from aiida_mlal.ml.uncertainty.domain import Domain

EVERY = 1.0
"""Seconds between two looks at the members of an ensemble that learn side by side."""

_PRECISIONS = {"single": torch.float32, "double": torch.float64}


@dataclass(frozen=True)
class TrainingRecord:
    """Learning curves, errors and warnings of a training.

    Attributes
    ----------
    curves
        One for each potential that was fitted: each member of an ensemble.
    errors
        ``{"train": ..., "validation": ...}`` as from ``ml.metrics.errors``; validation may be None.
    learned
        Whether all potentials explain the labels as the options want it: false where one leaves
        more than ``unexplained`` of their variance, or misses energies, forces or stresses.
    warnings
        What is doubtful about it, in sentences.
    """

    curves: list[Curve]
    errors: dict[str, Any]
    n_structures: int
    n_parameters: int
    learned: bool = True
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)


def fit(
    potential: Potential,
    configurations: Configurations,
    options: TrainingOptions,
    seed: int,
    initialise: bool = True,
    progress: Progress | None = None,
    validation: Configurations | None = None,
) -> TrainingRecord:
    """Fit the weights of ``potential`` in place to the labels that are good to learn from.

    Each element of the labels that has no reference energy yet gets one, by a regression of the
    energies on the compositions. Terms of a sum without weights, the priors, are subtracted from
    the labels once; the weights learn the rest. Members of an ensemble learn from bootstrap
    samples, side by side on the cores that there are. With ``initialise`` false the scales and
    weights that the potential has are the start. Labels of ``validation`` are not learned from but
    decide which weights are kept; without it a share of the structures does, if the options say so.

    Raises
    ------
    ValueError
        If there is nothing to learn from, a label is not finite, two validation sets are asked
        for, or there is no such device here.
    DivergedError
        If the loss stops being finite.
    """
    learnable = configurations.learnable
    if not len(learnable):
        raise ValueError(
            f"there is nothing to learn from: of {len(configurations)} structures none has a "
            "label with status 'ok'"
        )
    learnable.check_labels()
    if not potential_parameters(potential):
        raise ValueError(f"the potential {potential.config()['architecture']!r} has no weights")
    if validation is None:
        train, judges = split(len(learnable), options.validation, seed)
    else:
        if options.validation:
            raise ValueError(
                f"validation: a set is given, so that no share of the structures (got "
                f"{options.validation:g}) can be one"
            )
        train = np.arange(len(learnable))
        learnable = Configurations.concatenate([learnable, validation.learnable])
        judges = np.arange(len(train), len(learnable))
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"training.device: 'cuda' is asked for, and torch {torch.__version__} finds no CUDA "
            "device here: choose 'cpu', or a computer that has one, with a torch built for CUDA"
        )
    precision = options.precision
    potential.to(options.device, _PRECISIONS[precision] if precision else potential.dtype)
    Domain.of(potential, learnable[train]).store(potential)
    learner, targets = _beyond_priors(potential, learnable)
    graph = learner.graph(learnable)
    first = learner.members[0]
    beyond = targets.energies.numpy(force=True)[train]
    for member in learner.members:
        _refer(member, learnable[train], beyond, initialise)
    prepared = first.prepare(graph)
    fitting = _Fitting(prepared, targets, options, initialise, train, judges)
    if first is not learner:
        curves = _fit_members(fitting, learner, seed, progress)
    else:
        fitting.begin(learner, train, seed)
        curves = [fitting.run(learner, train, seed, progress)]
    predicted = potential.to("cpu").predict(learnable)
    measured = {
        name: _errors(predicted[part], learnable[part]) if len(part) else None
        for name, part in (("train", train), ("validation", judges))
    }
    said = training_warnings(curves, options, prepared.take(train).graph, first.cutoff)
    said += unseen(learnable[train]) + outlying(learnable[train])
    said += doubtful_lengths(learnable[train]) + doubtful_labels(learnable[train])
    learned = all(curve.unexplained <= options.unexplained for curve in curves)
    said += equal_members(potential)
    optimizer = plugins.make("optimizers", options.optimizer, "optimizer")
    said += [remark for member in learner.members for remark in optimizer.remarks(member)]
    if options.validation and not len(judges):
        said.append(
            f"no structure is left for validation: a share of {options.validation:g} of "
            f"{len(learnable)} is none"
        )
    n_weights = potential_parameters(potential)
    return TrainingRecord(curves, measured, len(train), n_weights, learned, said)


def potential_parameters(potential: Potential) -> int:
    """Return the number of weights that training may change."""
    return sum(p.numel() for p in potential.parameters() if p.requires_grad)


@dataclass(frozen=True, eq=False)
class _Fitting:
    prepared: Prepared
    targets: Prediction
    options: TrainingOptions
    initialise: bool
    train: np.ndarray
    validation: np.ndarray

    def begin(self, learner: Potential, sample: np.ndarray, seed: int) -> None:
        """Give a potential its first weights, if it shall not keep those that it has."""
        if self.initialise:
            known = self._problem(learner, sample)
            learner.initialise(known.prepared, known.targets, seed)

    def run(
        self, learner: Potential, sample: np.ndarray, seed: int, progress: Progress | None = None
    ) -> Curve:
        """Fit one potential to a sample of the structures, which may repeat."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.options.threads)
        try:
            return self._run(learner, sample, seed, progress)
        finally:
            torch.set_num_threads(threads)

    def _run(
        self, learner: Potential, sample: np.ndarray, seed: int, progress: Progress | None
    ) -> Curve:
        problem = self._problem(learner, sample)
        judge = self._problem(learner, self.validation) if len(self.validation) else None
        loop = Loop(problem, judge, self.options)
        return loop.best(seed, not self.initialise, progress)

    def _problem(self, learner: Potential, structures: np.ndarray) -> Problem:
        targets = learner.relative(self.prepared.graph, self.targets)
        return Problem(learner, self.prepared, targets, self.options.loss).take(structures)


def bootstrap(n: int, seed: int) -> np.ndarray:
    """Return ``n`` draws with replacement out of ``n``."""
    return np.sort(np.random.default_rng(seed).integers(n, size=n))


def _fit_members(
    fitting: _Fitting, ensemble: Potential, seed: int, progress: Progress | None
) -> list[Curve]:
    jobs = []
    for k, member in enumerate(ensemble.members):
        own, sample = member_seed(seed, k), fitting.train
        if fitting.options.bootstrap:
            sample = sample[bootstrap(len(sample), own)]
        jobs.append(_Job(fitting, member, sample, own))
    try:
        return _run_jobs(jobs, progress)
    except BaseException:  # an interrupted training leaves what its members learned
        for job in jobs:
            job.restore()
        raise


def _run_jobs(jobs: Sequence["_Job"], progress: Progress | None) -> list[Curve]:
    options = jobs[0].fitting.options
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    on_gpu = jobs[0].fitting.prepared.graph.vectors.is_cuda
    if on_gpu or workers == 1 or options.threads > 1:  # OpenMP does not survive a fork
        return [job.run(lambda: _tell(jobs, progress)) for job in jobs]
    with warnings.catch_warnings():
        # Python 3.12 warns of the idle threads that torch has; in a child there is only one
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        with ProcessPoolExecutor(workers, get_context("fork"), _inherit, (jobs,)) as pool:
            running = [pool.submit(_run_inherited, k) for k in range(len(jobs))]
            while wait(running, EVERY, FIRST_EXCEPTION).not_done:
                _tell(jobs, progress)
                if any(one.done() and one.exception() for one in running):
                    break
            curves = [one.result() for one in running]
    for job in jobs:
        job.restore()
    return curves


def _tell(jobs: Sequence["_Job"], progress: Progress | None) -> None:
    """Report the epochs that all members have, and the mean loss of those that have begun."""
    epochs, losses = torch.stack([job.reached for job in jobs]).T
    if progress is not None and epochs.any():
        progress(int(epochs.min()), float(losses[epochs > 0].mean()))


class _Job:
    """The training of one member, whose weights can be seen from the process that forked."""

    def __init__(self, fitting: _Fitting, member: Potential, sample: np.ndarray, seed: int) -> None:
        self.fitting, self.member, self.sample, self.seed = fitting, member, sample, seed
        fitting.begin(member, sample, seed)
        self.weights = {k: w.clone().share_memory_() for k, w in member.state_dict().items()}
        self.reached = torch.zeros(2, dtype=torch.float64).share_memory_()

    def run(self, tell: Callable[[], None] = lambda: None) -> Curve:
        """Fit the member, and keep its weights after each epoch."""

        def keep(epoch: int, loss: float) -> None:
            self._keep()
            self.reached[:] = torch.tensor([epoch, loss])
            tell()

        curve = self.fitting.run(self.member, self.sample, self.seed, keep)
        self._keep()
        return curve

    def restore(self) -> None:
        """Give the member the weights that were kept."""
        self.member.load_state_dict(self.weights)

    def _keep(self) -> None:
        for name, value in self.member.state_dict().items():
            self.weights[name].copy_(value)


_jobs: Sequence[_Job] = ()
"""The jobs of a worker, which has them by the fork, without a copy."""


def _inherit(jobs: Sequence[_Job]) -> None:
    global _jobs
    _jobs = jobs
    end_with_parent()


def _run_inherited(index: int) -> Curve:
    return _jobs[index].run()


def _errors(predicted: Configurations, labelled: Configurations) -> dict[str, float]:
    return errors(labelled, predicted.energies, predicted.forces, predicted.stresses)


def split(
    n: int, share: float, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """Split ``n`` structures: indices to learn from, and those of a share for validation."""
    order = np.random.default_rng(seed).permutation(n)
    n_validation = min(round(share * n), n - 1)
    return np.sort(order[n_validation:]), np.sort(order[:n_validation])


def _refer(
    learner: Potential,
    configurations: Configurations,
    beyond: Float[np.ndarray, " structures"],
    initialise: bool,
) -> None:
    """Find a reference energy for each element of the labels that has none.

    It comes of the labels or of what is ``beyond`` the priors (eV), whichever the compositions
    explain better: a rough prior differs by eV/atom between structures of one composition, such as
    a crystal and a slab, a good one has the same reference energies as the labels. Weights that
    are not initialised say something of their own, and so do the reference energies that there are.
    """
    known = np.isfinite(configurations.energies)
    configurations, beyond = configurations[known], beyond[known]
    counts = configurations.composition(learner.elements)
    new = [
        k
        for k, element in enumerate(learner.elements)
        if element not in learner.references and counts[:, k].any()
    ]
    if not new:
        return
    table = learner.reference_table()[0]
    if initialise:
        choices = [configurations.energies - counts @ table, beyond - counts @ table]
    else:
        choices = [beyond - learner.predict(configurations).energies]
    affected = counts[:, new].any(axis=1)
    fits = [regress(counts[affected][:, new], energies[affected]) for energies in choices]
    best = min(fits, key=lambda one: (one.spread, one.departure))
    for k, energy in zip(new, best.energies.tolist()):
        learner.references[learner.elements[k]] = float(table[k]) + energy


def _beyond_priors(
    potential: Potential, configurations: Configurations
) -> tuple[Potential, Prediction]:
    """Find the term that learns, and subtract the predictions of the others from the labels."""
    labels = Prediction(
        *(
            torch.tensor(values, dtype=torch.float64, device=potential.device)
            for values in (configurations.energies, configurations.forces, configurations.stresses)
        )
    )
    if potential.terms == [potential]:
        return potential, labels
    learners = [term for term in potential.terms if potential_parameters(term)]
    if len(learners) != 1:
        raise ValueError(f"a sum can be trained if one term has weights, here {len(learners)} have")
    with torch.no_grad():
        for prior in potential.terms:
            if prior is not learners[0]:
                if isinstance(prior, Adapts):
                    prior.adapt(configurations)
                said = prior(prior.graph(configurations))
                labels = Prediction(
                    labels.energies - said.energies,
                    labels.forces - said.forces,
                    labels.stresses - said.stresses,
                )
    return learners[0], labels
