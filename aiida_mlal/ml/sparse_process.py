r"""A Gaussian process by the energies of some environments, for more labels than can be solved for.

The energies u of the inducing environments :math:`z_m` stand for the process: all observations y
are taken to depend on it by these alone. With :math:`K = L L^T` the covariance of u, those of
observations of a structure with u in :math:`K_s`, :math:`V_s = L^{-1} K_s` and their noise
:math:`D_s`, the posterior needs sums over structures, one after the other:

.. math::

    A = I + \sum_s V_s D_s^{-1} V_s^T, \qquad
    \alpha = L^{-T} A^{-1} \sum_s V_s D_s^{-1} y_s, \qquad
    \mu_* = k_*^T \alpha, \qquad
    \operatorname{Var}_* = k_{**} - |L^{-1} k_*|^2 + k_*^T L^{-T} A^{-1} L^{-1} k_*

with the variance of the prior far from the inducing environments. The time is linear in the number
of structures, and the memory doesn't depend on it. This is the projected process: C. E. Rasmussen
and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006), section 8.3.4; for
potentials, A. P. Bartók and G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.gaussian_process import (
    JITTER,
    Foretold,
    Hyperparameters,
    Mean,
    Observations,
    cholesky,
)

CANDIDATES = 20_000
"""How many environments inducing ones are chosen of, at most: every n-th."""

LEAST = 1e-12
"""Variance, given the others, in units of the prior's, below which an environment adds nothing.

Where length scales are long it is by such small variances that energies tell of their derivatives:
with 1e-8, forces on atoms of strained copper had ten times the error.
"""

ROUNDOFF = 1e-14
"""Added to the variances of the inducing environments, in units of the prior's."""

Part = tuple[Sequence[Observations], Tensor, Tensor, Tensor]
"""Structures, and the values, noise and shared errors of their observations."""


