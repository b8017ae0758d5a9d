"""Screened repulsion of nuclei on the CPU, in numba."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.fast.jit import is_ready, jit
from aiida_mlal.ml.fast.verlet import Verlet


class FastZBL:
    """A screened repulsion between all pairs of elements, for one structure after another.

    Parameters
    ----------
    cutoff
        In Å.
    tables
        Energies of the bare charges at 1 Å (eV), lengths of the screening (Å).
    switch
        Width in Å of the range below the cutoff in which the energy goes to zero.
    screening
        Heights and decays of exponentials.
    """

    n_members = 1

    def __init__(
        self,
        cutoff: float,
        tables: Float[np.ndarray, "2 elements elements"],
        switch: float,
        screening: Sequence[tuple[float, float]],
    ) -> None:
        self.cutoff, self._switch = float(cutoff), float(switch)
        self._tables = np.array(tables, dtype=float, order="C")
        self._screening = np.array(screening, dtype=float)

    @property
    def is_ready(self) -> bool:
        """Whether nothing has to be compiled."""
        return is_ready(_chunk)

    def add(
        self,
        verlet: Verlet,
        energies: Float[np.ndarray, "members atoms"],
        forces: Float[np.ndarray, "members images 3"],
    ) -> None:
        """Add energies (eV) of atoms, and forces (eV/Å) on atoms and ghosts."""
        _chunk(
            verlet.positions, verlet.species, verlet.neighbours, verlet.begin, self.cutoff,
            self._switch, self._tables, self._screening, energies[0], forces[0],
        )  # fmt: skip


_jit: Callable[[Callable[..., Any]], Any] = jit(fastmath=True, nogil=True)


@_jit
def _chunk(
    positions: np.ndarray, species: np.ndarray, neighbours: np.ndarray, begin: np.ndarray,
    cutoff: float, switch: float, tables: np.ndarray, screening: np.ndarray,
    energies: np.ndarray, forces: np.ndarray,
) -> None:  # fmt: skip
    n_species = tables.shape[1]
    for i in range(energies.size):
        for s in range(n_species):
            charge, length = tables[0, species[i], s], tables[1, species[i], s]
            for p in range(begin[i * n_species + s], begin[i * n_species + s + 1]):
                j = neighbours[p]
                dx = positions[j, 0] - positions[i, 0]
                dy = positions[j, 1] - positions[i, 1]
                dz = positions[j, 2] - positions[i, 2]
                square = dx * dx + dy * dy + dz * dz
                if square >= cutoff * cutoff:
                    continue
                r = np.sqrt(square)
                screened = slope = 0.0
                for k in range(screening.shape[0]):
                    part = screening[k, 0] * np.exp(-screening[k, 1] * r / length)
                    screened += part
                    slope -= part * screening[k, 1] / length
                energy = charge / r * screened
                slope = charge / r * (slope - screened / r)
                if r > cutoff - switch:
                    t = (r - cutoff) / switch + 1.0
                    f = 1.0 - t * t * t * (10.0 - 15.0 * t + 6.0 * t * t)
                    df = -30.0 * t * t * (1.0 - t) * (1.0 - t) / switch
                    energy, slope = energy * f, slope * f + energy * df
                energies[i] += 0.5 * energy
                push = 0.5 * slope / r
                for q, d in enumerate((dx, dy, dz)):
                    forces[j, q] -= push * d
                    forces[i, q] += push * d
