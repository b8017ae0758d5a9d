"""Gaussian moments: invariants of the distribution of neighbours around an atom."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml.descriptors.contractions import COMPONENTS, index_sets
from aiida_mlal.ml.graph import Graph


@dataclass(frozen=True)
class GaussianMomentOptions:
    """How neighbours are weighed, and which invariants are made of their moments.

    Attributes
    ----------
    n_radial
        Number of trainable radial functions, and so of moments of each rank.
    n_basis
        Number of Gaussians that they are combinations of.
    r_min
        Centre of the first Gaussian in Å.
    invariants
        ``sorted``: all invariants of third degree only for ascending radial functions, 427 for 7
        of them; ``full``: those that the symmetry of each contraction leaves, 360 for 5 of them.
    """

    n_radial: int = 7
    n_basis: int = 7
    r_min: float = 0.5
    invariants: Literal["sorted", "full"] = "sorted"

    def __post_init__(self) -> None:
        """Refuse what describes nothing."""
        if self.n_radial < 1 or self.n_basis < 1:
            raise ValueError(
                f"expected n_radial and n_basis of 1 or more, got {self.n_radial} and "
                f"{self.n_basis}"
            )
        if not self.r_min >= 0:
            raise ValueError(f"expected r_min of 0 Å or more, got {self.r_min}")


class GaussianMoments(nn.Module):
    r"""Contractions of Gaussian moments.

    With the trainable :math:`\beta`, the Gaussians :math:`\Phi_b` of equal width, and the cosine
    cutoff :math:`f_c`, the moments of an atom of element :math:`z_i` are

    .. math::

        \Psi_{L,s} = \sum_j R_s(r_{ij}) \hat r_{ij}^{\otimes L}, \quad
        R_s = \frac{f_c(r_{ij})}{\sqrt{N_b}} \sum_b \beta_{z_i z_j s b} \Phi_b(r_{ij})

    and the invariants, in this order, with radial functions :math:`s, t, u` running over the
    index set of the options,

    .. math::

        \Psi_0, \; \Psi_1 \cdot \Psi_1, \; \Psi_2 : \Psi_2, \; \Psi_3 \vdots \Psi_3, \;
        \Psi_{2,ij} \Psi_{2,ik} \Psi_{2,jk}, \; \Psi_{1,i} \Psi_{1,j} \Psi_{2,ij}, \;
        \Psi_{3,ijk} \Psi_{3,ijl} \Psi_{2,kl}, \; \Psi_{3,ijk} \Psi_{2,ij} \Psi_{1,k}.

    V. Zaverkin and J. Kästner, J. Chem. Theory Comput. 16, 5410 (2020). Since :math:`\beta` does
    not depend on positions, neighbours are summed for each Gaussian and element first.
    """

    centres: Tensor
    expansion: Tensor
    chosen: Tensor

    def __init__(self, n_elements: int, cutoff: float, options: GaussianMomentOptions) -> None:
        super().__init__()
        if not options.r_min < cutoff:
            raise ValueError(f"expected r_min below the cutoff of {cutoff} Å, got {options.r_min}")
        self.n_elements, self.cutoff, self.options = n_elements, cutoff, options
        n, n_basis = options.n_radial, options.n_basis
        size = (n_elements, n_elements, n, n_basis)
        self.coefficients = nn.Parameter(2 * torch.rand(size, dtype=torch.float64) - 1)
        self.steepness = (n_basis / cutoff) ** 2
        centres = options.r_min + (cutoff - options.r_min) / n_basis * torch.arange(n_basis)
        self.register_buffer("centres", centres.double(), persistent=False)
        self.register_buffer("expansion", _expansion(), persistent=False)
        chosen = torch.tensor(_chosen(n, options.invariants))
        self.register_buffer("chosen", chosen, persistent=False)

    @property
    def n_features(self) -> int:
        """How many invariants describe an atom."""
        return len(self.chosen)

    def forward(
        self, graph: Graph, species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, "atoms features"]:
        """Return the invariants of each atom."""
        return self.contract(self.moments(self.collect(graph, species), species))

    def radial(self, distances: Float[Tensor, " edges"]) -> Float[Tensor, "edges basis"]:
        """Return the Gaussians with cutoff function and normalisation."""
        norm = (2 * self.steepness / math.pi) ** 0.25 / math.sqrt(self.options.n_basis)
        envelope = 0.5 * norm * (1 + torch.cos(math.pi / self.cutoff * distances))
        apart = distances[:, None] - self.centres
        return envelope[:, None] * torch.exp(-self.steepness * apart.square())

    def collect(
        self, graph: Graph, species: Int[Tensor, " atoms"]
    ) -> Float[Tensor, "atoms elements basis components"]:
        """Return the moments of the neighbours of each element with each Gaussian alone."""
        centre, neighbour = graph.pairs
        distances = graph.distances
        components = monomials(graph.vectors / distances[:, None])
        each = self.radial(distances)[:, :, None] * components[:, None, :]
        n_atoms = len(species)
        sums = each.new_zeros(n_atoms * self.n_elements, *each.shape[1:])
        sums = sums.index_add(0, centre * self.n_elements + species[neighbour], each)
        return sums.reshape(n_atoms, self.n_elements, *each.shape[1:])

    def moments(
        self,
        collected: Float[Tensor, "atoms elements basis components"],
        species: Int[Tensor, " atoms"],
    ) -> Float[Tensor, "atoms radial components"]:
        """Return the components of the moments of ranks 0 to 3."""
        coefficients = self.coefficients.transpose(1, 2).flatten(2)[species]
        return coefficients @ collected.flatten(1, 2)

    def contract(
        self, moments: Float[Tensor, "atoms radial components"]
    ) -> Float[Tensor, "atoms features"]:
        """Return the invariants of the moments."""
        n_atoms, n, _ = moments.shape
        rank0, rank1, rank2, rank3 = (moments @ self.expansion).split([1, 3, 9, 27], dim=2)
        squares = [(rank @ rank.transpose(1, 2)).flatten(1) for rank in (rank1, rank2, rank3)]
        axis1 = rank1.reshape(n_atoms, n * 3, 1)
        axis2, axis3 = rank2.reshape(n_atoms, n * 3, 3), rank3.reshape(n_atoms, n * 3, 9)
        # what the moments s and t make has two axes, for those of the second rank of u
        tensors = torch.stack([x @ x.transpose(1, 2) for x in (axis2, axis1, axis3)], dim=1)
        tensors = tensors.reshape(n_atoms, 3, n, 3, n, 3).transpose(3, 4)
        cubes = tensors.reshape(n_atoms, 3 * n * n, 9) @ rank2.transpose(1, 2)
        # or one axis, for the vector of u
        vectors = (axis3 @ rank2.transpose(1, 2)).reshape(n_atoms, n, 3, n).transpose(2, 3)
        mixed = vectors.reshape(n_atoms, n * n, 3) @ rank1.transpose(1, 2)
        every = torch.cat([rank0[:, :, 0], *squares, cubes.flatten(1), mixed.flatten(1)], dim=1)
        return every[:, self.chosen]


def monomials(vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges components"]:
    """Return the components of the tensor powers 0 to 3 of vectors, in the order COMPONENTS."""
    x, y, z = vectors.unbind(1)
    xx, xy, xz, yy, yz, zz = x * x, x * y, x * z, y * y, y * z, z * z
    second = [xx, xy, xz, yy, yz, zz]
    third = [xx * x, xx * y, xx * z, xy * y, xy * z, xz * z, yy * y, yy * z, yz * z, zz * z]
    return torch.stack([torch.ones_like(x), x, y, z, *second, *third], dim=1)


def _chosen(n: int, invariants: str) -> list[int]:
    """Find the invariants among those of each contraction with all n, n² or n³ index tuples."""
    chosen, start = [], 0
    for functions in index_sets(n, invariants):
        degree = len(functions[0])
        for index in functions:
            flat = 0
            for s in index:
                flat = n * flat + s
            chosen.append(start + flat)
        start += n**degree
    return chosen


def _expansion() -> Float[Tensor, "components all"]:
    """Return the matrix that writes out all 1 + 3 + 9 + 27 components of symmetric tensors."""
    every = [axes for rank in range(4) for axes in product(range(3), repeat=rank)]
    expansion = torch.zeros(len(COMPONENTS), len(every), dtype=torch.float64)
    for column, axes in enumerate(every):
        expansion[COMPONENTS.index(tuple(sorted(axes))), column] = 1.0
    return expansion
