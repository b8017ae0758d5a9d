"""Means of series of values in constant memory: where they become stationary, and their errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

MOST, FEWEST = 128, 8
"""Blocks that are kept before each two become one, and of which a standard error is told."""


class Blocks:
    """Sums of values over blocks of consecutive samples, all blocks of one length.

    Parameters
    ----------
    n_values
        Number of values in each sample. A value may be NaN: then so is what is known of it.
    """

    def __init__(self, n_values: int) -> None:
        self._sums, self._n, self._length = np.zeros((MOST, n_values)), 0, 1
        self._rest, self._n_rest = np.zeros(n_values), 0

    @property
    def n_samples(self) -> int:
        """Number of all samples."""
        return self._n * self._length + self._n_rest

    def add(self, values: Float[np.ndarray, " values"]) -> None:
        """Take a sample."""
        self._rest += values
        self._n_rest += 1
        if self._n_rest < self._length:
            return
        self._sums[self._n] = self._rest
        self._n, self._n_rest = self._n + 1, 0
        self._rest[:] = 0.0
        if self._n == MOST:
            self._n //= 2
            self._sums[: self._n] = self._sums[::2] + self._sums[1::2]
            self._length *= 2

    def stationary(self) -> tuple[int, bool]:
        """Return the sample from which on values are stationary, and whether that is sure.

        Found by the marginal standard error rule of K. P. White, Simulation 69, 323 (1997): the
        variance over the number of blocks that are left is smallest from there on, for the value
        that takes longest. It is sure if that is before half of the blocks; later ones are not
        looked at. Values that are the same in all blocks don't count, and of fewer than twice
        ``FEWEST`` blocks nothing is found.
        """
        means = self._sums[: self._n] / self._length
        means = means[:, np.isfinite(means).all(axis=0)]
        means = means[:, np.ptp(means, axis=0) > 0] if self._n else means
        if self._n < 2 * FEWEST or not means.size:
            return 0, True
        half = self._n // 2
        errors = [means[i:].var(axis=0) / (self._n - i) for i in range(half + 1)]
        first = int(np.argmin(errors, axis=0).max())
        return first * self._length, first < half

    def means(self, first: int = 0) -> Float[np.ndarray, " values"]:
        """Return the means over the samples from one on that begins a block; NaN of none."""
        sums = self._sums[first // self._length : self._n].sum(axis=0) + self._rest
        n = self.n_samples - first
        means: np.ndarray = sums / n if n > 0 else np.full(len(sums), np.nan)
        return means

    def errors(self, first: int = 0) -> Float[np.ndarray, " values"]:
        """Return the standard errors of these means, NaN where there are too few blocks.

        They are by blocking: H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989). Blocks
        are joined by twos; the largest error of all lengths counts, with ``FEWEST`` blocks at
        least.
        """
        blocks = self._sums[first // self._length : self._n] / self._length
        errors = np.full((1, blocks.shape[1]), np.nan)
        while len(blocks) >= FEWEST:
            errors = np.vstack([errors, blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))])
            blocks = (blocks[: len(blocks) // 2 * 2 : 2] + blocks[1::2]) / 2
        largest: np.ndarray = np.fmax.reduce(errors)
        return largest

    def remember(self) -> Mapping[str, Any]:
        """Return the sums."""
        return {
            "sums": self._sums[: self._n].copy(),
            "length": self._length,
            "rest": self._rest.copy(),
            "n_rest": self._n_rest,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the sums; raise ``LookupError`` or ``TypeError`` for what is not remembered ones."""
        sums = np.asarray(memory["sums"], float).reshape(-1, self._sums.shape[1])
        self._n, self._length, self._n_rest = len(sums), memory["length"], memory["n_rest"]
        self._sums[: self._n], self._rest[:] = sums, memory["rest"]
