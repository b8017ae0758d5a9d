"""Radial (G2) and angular (G4) symmetry functions."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aiida_mlal.ml.graph import Graph

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.symmetry_functions import Functions


@dataclass(frozen=True)
class SymmetryFunctionOptions:
    """Which symmetry functions describe an atom; every combination is one function for G4.

    Attributes
    ----------
    g2_etas, g2_centres
        Widths of the radial functions and, in Å, their centres.
    g4_etas, g4_zetas, g4_lambdas
        Widths, angular exponents and signs of the angular functions.
    eta_units
        Whether etas are given in units of 1/cutoff² (``"cutoff"``, as in AMP and in the numbers of
        the paper) or in 1/Å² (``"1/A^2"``).
    """

    g2_etas: tuple[float, ...] = (0.05, 0.2320794416806389, 1.0772173450159417, 5.0)
    g2_centres: tuple[float, ...] = (0.0,)
    g4_etas: tuple[float, ...] = (0.005,)
    g4_zetas: tuple[float, ...] = (1.0, 4.0)
    g4_lambdas: tuple[float, ...] = (1.0, -1.0)
    eta_units: Literal["cutoff", "1/A^2"] = "cutoff"

    def __post_init__(self) -> None:
        """Refuse what no symmetry function can be made of."""
        radial = self.g2_etas and self.g2_centres
        if not (radial or (self.g4_etas and self.g4_zetas and self.g4_lambdas)):
            raise ValueError("expected at least one symmetry function, got none")
        if any(eta < 0 for eta in (*self.g2_etas, *self.g4_etas)):
            raise ValueError("expected etas of 0 or more, got a negative one")
        if any(zeta < 1 for zeta in self.g4_zetas):
            raise ValueError(f"expected g4_zetas of 1 or more, got {list(self.g4_zetas)}")
        if any(abs(sign) != 1 for sign in self.g4_lambdas):
            raise ValueError(f"expected g4_lambdas of 1 or -1, got {list(self.g4_lambdas)}")


class SymmetryFunctions(nn.Module):
    r"""Symmetry functions of the neighbours of each atom, sorted by the neighbours' elements.

    .. math::

        G^2_i &= \sum_j e^{-\eta (r_{ij} - r_s)^2} f_c(r_{ij}) \\
        G^4_i &= 2^{1-\zeta} \sum_{j<k} (1 + \lambda \cos\theta_{jik})^\zeta
                 e^{-\eta (r_{ij}^2 + r_{ik}^2 + r_{jk}^2)} f_c(r_{ij}) f_c(r_{ik}) f_c(r_{jk})

    with the cosine cutoff :math:`f_c(r) = (1 + \cos \pi r / r_c) / 2`. J. Behler, J. Chem. Phys.
    134, 074106 (2011), equations 6 and 8.
    """

    def __init__(self, n_elements: int, cutoff: float, options: SymmetryFunctionOptions) -> None:
        super().__init__()
        self.n_elements, self.cutoff, self.options = n_elements, cutoff, options
        self._eta_unit = unit = 1 / cutoff**2 if options.eta_units == "cutoff" else 1.0
        radial = [(eta * unit, rs) for eta in options.g2_etas for rs in options.g2_centres]
        angular = [
            (eta * unit, zeta, sign)
            for eta in options.g4_etas
            for zeta in options.g4_zetas
            for sign in options.g4_lambdas
        ]
        for name, values in (
            ("radial", torch.tensor(radial, dtype=torch.float64).reshape(len(radial), 2)),
            ("angular", torch.tensor(angular, dtype=torch.float64).reshape(len(angular), 3)),
        ):
            self.register_buffer(name, values, persistent=False)
        a, b = torch.triu_indices(n_elements, n_elements)
        couple = torch.zeros(n_elements, n_elements, dtype=torch.long)
        couple[a, b] = couple[b, a] = torch.arange(len(a))
        self.register_buffer("couple", couple, persistent=False)
        self.n_couples = len(a)

    radial: Tensor
    angular: Tensor
    couple: Tensor

    @property
    def n_features(self) -> int:
        """How many numbers describe an atom."""
        return self.n_elements * len(self.radial) + self.n_couples * len(self.angular)

    def tables(self) -> "tuple[Functions, Bool[np.ndarray, ' filled']] | None":
        """Arrange the functions for kernels, see ``fast.symmetry_functions.functions``.

        None for angular exponents that are no integers: kernels multiply.
        """
        options = self.options
        if any(zeta % 1 for zeta in options.g4_zetas):
            return None
        from aiida_mlal.ml.fast.symmetry_functions import functions  # numba is slow to import

        return functions(
            self.cutoff,
            self.radial.double().numpy(force=True),
            [eta * self._eta_unit for eta in options.g4_etas],
            [int(zeta) for zeta in options.g4_zetas],
            options.g4_lambdas,
            self.couple.numpy(force=True),
        )

    def forward(
        self, graph: Graph, species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, "atoms features"]:
        """Return the symmetry functions of each atom: radial ones by element, then angular ones."""
        n_atoms = len(species)
        centre, neighbour = graph.pairs
        distances = graph.distances
        envelope = self._envelope(distances)

        eta, rs = self.radial.T
        g2 = torch.exp(-eta * (distances[:, None] - rs) ** 2) * envelope[:, None]
        radial = g2.new_zeros(n_atoms * self.n_elements, len(eta))
        radial = radial.index_add(0, centre * self.n_elements + species[neighbour], g2)

        eta, zeta, sign = self.angular.T
        one, two = triplets(centre, n_atoms)
        between = (graph.vectors[two] - graph.vectors[one]).norm(dim=1)
        near = between < self.cutoff
        one, two, between = one[near], two[near], between[near]
        cosine = (graph.vectors[one] * graph.vectors[two]).sum(1) / (
            distances[one] * distances[two]
        )
        squares = distances[one] ** 2 + distances[two] ** 2 + between**2
        common = envelope[one] * envelope[two] * self._envelope(between)
        g4 = (
            2 ** (1 - zeta)
            * (1 + sign * cosine[:, None]).clamp(min=0) ** zeta
            * torch.exp(-eta * squares[:, None])
            * common[:, None]
        )
        couple = self.couple[species[neighbour[one]], species[neighbour[two]]]
        angular = g4.new_zeros(n_atoms * self.n_couples, len(eta))
        angular = angular.index_add(0, centre[one] * self.n_couples + couple, g4)
        n_radial = self.n_elements * len(self.radial)
        n_angular = self.n_features - n_radial
        return torch.cat(
            [radial.reshape(n_atoms, n_radial), angular.reshape(n_atoms, n_angular)], dim=1
        )

    def _envelope(self, r: Tensor) -> Tensor:
        return 0.5 * (1 + torch.cos(math.pi / self.cutoff * r))


def triplets(
    centre: Int[Tensor, " edges"], n_atoms: int
) -> tuple[Int[Tensor, " triplets"], Int[Tensor, " triplets"]]:
    """Return every two edges that leave the same atom, once; ``centre`` is sorted."""
    end = torch.bincount(centre, minlength=n_atoms).cumsum(0)[centre]
    index = torch.arange(len(centre), device=centre.device)
    later = end - index - 1
    first = index.repeat_interleave(later)
    start = (later.cumsum(0) - later).repeat_interleave(later)
    rank = torch.arange(len(first), device=centre.device) - start
    return first, first + 1 + rank
