"""Hyper-parameters of Gaussian processes by the likelihood of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log, nan
from typing import TYPE_CHECKING, cast

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.training.optimizers import Optimizer

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from aiida_mlal.ml.gaussian_process import Hyperparameters, Posterior
    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.models.observed import Process
    from aiida_mlal.ml.sparse_process import SparsePosterior
    from aiida_mlal.ml.training.problem import Problem

BLOCK = 5_000
"""About how many labels are looked at at once where there are too many to be solved for."""

SCALES = (0.05, 50.0)
"""Bounds of length scales, in units of the features."""


LOUD, LOUDEST = 20.0, 100.0
"""Factors of the noise: from which the search begins a second time, and the largest one."""

CONTRADICTORY = 5.0
"""Factor of the noise from which labels are said to contradict each other."""


@dataclass(frozen=True)
class MarginalLikelihood(Optimizer):
    r"""Maximises the likelihood of the labels, then takes the mean of the posterior.

    The parameters are the logarithms of length scales, of the deviation of energies and, if it is
    asked for, of a factor of the noise, 1 or more, with weak normal priors. Length scales that
    nothing was learned about yet begin at the median. An epoch is an iteration of L-BFGS-B; the
    loss of the mean is known after the last.
    Rasmussen and Williams (2006), section 5.4.1.

    Up to ``exact`` labels are solved for, in a time that grows with the cube of their number. Of
    more, the energies of ``inducing`` environments, which are unlike each other, stand for the
    process: it learns from all labels, in a time that grows with their number times the square of
    that of the environments.

    Attributes
    ----------
    energy_noise
        Standard deviation of the energy of a structure, in eV. The likelihood may have it, and that
        of forces and stresses, larger by one factor.
    force_noise
        Of components of forces, in eV/Å.
    stress_noise
        Of components of the stress, in eV/Å³.
    pressure
        Standard deviation of a pressure, in eV/Å³, by which the energies of all periodic structures
        and their stresses disagree, as with plane waves up to a cutoff (Pulay stress). Stresses are
        believed, energies at the mean volume of structures of one composition that are not as far
        apart as a slab in vacuum from a crystal.
    offset
        Standard deviation of the constant of each element, in eV.
    length
        Where the prior of length scales has its median, in units of the features.
    width
        Standard deviation of the prior of their logarithms.
    displacement
        Where it is given, the median is not ``length`` but how much the features of atoms change
        if all atoms move by so many Å at random: the root of the mean square over the atoms of an
        element in what is learned from.
    deviation
        Where the prior of the standard deviation of the energy of an atom has its median, in eV.
    deviation_width
        Standard deviation of the prior of its logarithm; without it all are as likely.
    noise_width
        The same of the logarithm of the factor of the noise of energies, forces and stresses, such
        as 3; without it they are as given. Labels of plane waves up to a low cutoff contradict each
        other by some 0.02 eV/Å, which nothing but noise explains. Smaller forces are not followed.
    sample
        Most labels (energies, components of forces and stresses) that the parameters are found by;
        of more, those of structures at random.
    exact
        Most labels that are solved for.
    inducing
        Most environments that stand for the process where there are more labels.
    """

    energy_noise: float = 1e-4
    force_noise: float = 1e-3
    stress_noise: float = 1e-4
    pressure: float = 0.01
    offset: float = 10.0
    length: float = 5.0
    width: float = 0.3
    displacement: float | None = None
    deviation: float = 1.0
    deviation_width: float | None = None
    noise_width: float | None = None
    sample: int = 4000
    exact: int = 12_000
    inducing: int = 1000

    def __post_init__(self) -> None:
        """Refuse what is no scale."""
        names = (
            "energy_noise",
            "force_noise",
            "stress_noise",
            "pressure",
            "offset",
            "length",
            "width",
        )
        given = ("displacement", "deviation_width", "noise_width")
        optional = (name for name in given if getattr(self, name) is not None)
        check_positive(self, *names, "deviation", "sample", "exact", "inducing", *optional)

    def check_model(self, model: ModelOptions) -> None:
        """Want a Gaussian process."""
        from aiida_mlal.ml.models.capabilities import HasProcess

        model.require(HasProcess)

    def remarks(self, potential: Potential) -> list[str]:
        """Say how much labels contradict each other, where the likelihood found it."""
        from aiida_mlal.ml.models.capabilities import HasProcess, require

        energy, force = require(potential, HasProcess).process().noise[:2].tolist()
        if not force > CONTRADICTORY * self.force_noise:
            return []
        return [
            f"labels contradict each other by about {force:.2g} eV/Å, and {energy:.2g} eV: smaller "
            "forces than that are those of the noise, as of a cutoff or a grid that is too coarse"
        ]

    def run(self, problem: Problem, epochs: int, seed: int) -> Iterator[float]:
        """Yield the loss of the mean of the posterior, once."""
        import numpy as np
        import torch
        from scipy.optimize import minimize

        from aiida_mlal.ml.gaussian_process import Hyperparameters, Posterior
        from aiida_mlal.ml.models.descriptor import Described
        from aiida_mlal.ml.models.gp import BEGIN
        from aiida_mlal.ml.models.observed import Process, observed, sensitivities

        process = problem.potential
        if not isinstance(process, Process):
            raise ValueError(
                "marginal_likelihood is for Gaussian processes, such as 'gp', this is "
                f"{problem.potential.config()['architecture']!r}"
            )
        weights = problem.weights
        noise = torch.tensor(
            [
                sigma if weight else 0.0
                for sigma, weight in (
                    (self.energy_noise, weights.energy),
                    (self.force_noise, weights.force),
                    (self.stress_noise, weights.stress),
                    (self.pressure, weights.stress),
                )
            ]
        )
        process.noise.copy_(noise)
        sample = self._sample(problem, process.noise, seed)
        described = cast(Described, sample.prepared)
        known = observed(described, sample.targets, process.noise)
        numbers = [process.lengths, *(one.features for one in known.structures)]
        if not all(bool(part.isfinite().all()) for part in numbers):
            yield nan
            return
        lengths = np.full(process.lengths.shape, self.length)
        if self.displacement is not None:
            lengths = self.displacement * sensitivities(described, process).numpy()
        median = np.log([*lengths.flatten(), self.deviation**2])
        widths = np.full_like(median, self.width)
        widths[-1] = np.inf if self.deviation_width is None else 2 * self.deviation_width
        n_lengths = lengths.size
        if self.noise_width is not None:
            median, widths = np.append(median, 0.0), np.append(widths, 2 * self.noise_width)

        def posterior(parameters: np.ndarray) -> Posterior:
            hyperparameters = torch.from_numpy(np.exp(parameters))
            if process.lengths.requires_grad:
                with torch.no_grad():
                    lengths = hyperparameters[:n_lengths].reshape(process.lengths.shape)
                    process.lengths.copy_(lengths)
            variance, noise = hyperparameters[n_lengths], hyperparameters[n_lengths + 1 :]
            prior = Hyperparameters(process.scales.detach(), variance, self.offset**2)
            louder = known._replace(noise=known.noise * noise.prod().sqrt())
            return Posterior(*louder, prior)

        def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
            now = posterior(parameters)
            by_scales, by_variance, by_noise = now.gradient()
            with torch.enable_grad():
                by_lengths = torch.autograd.grad(process.scales, process.lengths, by_scales)[0]
            slope = torch.cat([by_lengths.flatten(), by_variance[None]]).numpy()
            slope = np.append(slope * np.exp(parameters[: len(slope)]), float(by_noise))
            slope = slope[: len(parameters)]
            away = (parameters - median) / widths
            return now.loss + float(away @ away) / 2, slope + away / widths

        best = torch.cat([process.lengths.detach().flatten(), process.variance[None]]).log().numpy()
        noises: list[list[float]] = [[]]
        if self.noise_width is not None:  # optima of little noise and short lengths, and of more
            noises = [[0.0], [2 * log(LOUD)]]
        if process.lengths.requires_grad:
            if bool((process.lengths == BEGIN).all()):
                best[:-1] = median[:n_lengths]
            scales = (log(SCALES[0]), log(SCALES[1]))
            bounds: list[tuple[float | None, float | None]] = [scales] * n_lengths
            bounds += [(None, None), (0.0, 2 * log(LOUDEST))]
            optima = [
                minimize(
                    loss,
                    [*best, *noise],
                    jac=True,
                    method="L-BFGS-B",
                    bounds=bounds[: len(median)],
                    options={"maxiter": epochs},
                )
                for noise in noises
            ]
            best = min(optima, key=lambda optimum: float(optimum.fun)).x
        factor = float(np.exp(best[n_lengths + 1 :].sum() / 2))
        process.noise[:3] *= factor
        with torch.no_grad():
            found: Posterior | SparsePosterior = posterior(best)
            if sample is not problem:
                found = self._of_all(problem, process, found.prior)
            process.learn(found)
            yield float(problem.loss())

    def _sample(self, problem: Problem, noise: Tensor, seed: int) -> Problem:
        """Return what the parameters are found by: all of a problem, or structures at random."""
        import numpy as np

        from aiida_mlal.ml.models.observed import count

        counts = count(problem.prepared.graph, problem.targets, noise).numpy()
        if counts.sum() <= min(self.sample, self.exact):
            return problem
        order = np.random.default_rng(seed).permutation(len(counts))
        n = max(1, int((counts[order].cumsum() <= self.sample).sum()))
        if counts[order[:n]].sum() > self.exact:
            raise ValueError(
                f"a structure has {counts[order[0]]} labels (energy, components of forces and "
                f"stress), more than the {self.exact} that marginal_likelihood solves for: give a "
                "larger 'exact', or choose another model"
            )
        return problem.take(np.sort(order[:n]))

    def _of_all(
        self, problem: Problem, process: Process, prior: Hyperparameters
    ) -> Posterior | SparsePosterior:
        """Learn from all structures, if need be by some environments that stand for the process."""
        from aiida_mlal.ml.gaussian_process import Posterior
        from aiida_mlal.ml.models.descriptor import Described
        from aiida_mlal.ml.models.observed import Observed, Observing, count, observed
        from aiida_mlal.ml.models.reference_volumes import ReferenceVolumes
        from aiida_mlal.ml.sparse_process import Inducing, SparsePosterior

        described, targets = cast(Described, problem.prepared), problem.targets
        if count(described.graph, targets, process.noise).sum() <= self.exact:
            return Posterior(*observed(described, targets, process.noise), prior)
        every = Inducing.of(described.features, described.species, prior.lengths)
        reference = ReferenceVolumes.of(described.graph, targets)

        def parts() -> Iterator[Observed]:
            for block in problem.blocks(BLOCK):
                part = cast(Described, block.prepared)
                yield observed(part, block.targets, process.noise, reference)

        return SparsePosterior(every.most_different(self.inducing), Observing(parts), prior)