class Inducing(NamedTuple):
    """The environments whose energies stand for a process.

    Attributes
    ----------
    features
        In units of the length scales.
    species
        The row of the element of each.
    """

    features: Float[Tensor, "inducing features"]
    species: Int[Tensor, " inducing"]

    @classmethod
    def of(
        cls,
        features: Float[Tensor, "environments features"],
        species: Int[Tensor, " environments"],
        lengths: Float[Tensor, "elements features"],
    ) -> "Inducing":
        """Take all of some environments."""
        return cls(features / lengths[species], species)

    def most_different(self, most: int) -> "Inducing":
        """Choose environments one by one, each that whose energy the others tell least of.

        These are the pivots of a Cholesky factorisation of their covariances, L. Foster et al.,
        J. Mach. Learn. Res. 10, 857 (2009).
        """
        every = -(-len(self.species) // CANDIDATES)
        features, species = self.features[::every], self.species[::every]
        most = min(most, len(species))
        factor = features.new_zeros(most, len(species))
        left, chosen = features.new_ones(len(species)), []
        for k in range(most):
            pivot = int(left.argmax())
            if left[pivot] < LEAST:
                break
            same = species == species[pivot]
            with_all = torch.exp(-(features - features[pivot]).square().sum(1) / 2) * same
            row = (with_all - factor[:k, pivot] @ factor[:k]) / left[pivot].sqrt()
            left = (left - row.square()).clamp(min=0)
            left[pivot] = 0
            factor[k] = row
            chosen.append(pivot)
        return Inducing(features[chosen], species[chosen])

    @property
    def covariance(self) -> Float[Tensor, "inducing inducing"]:
        """The covariances of their energies, variance 1."""
        same = self.species[:, None] == self.species
        return torch.exp(-torch.cdist(self.features, self.features).square() / 2) * same

    def beside(self, one: Observations) -> Float[Tensor, "inducing observations"]:
        """Compute the covariances of their energies with observations, scaled, variance 1."""
        found = one.features.new_empty(len(self.species), len(one))
        for element in self.species.unique().tolist():
            here, atoms = self.species == element, one.species == element
            apart = one.features[atoms][:, None] - self.features[here]  # a m f
            k = torch.exp(-apart.square().sum(2) / 2)
            slopes = one.slopes[:, atoms].flatten(1)
            by_slopes = slopes @ (apart * k[:, :, None]).transpose(1, 2).flatten(0, 1)
            found[here] = (one.heights[:, None] * k.sum(0) - by_slopes).T
        return found


class SparseConditioned:
    """A process after observations, as far as variances go: they depend on no value.

    Parameters
    ----------
    inducing
        The environments that stand for it.
    prior
        Before the observations.
    factor
        The lower Cholesky factor of the matrix A. Beside the inducing environments it is of the
        constants of the elements and of the error that observations share.
    """

    def __init__(self, inducing: Inducing, prior: Hyperparameters, factor: Tensor) -> None:
        self.inducing, self.prior, self.factor = inducing, prior, factor
        constants = prior.offset * torch.eye(len(prior.lengths)).to(prior.lengths)
        alone = prior.variance * inducing.covariance
        whole = torch.block_diag(alone, constants, alone.new_ones(1, 1))
        self.root = cholesky(whole, ROUNDOFF * prior.variance)

    def known(
        self, one: Observations, shared: Float[Tensor, " observations"] | None = None
    ) -> Float[Tensor, "unknowns observations"]:
        """Compute the covariances with observations of a scaled structure."""
        counts = one.composition(len(self.prior.lengths)).T
        shared = counts.new_zeros(len(one)) if shared is None else shared
        return torch.cat(
            [
                self.prior.variance * self.inducing.beside(one),
                self.prior.offset * counts,
                shared[None],
            ]
        )

    def variances(self, query: Observations) -> Float[Tensor, " queries"]:
        """Compute the posterior variances of further observations, in the units of values."""
        mine = query.scaled(self.prior.lengths)
        halves = self._solve(self.root, self.known(mine))
        before, told = self.prior.variances(mine), self._told(halves)
        return before - halves.square().sum(0) + told.square().sum(0)

    def covariance(self, query: Observations) -> Float[Tensor, "queries queries"]:
        """Compute all posterior covariances of further observations."""
        mine = query.scaled(self.prior.lengths)
        halves = self._solve(self.root, self.known(mine))
        told = self._told(halves)
        return self.prior.covariance(mine) - halves.T @ halves + told.T @ told

    def extended(self, observed: Sequence[Observations], noise: Tensor, shared: Tensor) -> Tensor:
        """Compute the factor with further observations; those known cost nothing."""
        part = observed, torch.zeros_like(noise), noise, shared
        others = SparsePosterior(self.inducing, [part], self.prior).factor
        whole = self.factor @ self.factor.T + others @ others.T
        whole.diagonal().sub_(1)
        return cholesky(whole, ROUNDOFF * whole.diagonal().min())

    def _told(self, halves: Tensor) -> Tensor:
        return self._solve(self.factor, halves)

    @staticmethod
    def _solve(factor: Tensor, values: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(factor, values, upper=False)


class SparsePosterior(SparseConditioned):
    """The process after observations of values.

    Parameters
    ----------
    inducing
        The environments that stand for it.
    parts
        What was observed: structures, their features not scaled, with values, noise and what a
        standard deviation of the one error that all share changes of each. Iterated over again by
        ``foretold``.
    prior
        Before the observations.
    """

    def __init__(self, inducing: Inducing, parts: Iterable[Part], prior: Hyperparameters) -> None:
        n = len(inducing.species) + len(prior.lengths) + 1
        whole = torch.eye(n).to(prior.lengths)
        super().__init__(inducing, prior, whole)
        self.parts, self.n_structures, self.n_labels = parts, 0, 0
        pull = whole.new_zeros(n)
        for _, halves, values, noise in self._halves():
            self.n_structures, self.n_labels = self.n_structures + 1, self.n_labels + len(values)
            weighted = halves / noise
            whole += weighted @ weighted.T
            pull += weighted @ (values / noise)
        self.factor = cholesky(whole, JITTER * whole.diagonal().min())
        inner = torch.cholesky_solve(pull[:, None], self.factor)
        self.weights: Tensor = torch.linalg.solve_triangular(self.root.T, inner, upper=True)[:, 0]

    @property
    def mean(self) -> Mean:
        """A sum over the inducing environments."""
        (scaled, species), prior = self.inducing, self.prior
        heights = self.weights[: len(species)]
        constants = prior.offset * self.weights[len(species) : -1]
        environments = scaled * prior.lengths[species]
        return Mean(environments, species, heights, torch.zeros_like(environments), constants)

    def foretold(self) -> Iterator[Foretold]:
        """Yield each structure as the others foretell it.

        With Woodbury's identity the precision is :math:`D^{-1} - D^{-1} V^T A^{-1} V D^{-1}`.
        """
        values_of_inducing = self.root.T @ self.weights
        for one, halves, values, noise in self._halves():
            told = self._told(halves) / noise
            unit = torch.eye(len(noise)).to(noise)
            precision = (unit - told.T @ told) / noise[:, None] / noise
            pull = (values - halves.T @ values_of_inducing) / noise**2
            of_process = halves[:-1]  # without the shared error
            unexplained = (self.prior.variances(one) - of_process.square().sum(0)).clamp(min=0)
            yield Foretold(one.heights, precision, pull, unexplained)

    def _halves(self) -> Iterator[tuple[Observations, Tensor, Tensor, Tensor]]:
        """Yield each structure, scaled, with its V, values and noise."""
        for structures, *numbers in self.parts:
            sizes = [len(one) for one in structures]
            each = zip(structures, *(some.split(sizes) for some in numbers))
            for one, values, noise, shared in each:
                mine = one.scaled(self.prior.lengths)
                yield mine, self._solve(self.root, self.known(mine, shared)), values, noise
