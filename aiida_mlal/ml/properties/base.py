"""Interface of properties: numbers and curves of structures, by whatever computes energies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aiida_mlal.ml.properties.crystal import Crystal

Numbers = Mapping[str, float | np.ndarray]


@dataclass(frozen=True, eq=False)
class Found:
    """A property of one structure.

    Attributes
    ----------
    numbers
        Scalars or small arrays by names that end with the unit, such as ``C11_GPa``; NaN where the
        property has none.
    curves
        Arrays by names that end with the unit, for figures.
    warnings
        Sentences about what a reader of the numbers has to know.
    """

    numbers: Numbers = field(default_factory=dict)
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class Property(ABC):
    """Something to compute of structures. A subclass is a frozen dataclass, its fields the options.

    It gets crystals at equilibrium, each with what evaluates and relaxes other structures, and asks
    nothing else of a potential or calculator than energies, forces and stresses.
    """

    @abstractmethod
    def compute(self, crystals: Sequence[Crystal]) -> list[Found]:
        """Return the property of each structure.

        Raises
        ------
        ValueError
            For structures that have no such property.
        """


class CrystalProperty(Property):
    """A property that each structure has by itself."""

    def compute(self, crystals: Sequence[Crystal]) -> list[Found]:
        """Compute one structure after the other; a sentence stands for what one hasn't."""
        return [self._attempt(crystal) for crystal in crystals]

    @abstractmethod
    def of(self, crystal: Crystal) -> Found:
        """Return the property of one structure.

        Raises
        ------
        ValueError
            For a structure that has no such property; others are computed all the same.
        """

    def _attempt(self, crystal: Crystal) -> Found:
        try:
            return self.of(crystal)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            return Found(warnings=[f"not computed: {error}"])


def where(index: Sequence[Any]) -> str:
    """Return indices as a name writes them: ``111``, ``1-10``."""
    return "".join(str(int(i)) for i in index)
