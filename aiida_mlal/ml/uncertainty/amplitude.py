r"""How far energies of atoms may vary where few structures tell.

A structure that is labelled first is often relaxed: its forces are small since it was chosen so,
and the likelihood takes a process for one that hardly varies. So a structure counts no more for the
variance :math:`\sigma^2` than what is known beforehand, that of :math:`\sigma_0` = 1 eV: with n
structures the variance is that of one like these and n - 1 like those,

.. math::  \bar\sigma^2 = \frac{\max(\sigma_0, \sigma)^2 + (n - 1)\, \sigma^2}{n},

as with a scaled inverse chi-squared prior, A. Gelman et al., Bayesian Data Analysis, 3rd edition,
Chapman & Hall (2013), section 2.6, of one degree of freedom, and one for each structure but the
first, whatever the number of its atoms.
"""

from aiida_mlal.ml.gaussian_process import Posterior
from aiida_mlal.ml.sparse_process import SparsePosterior

USUAL = 1.0
"""Deviation of the energy of an atom in eV, beforehand: that from which training begins."""


def amplitude(posterior: Posterior | SparsePosterior) -> float:
    """Compute what standard deviations are to be multiplied by for it, 1 or more."""
    excess = max(1.0, USUAL**2 / float(posterior.prior.variance)) - 1
    root: float = (1 + excess / posterior.n_structures) ** 0.5
    return root
