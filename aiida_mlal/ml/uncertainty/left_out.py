r"""Errors of a Gaussian process where each of its structures in turn is left out.

With the inverse :math:`\Lambda` of the covariance matrix of all observations y, noise included,
what the others foretell of the observations B of a structure has the errors and the covariance

.. math::

    y_B - \mu_B = (\Lambda_{BB})^{-1} (\Lambda y)_B, \qquad \Sigma_B = (\Lambda_{BB})^{-1},

without training again. C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine
Learning, MIT Press (2006), section 5.4.2, there for single observations.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.gaussian_process import Posterior
from aiida_mlal.ml.sparse_process import SparsePosterior


def left_out(
    posterior: Posterior | SparsePosterior,
) -> Iterator[tuple[Float[Tensor, " observations"], Float[Tensor, " observations"]]]:
    """Yield errors, and their expected variances, of the derivatives of each structure left out."""
    for heights, precision, pull, unexplained in posterior.foretold():
        derivatives = heights == 0
        covariance = torch.linalg.inv(precision)
        variances = covariance.diagonal() + unexplained
        yield (covariance @ pull)[derivatives], variances[derivatives]


def scale(posterior: Posterior | SparsePosterior) -> float:
    r"""Compute what standard deviations are to be multiplied by, 1 or more.

    It is the Birge ratio, the root of the sum of squared errors over that of their expected
    variances, of the derivatives of the structure that the others foretell worst: structures to
    come are rather outside of those known than between them, as the worst of these is. Observations
    that go with the model change nothing. R. T. Birge, Phys. Rev. 40, 207 (1932).
    """
    ratios = [
        float(errors.square().sum() / variances.sum())
        for errors, variances in left_out(posterior)
        if len(errors)
    ]
    return max([1.0, *ratios]) ** 0.5
