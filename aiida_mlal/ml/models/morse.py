"""Morse potential, the prior that keeps atoms apart and together where there are no data."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import log
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasKernels
from aiida_mlal.ml.models.of_options import OfOptions
from aiida_mlal.ml.options import as_dict, build

SWITCH = 1.0
"""Width in Å of the range below the cutoff where the smooth potential goes to zero."""


@dataclass(frozen=True)
class MorseParameters:
    """The dimer of an element.

    Attributes
    ----------
    De
        Depth of the well in eV.
    re
        Distance of the minimum in Å.
    a
        Stiffness in 1/Å.
    """

    De: float
    re: float
    a: float

    def __post_init__(self) -> None:
        """Refuse a repulsive dimer."""
        for name in ("De", "re", "a"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise ValueError(f"expected {name} above 0, got {value}")

    @property
    def sigma(self) -> float:
        """Where the energy is zero, in Å."""
        return self.re - log(2) / self.a


@dataclass(frozen=True)
class MorseOptions:
    """How elements mix, and how the potential ends.

    Attributes
    ----------
    cutoff
        In Å.
    mixing
        ``mean``: geometric mean of the depths, arithmetic means of the distances; ``yang``:
        weighted means that lean towards the smaller values.
    smoothing
        ``smooth``: to zero over the last 1 Å, with two continuous derivatives; ``hard``: cut off,
        with a step in the energy.
    parameters
        ``De`` (eV), ``re`` (Å) and ``a`` (1/Å) of elements whose values in the table are to be
        replaced, or that it lacks.
    """

    cutoff: float = 6.0
    mixing: Literal["mean", "yang"] = "mean"
    smoothing: Literal["smooth", "hard"] = "smooth"
    parameters: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse a cutoff without room for the switch, and incomplete parameters."""
        if not self.cutoff > SWITCH:
            raise ValueError(f"expected a cutoff above {SWITCH} Å, got {self.cutoff}")
        for element, values in (self.parameters or {}).items():
            build(MorseParameters, values, f"parameters.{element}")


class Morse(OfOptions, HasKernels):
    r"""Morse potential between every pair of elements.

    .. math::  V_{ab}(r) = D_{ab} \left[ e^{-2 a_{ab} (r - r_{ab})}
               - 2 e^{-a_{ab} (r - r_{ab})} \right] f_c(r)

    Unlike elements mix by :math:`D`, by the distance of the minimum and by the distance
    :math:`\sigma` of the zero; :math:`a = \ln 2 / (r_{ab} - \sigma_{ab})` follows. The table of
    elements is the one of Shuaibi et al., Mach. Learn.: Sci. Technol. 2, 025007 (2021), fitted to
    dimers.
    """

    Options = MorseOptions
    is_learned: ClassVar[bool] = False

    depth: Tensor
    length: Tensor
    width: Tensor

    def __init__(self, elements: Sequence[str], options: MorseOptions) -> None:
        super().__init__(elements, options.cutoff)
        self.options = options
        self.dimers = _dimers(self.elements, options.parameters or {})
        tables = torch.tensor(
            [[mix(a, b, options.mixing) for b in self._rows] for a in self._rows],
            dtype=torch.float64,
        )
        for name, table in zip(("depth", "length", "width"), tables.unbind(dim=2)):
            self.register_buffer(name, table.clone())

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV: half of that of its pairs."""
        centre, neighbour = self.species(graph.numbers)[graph.pairs]
        distances = graph.distances
        decay = torch.exp(
            -self.width[centre, neighbour] * (distances - self.length[centre, neighbour])
        )
        energies = self.depth[centre, neighbour] * (decay.square() - 2 * decay)
        if self.options.smoothing == "smooth":
            energies = energies * switch_off((distances - self.cutoff) / SWITCH + 1)
        return graph.sum_over_neighbours(energies / 2)

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernel of a single potential."""
        if len(members) != 1 or not isinstance(members[0], Morse):
            return None
        from aiida_mlal.ml.fast.morse import fast_morse  # numba is slow to import

        potential = members[0]
        tables = torch.stack([potential.depth, potential.length, potential.width])
        switch = SWITCH if potential.options.smoothing == "smooth" else 0.0
        return [fast_morse(potential.cutoff, tables.double().numpy(), switch)]

    def config(self) -> dict[str, Any]:
        """Return elements, options and the parameters in use."""
        config = super().config()
        config["options"]["parameters"] = as_dict(self.dimers)
        return config

    @classmethod
    def check_possible(cls, elements: Sequence[str], options: MorseOptions) -> None:
        """Raise ``ValueError`` for elements that have no parameters."""
        _dimers(elements, options.parameters or {})

    @property
    def _rows(self) -> list[MorseParameters]:
        return [self.dimers[element] for element in self.elements]


@cache
def morse_table() -> Mapping[str, MorseParameters]:
    """Return the parameters of each element in the table that comes with the package."""
    text = files("aiida_mlal.ml.models").joinpath("morse_pbe_dimers.json").read_text("utf-8")
    return {
        element: MorseParameters(**values)
        for element, values in json.loads(text)["parameters"].items()
    }


def _dimers(elements: Sequence[str], replaced: Mapping[str, Any]) -> dict[str, MorseParameters]:
    table = dict(morse_table())
    table |= {element: build(MorseParameters, values) for element, values in replaced.items()}
    missing = [element for element in elements if element not in table]
    if missing:
        raise ValueError(
            f"the table of Morse parameters lacks {missing}: fit them to a dimer with "
            "'mlal fit-morse', and give them as option 'parameters'"
        )
    return {element: table[element] for element in elements}


def mix(one: MorseParameters, other: MorseParameters, mixing: str) -> tuple[float, float, float]:
    """Return depth (eV), distance of the minimum (Å) and stiffness (1/Å) of a pair."""
    mean: Callable[[float, float], float]
    if mixing == "mean":
        depth, mean = (one.De * other.De) ** 0.5, _arithmetic
    else:
        depth, mean = 2 * one.De * other.De / (one.De + other.De), _yang
    length, sigma = mean(one.re, other.re), mean(one.sigma, other.sigma)
    if not length > sigma:
        raise ValueError(
            f"mixing '{mixing}' puts the minimum of {one} and {other} at {length:.3f} Å, below "
            f"its zero at {sigma:.3f} Å: choose 'mean'"
        )
    return depth, length, log(2) / (length - sigma)


def _arithmetic(x: float, y: float) -> float:
    return (x + y) / 2


def _yang(x: float, y: float) -> float:
    return x * y * (x + y) / (x**2 + y**2)


def switch_off(x: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
    """Go from 1 at ``x`` = 0 to 0 at ``x`` = 1, with two continuous derivatives."""
    x = x.clamp(0, 1)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2)
