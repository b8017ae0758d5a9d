"""Foundation models as potentials: what to begin with, or a prior to learn the rest of."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from aiida_mlal.ml.labelling.calculators import CalculatorOptions
from aiida_mlal.ml.models.ase import ASEPotential


@dataclass(frozen=True)
class FoundationOptions:
    """Which weights, of those that come with the package; see ``FOUNDATION``.

    Attributes
    ----------
    checkpoint
        Their name.
    cutoff
        Up to which distance in Å what watches a simulation sees neighbours. The model has a reach
        of its own.
    """

    model: ClassVar[str]

    checkpoint: str
    cutoff: float = 4.0

    def __post_init__(self) -> None:
        """Refuse a checkpoint that does not come with the package."""
        _ = self.calculator

    @cached_property
    def calculator(self) -> CalculatorOptions:
        """The calculator with these weights."""
        return CalculatorOptions(self.model, {"checkpoint": self.checkpoint})


@dataclass(frozen=True)
class SevenNetOptions(FoundationOptions):
    """Which weights of SevenNet.

    Attributes
    ----------
    checkpoint
        ``7net-0`` or ``7net-l3i5`` of PBE, or ``7net-mf-0-pbe`` or ``7net-mf-0-r2scan``.
    cutoff
        As for ``ase``.
    """

    model: ClassVar[str] = "sevennet"

    checkpoint: str = "7net-0"


@dataclass(frozen=True)
class CHGNetOptions(FoundationOptions):
    """Which weights of CHGNet.

    Attributes
    ----------
    checkpoint
        ``0.3.0`` of PBE, or ``r2scan``.
    cutoff
        As for ``ase``.
    """

    model: ClassVar[str] = "chgnet"

    checkpoint: str = "0.3.0"


class SevenNet(ASEPotential):
    """A SevenNet that comes with the package ``sevenn`` (MIT licence).

    Y. Park et al., J. Chem. Theory Comput. 20, 4857 (2024).
    """

    Options = SevenNetOptions


class CHGNet(ASEPotential):
    """A CHGNet that comes with the package ``chgnet`` (modified BSD licence).

    B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023).
    """

    Options = CHGNetOptions
