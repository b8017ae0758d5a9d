"""Repulsion of atoms nearer than any that were labelled, which no stationary prior foresees."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.prediction import forces_and_stresses
from aiida_mlal.ml.models.zbl import ZBL, ZBLOptions

OVERLAP = 0.8
"""Below which share of the sum of covalent radii the repulsion of cores counts at most.

Bonds at rest are longer, but for N2 (0.77). The forces of dimers of SevenNet-0 rise from
there on as the universal repulsion does, to 0.65, within a factor of 2 for molecules and 3 for
metals.
"""


class Overlap(NamedTuple):
    """What overlaps repel, beyond what was labelled.

    Attributes
    ----------
    energies
        Of structures, in eV.
    forces
        In eV/Å.
    virials
        Derivatives of the energies by a strain, in eV; NaN without a volume.
    """

    energies: Float[Tensor, " structures"]
    forces: Float[Tensor, "atoms 3"]
    virials: Float[Tensor, "structures 3 3"]


class Repulsion:
    r"""Universal repulsion between atoms that are nearer than any labelled ones of their elements.

    With the potential V of Ziegler, Biersack and Littmark, a pair of atoms at a distance r has

    .. math::  U(r) = V(r) - V(r_0) - (r - r_0) V'(r_0) - (r - r_0)^2 V''(r_0) / 2, \quad r < r_0,

    and none beyond :math:`r_0`, the smallest distance that atoms of their elements had in a label,
    or ``OVERLAP`` times the sum of their covalent radii where that is smaller: of shorter distances
    labels tell what force and stiffness at the smallest one tell. As a term of the energy, times a
    number that is normal with standard deviation 1, it vanishes for all that was labelled, so that
    no label tells of the number (C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for
    Machine Learning, MIT Press (2006), section 2.7).

    Parameters
    ----------
    elements
        Symbols, in the order of the rows of the potential.
    nearest
        Smallest labelled distances in Å; infinite without any.
    """

    def __init__(
        self, elements: Sequence[str], nearest: Float[Tensor, "elements elements"]
    ) -> None:
        self.pairs = ZBL(elements, ZBLOptions()).to(nearest.device)
        radii = torch.tensor([covalent_radii[atomic_numbers[one]] for one in elements])
        self.begin = torch.minimum(nearest, OVERLAP * (radii + radii[:, None]).to(nearest))

    @classmethod
    def beyond(
        cls, elements: Sequence[str], graph: Graph, species: Int[Tensor, " atoms"]
    ) -> "Repulsion":
        """Return that which the structures of a graph tell nothing of."""
        nearest = np.full((len(elements), len(elements)), np.inf)
        pairs, distances = species[graph.pairs], graph.distances.double()
        np.minimum.at(nearest, tuple(pairs.numpy(force=True)), distances.numpy(force=True))
        return cls(elements, torch.from_numpy(nearest).to(graph.vectors.device))

    def of(self, graph: Graph, species: Int[Tensor, " atoms"]) -> Overlap:
        """Compute it for the structures of a graph."""
        a, b = species[graph.pairs]
        distances, begin = graph.distances, self.begin.to(graph.vectors)[a, b]
        near = torch.nonzero(distances < begin)[:, 0]
        a, b, r, begin = a[near], b[near], distances[near], begin[near]
        energies, slopes, _ = self._bare(r, a, b)
        at_begin, slope, curvature = self._bare(begin, a, b)
        excess = energies - at_begin - (r - begin) * (slope + (r - begin) * curvature / 2)
        slopes = slopes - slope - (r - begin) * curvature
        gradient = torch.zeros_like(graph.vectors)
        gradient[near] = slopes[:, None] * graph.vectors[near] / r[:, None] / 2
        of_edges = torch.zeros_like(distances).index_copy(0, near, excess / 2)
        forces, stresses = forces_and_stresses(graph, gradient)
        return Overlap(
            graph.sum_over_atoms(graph.sum_over_neighbours(of_edges)),
            forces,
            stresses * graph.volumes[:, None, None],
        )

    def _bare(self, distances: Float[Tensor, " pairs"], a: Tensor, b: Tensor) -> list[Tensor]:
        """Return energies of pairs, and their first and second derivatives by distances."""
        with torch.enable_grad():
            distances = distances.detach().requires_grad_()
            found = [self.pairs.bare(distances, a, b)]
            for _ in range(2):
                found += torch.autograd.grad(found[-1].sum(), distances, create_graph=True)
        return [one.detach() for one in found]
