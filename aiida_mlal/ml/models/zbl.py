"""Screened repulsion of nuclei, the prior that keeps atoms apart where there are no data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasKernels
from aiida_mlal.ml.models.morse import switch_off
from aiida_mlal.ml.models.of_options import OfOptions

COULOMB = Hartree * Bohr
"""Energy of two elementary charges at a distance of 1 Å, in eV."""

SCREENING = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
"""Heights and decays of the exponentials of the universal screening function."""


@dataclass(frozen=True)
class ZBLOptions:
    """How the repulsion ends.

    Attributes
    ----------
    cutoff
        In Å.
    switch
        Width in Å of the range below the cutoff where it goes to zero, with two continuous
        derivatives.
    """

    cutoff: float = 1.5
    switch: float = 0.7

    def __post_init__(self) -> None:
        """Refuse a range that is none."""
        if not 0 < self.switch <= self.cutoff:
            raise ValueError(
                f"expected a switch above 0 Å and not wider than the cutoff of {self.cutoff} Å, "
                f"got {self.switch}"
            )


class ZBL(OfOptions, HasKernels):
    r"""Universal repulsion of Ziegler, Biersack and Littmark between every pair of elements.

    .. math::  V_{ab}(r) = \frac{e^2}{4 \pi \epsilon_0} \frac{Z_a Z_b}{r}
               \sum_k c_k e^{-d_k r / a_{ab}} f_c(r), \quad
               a_{ab} = \frac{0.46850 Å}{Z_a^{0.23} + Z_b^{0.23}}

    J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids,
    Pergamon (1985).
    """

    Options = ZBLOptions
    is_learned: ClassVar[bool] = False

    charge: Tensor
    length: Tensor

    def __init__(self, elements: Sequence[str], options: ZBLOptions) -> None:
        super().__init__(elements, options.cutoff)
        self.options = options
        z = torch.tensor([atomic_numbers[e] for e in self.elements], dtype=torch.float64)
        self.register_buffer("charge", COULOMB * z * z[:, None])
        self.register_buffer("length", 0.4685 / (z**0.23 + z[:, None] ** 0.23))

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV: half of that of its pairs."""
        centre, neighbour = self.species(graph.numbers)[graph.pairs]
        distances = graph.distances
        energies = self.bare(distances, centre, neighbour)
        switch = self.options.switch
        energies = energies * switch_off((distances - self.cutoff) / switch + 1)
        return graph.sum_over_neighbours(energies / 2)

    def bare(
        self,
        distances: Float[Tensor, " edges"],
        centre: Int[Tensor, " edges"],
        neighbour: Int[Tensor, " edges"],
    ) -> Float[Tensor, " edges"]:
        """Return the energy of each pair in eV, without a cutoff, from the rows of its elements."""
        x = distances / self.length[centre, neighbour]
        screening = sum(height * torch.exp(-decay * x) for height, decay in SCREENING)
        energies: Tensor = self.charge[centre, neighbour] / distances * screening
        return energies

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernel of a single potential."""
        if len(members) != 1 or not isinstance(members[0], ZBL):
            return None
        from aiida_mlal.ml.fast.zbl import fast_zbl  # numba is slow to import

        potential = members[0]
        tables = torch.stack([potential.charge, potential.length]).double().numpy()
        return [fast_zbl(potential.cutoff, tables, potential.options.switch, SCREENING)]
