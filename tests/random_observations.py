"""Observations of environments that have no atoms around them, at random."""

import numpy as np
import torch

from aiida_mlal.ml.gaussian_process import Observations

N_FEATURES, N_ELEMENTS = 4, 2


def observations(seed: int, n_atoms: int = 4, n_slopes: int = 5, sums: int = 1) -> Observations:
    """Return energies, then derivatives along slopes, of one structure."""
    rng = np.random.default_rng(seed)
    slopes = rng.normal(size=(sums + n_slopes, n_atoms, N_FEATURES))
    slopes[:sums] = 0
    return Observations(
        torch.from_numpy(rng.normal(size=(n_atoms, N_FEATURES))),
        torch.from_numpy(rng.integers(N_ELEMENTS, size=n_atoms)),
        torch.from_numpy(np.arange(sums + n_slopes) < sums).double(),
        torch.from_numpy(slopes),
    )
