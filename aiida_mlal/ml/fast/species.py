"""The species of atoms, as kernels count them."""

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Int


class Species:
    """Turns atomic numbers into species; those asked for last are kept.

    Parameters
    ----------
    elements
        In the order of the species.
    """

    def __init__(self, elements: Sequence[str]) -> None:
        self.elements = tuple(elements)
        self._table = np.full(len(chemical_symbols), -1, np.int32)
        self._table[[atomic_numbers[e] for e in self.elements]] = range(len(self.elements))
        self._numbers, self._last = b"", np.zeros(0, np.int32)

    def of(self, numbers: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
        """Return the species of atoms; ``ValueError`` for one that is none of the elements."""
        key = numbers.tobytes()
        if key != self._numbers:
            species = self._table[numbers]
            if len(species) and species.min() < 0:
                strange = sorted({chemical_symbols[z] for z in np.asarray(numbers)[species < 0]})
                raise ValueError(
                    f"the potential knows {list(self.elements)}, the structure has {strange}"
                )
            self._numbers, self._last = key, species
        return self._last
