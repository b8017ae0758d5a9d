r"""Gaussian-process regression on atomic environments, labels being energies and derivatives.

The energy of a structure is a sum over its atoms of a function of their features, one function for
each element. A Gaussian process is the prior of these, with the squared-exponential covariance

.. math::  k(x, y) = \sigma^2 \exp(-|x - y|^2 / 2)

of features in units of their length scales, and a constant for each element that is nearly free.
All that is observed of it is linear: an observation is a sum over the atoms of a structure of the
function (an energy) or of its slopes along some directions (components of forces, virials). So the
covariances of observations are sums of covariances of environments and of their derivatives.
C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
sections 2.2, 2.7, 5.4.1 and 9.4; A. P. Bartók and G. Csányi, Int. J. Quantum Chem. 115, 1051
(2015).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Observations:
    """What is observed of the environments of one structure.

    Attributes
    ----------
    features
        Of each atom.
    species
        The row of each atom's element.
    sums
        The first so many observations, 0 or 1, are the energy.
    slopes
        Directions in the space of features, of each atom, for each of the other observations.
    """

    features: Float[Tensor, "atoms features"]
    species: Int[Tensor, " atoms"]
    sums: int
    slopes: Float[Tensor, "derivatives atoms features"]

    def __len__(self) -> int:
        """Return the number of observations."""
        return self.sums + len(self.slopes)

    def scaled(self, lengths: Float[Tensor, "elements features"]) -> "Observations":
        """Return the same in units of the length scales of each element."""
        mine = lengths[self.species]
        return Observations(self.features / mine, self.species, self.sums, self.slopes / mine)

    def composition(self, n_elements: int) -> Float[Tensor, "observations elements"]:
        """Return how many atoms of each element are in each observation: none in a derivative."""
        found = self.features.new_zeros(len(self), n_elements)
        found[: self.sums] = torch.bincount(self.species, minlength=n_elements).to(found)
        return found

    @cached_property
    def along(self) -> Float[Tensor, "derivatives atoms"]:
        """Products of slopes and features."""
        return torch.einsum("raf,af->ra", self.slopes, self.features)


class Hyperparameters(NamedTuple):
    """Of the prior.

    Attributes
    ----------
    lengths
        Length scales of the features, for each element.
    variance
        Of the energy of an atom, in eV².
    offset
        Variance of the constant of each element, in eV².
    """

    lengths: Float[Tensor, "elements features"]
    variance: Float[Tensor, ""]
    offset: float


def covariance(one: Observations, other: Observations) -> Float[Tensor, "observations others"]:
    """Return the covariances of observations of two structures, features scaled, variance 1."""
    x, y = one.features, other.features
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
    k = torch.exp(-squares.clamp(min=0) / 2) * (one.species[:, None] == other.species)
    # slopes of each along the difference of two environments
    left = one.along[:, :, None] - torch.einsum("raf,bf->rab", one.slopes, y)
    right = torch.einsum("af,sbf->sab", x, other.slopes) - other.along[:, None]
    beside = torch.einsum("sab,ab->s", right, k)[None]
    below = -torch.einsum("rab,ab->r", left, k)[:, None]
    spread = torch.einsum("ab,sbf->saf", k, other.slopes)
    both = one.slopes.flatten(1) @ spread.flatten(1).T - (left * k).flatten(1) @ right.flatten(1).T
    energies = k.sum().reshape(1, 1)
    upper = torch.cat([energies[:, : other.sums], beside], dim=1)[: one.sums]
    return torch.cat([upper, torch.cat([below[:, : other.sums], both], dim=1)])


def pairs(observed: Sequence[Observations]) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield every two structures once, and where their observations stand among all."""
    ends = [0]
    for one in observed:
        ends.append(ends[-1] + len(one))
    parts = [slice(*pair) for pair in pairwise(ends)]
    for i in range(len(parts)):
        for j in range(i, len(parts)):
            yield i, j, parts[i], parts[j]


