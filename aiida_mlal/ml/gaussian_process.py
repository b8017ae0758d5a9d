r"""Gaussian-process regression on atomic environments, labels being energies and derivatives.

The energy of a structure is a sum over its atoms of a function of their features, one function for
each element. A Gaussian process is the prior of these, with the squared-exponential covariance

.. math::  k(x, y) = \sigma^2 \exp(-|x - y|^2 / 2)

of features in units of their length scales, and a constant for each element that is nearly free.
All that is observed of it is linear: an observation :math:`r` is a sum over the atoms :math:`a` of
a structure of the function times a height :math:`h_r` (1 for an energy), and of its derivative
along a slope :math:`s_{ra}` (for components of forces, virials). So the covariances of
observations of two structures are

.. math::

    C_{rq} &= \sum_{ab} k_{ab} [s_{ra} \cdot t_{qb} + A_{rab} B_{qab}] \\
    A_{rab} &= h_r - s_{ra} \cdot (x_a - y_b), \quad B_{qab} = h_q + t_{qb} \cdot (x_a - y_b)

over atoms of the same element. C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for
Machine Learning, MIT Press (2006), sections 2.2, 2.7, 5.4.1 and 9.4; A. P. Bartók and G. Csányi,
Int. J. Quantum Chem. 115, 1051 (2015).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

TOGETHER = 2**18
"""How many numbers an intermediate result for several structures may have (2 MiB in float64)."""


@dataclass(frozen=True, eq=False)
class Observations:
    """What is observed of the environments of one structure, or of several of the same atoms.

    Attributes
    ----------
    features
        Of each atom.
    species
        The row of each atom's element.
    heights
        What the energy counts in each observation.
    slopes
        Directions in the space of features, of each atom, along which derivatives are observed.
    """

    features: Float[Tensor, "*structures atoms features"]
    species: Int[Tensor, " atoms"]
    heights: Float[Tensor, " observations"]
    slopes: Float[Tensor, "*structures observations atoms features"]

    def __len__(self) -> int:
        """Return the number of observations, of all structures."""
        return self.slopes.shape[:-2].numel()

    def scaled(self, lengths: Float[Tensor, "elements features"]) -> "Observations":
        """Return the same in units of the length scales of each element."""
        mine = lengths[self.species]
        return Observations(self.features / mine, self.species, self.heights, self.slopes / mine)

    def composition(self, n_elements: int) -> Float[Tensor, "observations elements"]:
        """Return the number of atoms of each element in each observation of one structure."""
        return self.heights[:, None] * torch.bincount(self.species, minlength=n_elements)

    @cached_property
    def along(self) -> Float[Tensor, "*structures observations atoms"]:
        """Products of slopes and features."""
        return (self.slopes * self.features.unsqueeze(-3)).sum(-1)

    @cached_property
    def outer(self) -> Float[Tensor, "features atoms*observations"]:
        """Slopes of one structure, in the order in which features of others meet them."""
        return self.slopes.permute(2, 1, 0).flatten(1).contiguous()

    @cached_property
    def inner(self) -> Float[Tensor, "atoms features*observations"]:
        """Slopes of one structure, in the order in which atoms of others meet them."""
        return self.slopes.permute(1, 2, 0).flatten(1).contiguous()

    def take(self, structures: int | slice) -> "Observations":
        """Return one or some of several structures."""
        return Observations(
            self.features[structures], self.species, self.heights, self.slopes[structures]
        )

    @classmethod
    def stack(cls, alike: Sequence["Observations"]) -> "Observations":
        """Return structures of the same atoms, and as many observations each, as one."""
        return cls(
            torch.stack([one.features for one in alike]),
            alike[0].species,
            alike[0].heights,
            torch.stack([one.slopes for one in alike]),
        )


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

    def covariance(self, one: Observations) -> Float[Tensor, "observations observations"]:
        """Compute the covariances of observations of a scaled structure before any other."""
        counts = one.composition(len(self.lengths))
        return self.variance * covariance(one, one) + self.offset * counts @ counts.T

    def variances(self, one: Observations) -> Float[Tensor, " observations"]:
        """Compute the diagonal of ``covariance`` alone, which costs less."""
        counts = one.composition(len(self.lengths))
        return self.variance * variances(one) + self.offset * counts.square().sum(1)


class Mean(NamedTuple):
    r"""The mean of a process after observations, as a function of the features of an atom.

    It is :math:`c + \sigma^2 \sum_b k(x, x_b) [h_b + (x - x_b) \cdot s_b]` over environments of the
    element of the atom, features in units of their length scales.

    Attributes
    ----------
    environments
        Their features, not scaled.
    species
        The row of the element of each.
    heights, slopes
        What they add. Slopes are by features in units of their length scales.
    constants
        Of each element, in eV.
    """

    environments: Float[Tensor, "environments features"]
    species: Int[Tensor, " environments"]
    heights: Float[Tensor, " environments"]
    slopes: Float[Tensor, "environments features"]
    constants: Float[Tensor, " elements"]


class Foretold(NamedTuple):
    """What observations of all other structures tell of those of one.

    Attributes
    ----------
    heights
        What the energy counts in each observation.
    precision
        The inverse of the covariance matrix of their errors, noise included.
    pull
        The precision times the errors.
    unexplained
        Variance of each that no other structure could tell of.
    """

    heights: Float[Tensor, " observations"]
    precision: Float[Tensor, "observations observations"]
    pull: Float[Tensor, " observations"]
    unexplained: Float[Tensor, " observations"]


class Beside:
    """One structure beside several that are alike, features scaled, variance 1.

    Axes are those of the module's equations, in this order: n structures, their observations q,
    their atoms b; atoms a of the one, features f, observations r of the one.
    """

    def __init__(self, one: Observations, others: Observations) -> None:
        self.one, self.others = one, others
        x, y = one.features, others.features.flatten(0, 1)
        n, n_features = len(others.features), x.shape[1]
        self.apart = x.T - y[:, :, None]  # nb f a
        same = others.species.repeat(n)[:, None] == one.species
        self.k = torch.exp(-self.apart.square().sum(1) / 2) * same  # nb a
        along = (y @ one.outer).reshape(len(y), len(x), len(one))
        self.a = along + (one.heights - one.along.T)  # nb a r
        self.ka = self.a * self.k[:, :, None]
        slopes = (self.k @ one.inner).reshape(len(y), n_features, len(one))
        self.slopes = torch.baddbmm(slopes, self.apart, self.ka)  # nb f r
        """Derivatives of the covariances with energies of the others by their features."""

    def covariance(self) -> Float[Tensor, "n q r"]:
        """Return the covariances of all observations."""
        others, n_observations = self.others, len(self.one)
        n = len(others.features)
        energies = self.ka.reshape(n, -1, n_observations).sum(1, keepdim=True)
        slopes = others.slopes.flatten(2) @ self.slopes.reshape(n, -1, n_observations)
        return slopes + others.heights[:, None] * energies

    def by_lengths(
        self, weight: Float[Tensor, "n q r"], n_elements: int
    ) -> Float[Tensor, "elements features"]:
        """Differentiate the covariances, each times its weight, by logarithms of length scales."""
        one, others, k = self.one, self.others, self.k
        x, y = one.features, others.features.flatten(0, 1)
        n, n_features, n_atoms = len(others.features), x.shape[1], len(others.species)
        theirs = (others.slopes.flatten(2).transpose(1, 2) @ weight).reshape(len(y), n_features, -1)
        b = torch.baddbmm(
            (others.heights @ weight).repeat_interleave(n_atoms, 0)[:, None],
            self.apart.transpose(1, 2),
            theirs,
        )  # nb a r
        kp = k * (theirs.flatten(1) @ one.inner.T + (self.a * b).sum(-1))
        kb = (b * k[:, :, None]).flatten(1)  # nb ar
        meet = x.T[:, :, None] * kb.sum(0).reshape(len(x), -1)  # f a r
        meet = meet - (y.T @ kb).reshape(meet.shape)
        of_one = 2 * (meet * one.outer.reshape(meet.shape)).sum(-1).T
        of_others = (self.apart.square() @ kp[:, :, None])[:, :, 0]
        of_others -= 2 * (theirs * self.slopes).sum(-1)
        sums = x.new_zeros(n_elements, n_features).index_add(0, one.species, of_one)
        return sums.index_add(0, others.species.repeat(n), of_others)


def covariance(one: Observations, other: Observations) -> Float[Tensor, "observations others"]:
    """Return the covariances of observations of two structures, features scaled, variance 1."""
    return Beside(one, Observations.stack([other])).covariance()[0].T


def variances(one: Observations) -> Float[Tensor, " observations"]:
    """Return the variances of observations of a structure, features scaled, variance 1."""
    beside = Beside(one, Observations.stack([one]))
    of_slopes = (beside.slopes.reshape(one.inner.shape) * one.inner).reshape(-1, len(one)).sum(0)
    return of_slopes + one.heights * beside.ka.sum((0, 1))


def _kind(one: Observations) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(one.species.tolist()), tuple(one.heights.tolist())


class Conditioned:
    """A process after observations, as far as variances go: they depend on no value.

    Parameters
    ----------
    observed
        Structures, their features not scaled.
    prior
        Before the observations.
    shared
        What a standard deviation of the one error that all share changes of each.
    factor
        The lower Cholesky factor of the covariance matrix of the observations and their noise.
    """

    def __init__(
        self,
        observed: Sequence[Observations],
        prior: Hyperparameters,
        shared: Float[Tensor, " observations"],
        factor: Float[Tensor, "observations observations"],
    ) -> None:
        self.prior, self.shared, self.factor = prior, shared, factor
        alike = [Observations.stack(list(some)) for _, some in groupby(observed, _kind)]
        self.observed = [some.scaled(prior.lengths) for some in alike]
        """Those that follow each other and are alike, together."""
        self.composition = torch.cat([one.composition(len(prior.lengths)) for one in observed])

    def beside(self, one: Observations, first: int = 0) -> Iterator[tuple[slice, Beside]]:
        """Yield a structure, scaled, beside those observed, and which observations theirs are.

        Those before the observation ``first``, where a structure begins, are left out.
        """
        start = 0
        for some in self.observed:
            each, n_structures = len(some.heights), len(some.features)
            most = max(len(one.heights), each) * len(some.species)
            most *= max(len(one.species), some.features.shape[-1])
            step = max(1, TOGETHER // max(1, most))
            passed = max(0, first - start) // max(1, each)
            for low in range(min(passed, n_structures), n_structures, step):
                part = some.take(slice(low, low + step))
                rows = start + low * each
                yield slice(rows, rows + len(part)), Beside(one, part)
            start += len(some)

    def known(self, query: Observations) -> Float[Tensor, "observations queries"]:
        """Compute the covariances between the observations and those of a scaled structure."""
        prior = self.prior
        covariances = [pair.covariance().flatten(0, 1) for _, pair in self.beside(query)]
        counts = query.composition(len(prior.lengths))
        return prior.variance * torch.cat(covariances) + prior.offset * self.composition @ counts.T

    def covariance(self, query: Observations) -> Float[Tensor, "queries queries"]:
        """Compute the posterior covariances of further observations, in the units of values."""
        mine = query.scaled(self.prior.lengths)
        halves = torch.linalg.solve_triangular(self.factor, self.known(mine), upper=False)
        return self.prior.covariance(mine) - halves.T @ halves

    def variances(self, query: Observations) -> Float[Tensor, " queries"]:
        """Compute the diagonal of ``covariance`` alone, which costs less."""
        mine = query.scaled(self.prior.lengths)
        halves = torch.linalg.solve_triangular(self.factor, self.known(mine), upper=False)
        return self.prior.variances(mine) - halves.square().sum(0)

    def extended(
        self,
        observed: Sequence[Observations],
        noise: Float[Tensor, " others"],
        shared: Float[Tensor, " others"],
    ) -> Float[Tensor, "together together"]:
        """Compute the factor with further observations, those known first.

        The time grows with the square of the number of those known, not with its cube.
        """
        others = Posterior(observed, torch.zeros_like(noise), noise, shared, self.prior)
        mine = [self.known(one.scaled(self.prior.lengths)) for one in observed]
        between = torch.cat(mine, dim=1) + self.shared[:, None] * shared
        below = torch.linalg.solve_triangular(self.factor, between, upper=False).T
        alone = others.factor @ others.factor.T  # with what is added to a diagonal
        rounding = ROUNDING * alone.diagonal().max()
        corner = cholesky(alone - below @ below.T, rounding)
        above = torch.zeros_like(below).T
        return torch.cat([torch.cat([self.factor, above], 1), torch.cat([below, corner], 1)])


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
    shared
        What a standard deviation of the one error that all share changes of each.
    prior
        Before the observations.
    """

    def __init__(
        self,
        observed: Sequence[Observations],
        values: Float[Tensor, " observations"],
        noise: Float[Tensor, " observations"],
        shared: Float[Tensor, " observations"],
        prior: Hyperparameters,
    ) -> None:
        super().__init__(observed, prior, shared, values.new_empty(0, 0))
        self.values, self.noise = values, noise
        self.unit = values.new_empty(len(values), len(values))
        for columns, rows, pair in self._pairs():
            block = pair.covariance().flatten(0, 1)
            self.unit[rows, columns], self.unit[columns, rows] = block, block.T
        whole = prior.variance * self.unit + prior.offset * self.composition @ self.composition.T
        whole += shared[:, None] * shared
        whole.diagonal().add_(noise**2)
        self.factor = cholesky(whole, JITTER * prior.variance)
        self.weights: Tensor = torch.cholesky_solve(values[:, None], self.factor)[:, 0]

    @property
    def n_structures(self) -> int:
        """How many structures were observed."""
        return sum(len(some.features) for some in self.observed)

    @property
    def n_labels(self) -> int:
        """How many values were observed."""
        return len(self.values)

    @property
    def mean(self) -> Mean:
        """A sum over all environments that were observed."""
        heights, slopes = [], []
        weights = self.weights.split([len(some) for some in self.observed])
        for some, mine in zip(self.observed, weights):
            each = mine.reshape(len(some.features), -1)
            heights.append((each @ some.heights).repeat_interleave(len(some.species)))
            slopes.append(torch.einsum("nq,nqaf->naf", each, some.slopes).flatten(0, 1))
        species = torch.cat([some.species.repeat(len(some.features)) for some in self.observed])
        scaled = torch.cat([some.features.flatten(0, 1) for some in self.observed])
        constants = self.prior.offset * self.composition.T @ self.weights
        environments = scaled * self.prior.lengths[species]
        return Mean(environments, species, torch.cat(heights), torch.cat(slopes), constants)

    def foretold(self) -> Iterator[Foretold]:
        """Yield each structure as the others foretell it."""
        inverse, start = torch.cholesky_inverse(self.factor), 0
        for some in self.observed:
            for _ in range(len(some.features)):
                mine = slice(start, start := start + len(some.heights))
                pull = self.weights[mine]
                yield Foretold(some.heights, inverse[mine, mine], pull, torch.zeros_like(pull))

    @property
    def loss(self) -> float:
        """Minus the logarithm of the marginal likelihood, a constant left out."""
        return float(self.values @ self.weights / 2 + self.factor.diagonal().log().sum())

    def gradient(
        self,
    ) -> tuple[Float[Tensor, "elements features"], Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the derivatives of the loss.

        By the length scales, by the variance, and by the logarithm of a factor of the variances of
        all noise.
        """
        inverse = torch.cholesky_inverse(self.factor)
        by_covariance = (inverse - self.weights[:, None] * self.weights) / 2
        by_variance = (by_covariance * self.unit).sum() + JITTER * by_covariance.trace()
        by_noise = by_covariance.diagonal() @ self.noise.square()
        by_logarithms = torch.zeros_like(self.prior.lengths)
        for columns, rows, pair in self._pairs():
            shape = len(pair.others.features), len(pair.others.heights), len(pair.one)
            weight = (2 * self.prior.variance * by_covariance[rows, columns]).reshape(shape)
            if rows.start == columns.start:  # the structure itself is there once
                weight[0] /= 2
            by_logarithms += pair.by_lengths(weight, len(by_logarithms))
        return by_logarithms / self.prior.lengths, by_variance, by_noise

    def _pairs(self) -> Iterator[tuple[slice, slice, Beside]]:
        """Yield each structure beside itself and all after it, and which observations those are."""
        start = 0
        for some in self.observed:
            for k in range(len(some.features)):
                one = some.take(k)
                for rows, pair in self.beside(one, start):
                    yield slice(start, start + len(one)), rows, pair
                start += len(one)


def cholesky(
    whole: Float[Tensor, "observations observations"], jitter: Float[Tensor, ""]
) -> Float[Tensor, "observations observations"]:
    """Return the lower Cholesky factor of a matrix and so much on its diagonal, or more if needed.

    Where it isn't enough it becomes what rounding may have left of the largest element, at least.

    Raises
    ------
    torch.linalg.LinAlgError
        If a hundred thousand times as much is not enough either.
    """
    rounding = ROUNDING * whole.diagonal().max()
    for _ in range(6):
        whole.diagonal().add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(whole)
        if not bool(failed):
            break
        jitter = torch.maximum(10 * jitter, rounding)
    return factor if not bool(failed) else torch.linalg.cholesky(whole)


ROUNDING = 1e-15
"""Error of elements of the matrix, in units of the largest one."""

JITTER = 1e-10
"""Added to the diagonal, in units of the variance: what rounding leaves undecided."""