class Conditioned:
    """A process after observations, as far as variances go: they depend on no value.

    Parameters
    ----------
    observed
        Structures, their features not scaled.
    prior
        Before the observations.
    factor
        The lower Cholesky factor of the covariance matrix of the observations and their noise.
    """

    def __init__(
        self,
        observed: Sequence[Observations],
        prior: Hyperparameters,
        factor: Float[Tensor, "observations observations"],
    ) -> None:
        self.prior, self.factor = prior, factor
        self.observed = [one.scaled(prior.lengths) for one in observed]
        self.composition = torch.cat([one.composition(len(prior.lengths)) for one in observed])

    def covariance(self, query: Observations) -> Float[Tensor, "queries queries"]:
        """Return the covariances of what would be observed elsewhere, in the units of values."""
        prior = self.prior
        mine = query.scaled(prior.lengths)
        known = prior.variance * torch.cat([covariance(mine, one) for one in self.observed], dim=1)
        counts = query.composition(len(prior.lengths))
        known = known + prior.offset * counts @ self.composition.T
        before = prior.variance * covariance(mine, mine) + prior.offset * counts @ counts.T
        halves = torch.linalg.solve_triangular(self.factor, known.T, upper=False)
        return before - halves.T @ halves


class Posterior(Conditioned):
    """The process after observations of values.

    Parameters
    ----------
    observed
        Structures, their features not scaled.
    values
        Of all observations.
    noise
        Standard deviation of each.
    prior
        Before the observations.
    """

    def __init__(
        self,
        observed: Sequence[Observations],
        values: Float[Tensor, " observations"],
        noise: Float[Tensor, " observations"],
        prior: Hyperparameters,
    ) -> None:
        super().__init__(observed, prior, values.new_empty(0, 0))
        self.values = values
        self.unit = values.new_empty(len(values), len(values))
        for i, j, rows, columns in pairs(self.observed):
            block = covariance(self.observed[i], self.observed[j])
            self.unit[rows, columns], self.unit[columns, rows] = block, block.T
        whole = prior.variance * self.unit + prior.offset * self.composition @ self.composition.T
        whole.diagonal().add_(noise**2)
        self.factor = cholesky(whole, JITTER * prior.variance)
        self.weights: Tensor = torch.cholesky_solve(values[:, None], self.factor)[:, 0]

    @property
    def loss(self) -> float:
        """Minus the logarithm of the marginal likelihood, a constant left out."""
        return float(self.values @ self.weights / 2 + self.factor.diagonal().log().sum())

    def gradient(self) -> tuple[Float[Tensor, "elements features"], Float[Tensor, ""]]:
        """Return the derivatives of the loss by the length scales and by the variance."""
        inverse = torch.cholesky_inverse(self.factor)
        by_covariance = (inverse - self.weights[:, None] * self.weights) / 2
        by_variance = (by_covariance * self.unit).sum() + JITTER * by_covariance.trace()
        by_lengths = torch.zeros_like(self.prior.lengths)
        for i, j, rows, columns in pairs(self.observed):
            weight = by_covariance[rows, columns] * (self.prior.variance * (1 if i == j else 2))
            with torch.enable_grad():
                lengths = torch.ones_like(self.prior.lengths).requires_grad_()
                one, other = (self.observed[k].scaled(lengths) for k in (i, j))
                block = (covariance(one, other) * weight).sum()
                by_lengths += torch.autograd.grad(block, lengths)[0]
        return by_lengths / self.prior.lengths, by_variance


def cholesky(
    whole: Float[Tensor, "observations observations"], jitter: Float[Tensor, ""]
) -> Float[Tensor, "observations observations"]:
    """Return the lower Cholesky factor of a matrix and so much on its diagonal, or more if needed.

    Raises
    ------
    torch.linalg.LinAlgError
        If a hundred thousand times as much is not enough either.
    """
    for _ in range(6):
        whole.diagonal().add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(whole)
        if not bool(failed):
            break
        jitter = 10 * jitter
    return factor if not bool(failed) else torch.linalg.cholesky(whole)


JITTER = 1e-10
"""Added to the diagonal, in units of the variance: what rounding leaves undecided."""
