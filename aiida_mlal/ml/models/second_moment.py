"""Bonds that weaken each other, the prior that is fitted to a few labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import Adapts, HasKernels
from aiida_mlal.ml.models.morse import MorseParameters, mix, morse_table, switch_off
from aiida_mlal.ml.models.of_options import OfOptions
from aiida_mlal.ml.models.prediction import forces_and_stresses
from aiida_mlal.ml.options import check_positive

SMALLEST = 1e-12
"""Second moment in eV² of an atom without neighbours, so that its root has a derivative."""

FARTHEST = 3.0
"""How many standard deviations from its prior a parameter may be fitted."""

ERROR = 1e-3
"""Smallest error of a force that the fit believes in, in the same units."""

RELATIVE = 1.0
"""Forces in eV/Å: those of a structure count in units of its largest one and this."""


@dataclass(frozen=True)
class SecondMomentOptions:
    """How bonds weaken each other, how much labels may change, and how the potential ends.

    Attributes
    ----------
    cutoff
        In Å.
    switch
        Width in Å of the range below the cutoff where it goes to zero, with two continuous
        derivatives.
    difference
        Of the decays of repulsion and hopping, in 1/Å: the larger it is, the less do bonds grow
        with the number of neighbours.
    shift
        Standard deviation of the change of the distance of a dimer by labels, in Å; 0 for none.
    scale
        Standard deviation of the logarithm of the factor by which labels change the energy of a
        dimer; 0 for none.
    """

    cutoff: float = 6.0
    switch: float = 3.0
    difference: float = 4.0
    shift: float = 0.15
    scale: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no width."""
        check_positive(self, "switch", "difference")
        if not self.switch <= self.cutoff:
            raise ValueError(
                f"expected a switch not wider than the cutoff of {self.cutoff} Å, got {self.switch}"
            )
        for name in ("shift", "scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"expected {name} of 0 or more, got {getattr(self, name)}")


class SecondMoment(OfOptions, HasKernels, Adapts):
    r"""Tight binding in the second-moment approximation, parameters from dimers.

    .. math::  E_i = \sum_j A e^{-p (r_{ij} - r_0)} -
               \Big[ \sum_j \xi^2 e^{-2 q (r_{ij} - r_0)} \Big]^{1/2}

    The bonds of an atom weaken each other, as they do in metals and, about, in molecules:
    F. Cleri and V. Rosato, Phys. Rev. B 48, 22 (1993). An isolated pair of atoms has its minimum at
    :math:`r_0`, with the depth :math:`D` and the curvature :math:`2 a^2 D` of a Morse potential
    (the table of ``morse``; elements that it lacks have one from their covalent radius), by
    :math:`pq = 2a^2`, :math:`A = D q / 2(p-q)` and :math:`\xi = D p / 2(p-q)`; :math:`p - q` is an
    option.

    Labels change :math:`r_0` and :math:`D` of each pair of elements: they maximise the likelihood
    of forces, with independent normal errors of a size that is fitted as well, and normal
    priors of :math:`r_0` and :math:`\ln D`.
    """

    Options = SecondMomentOptions
    is_learned: ClassVar[bool] = False

    depth: Tensor
    length: Tensor
    repulsive: Tensor
    attractive: Tensor
    shifts: Tensor
    scales: Tensor

    def __init__(self, elements: Sequence[str], options: SecondMomentOptions) -> None:
        super().__init__(elements, options.cutoff)
        self.options = options
        rows = [_dimer(element) for element in self.elements]
        pairs = torch.tensor([[mix(a, b, "mean") for b in rows] for a in rows], dtype=torch.float64)
        depth, length, width = pairs.unbind(dim=2)
        apart = options.difference
        slow = ((apart**2 + 8 * width**2).sqrt() - apart) / 2
        for name, table in (
            ("depth", depth),
            ("length", length),
            ("repulsive", slow + apart),
            ("attractive", slow),
            ("shifts", torch.zeros_like(depth)),
            ("scales", torch.ones_like(depth)),
        ):
            self.register_buffer(name, table.clone())

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""
        return self._energies(graph, self.shifts, self.scales)

    def _energies(self, graph: Graph, shifts: Tensor, scales: Tensor) -> Float[Tensor, " atoms"]:
        centre, neighbour = self.species(graph.numbers)[graph.pairs]
        tables = self._tables(shifts, scales)
        repulsion, hopping, length, p, q = (table[centre, neighbour] for table in tables)
        distances, switch = graph.distances, self.options.switch
        beyond = distances - length
        end = switch_off((distances - self.cutoff) / switch + 1)
        moments = graph.sum_over_neighbours((hopping * torch.exp(-q * beyond) * end) ** 2)
        pushes = graph.sum_over_neighbours(repulsion * torch.exp(-p * beyond) * end)
        return pushes - (moments + SMALLEST).sqrt()

    def _tables(self, shifts: Tensor, scales: Tensor) -> list[Float[Tensor, "elements elements"]]:
        """Return repulsion and hopping at the distance of the dimer, this, and their decays."""
        p, q = self.repulsive, self.attractive
        depth = self.depth * scales / (2 * (p - q))
        return [depth * q, depth * p, self.length + shifts, p, q]

    def adapt(self, labelled: Configurations) -> None:
        """Fit the shifts and scales of the dimers to labelled forces, with their prior (MAP)."""
        from scipy.optimize import minimize

        one, other = torch.triu_indices(len(self.elements), len(self.elements))
        n, options = len(one), self.options
        widths = torch.tensor([options.shift, options.scale], dtype=torch.float64)
        bounds = [(-FARTHEST, FARTHEST) if width else (0.0, 0.0) for width in widths for _ in one]
        graph = self.graph(labelled)
        wanted = torch.tensor(labelled.forces)
        known = wanted.isfinite()
        wanted = wanted.nan_to_num()
        owner = labelled.owner
        largest = np.zeros(len(labelled))
        np.maximum.at(largest, owner, wanted.norm(dim=1).numpy())
        weights = torch.from_numpy(1 / (RELATIVE + largest)[owner])[:, None]
        count = int(known.sum())

        def tables(parameters: Tensor) -> list[Tensor]:
            symmetric = []
            for values in (widths[:, None] * parameters.reshape(2, n)).unbind():
                table = values.new_zeros(len(self.elements), len(self.elements))
                table = table.index_put((one, other), values)
                symmetric.append(table.index_put((other, one), values))
            return [symmetric[0], symmetric[1].exp()]

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            with torch.enable_grad():
                parameters = torch.tensor(values, requires_grad=True)
                vectors = graph.vectors.detach().double().requires_grad_()
                energy = self._energies(replace(graph, vectors=vectors), *tables(parameters)).sum()
                slopes = torch.autograd.grad(energy, vectors, create_graph=True)[0]
                said = forces_and_stresses(graph, slopes)[0]
                errors = ((said - wanted) * weights * known).square().sum()
                loss = count / 2 * (errors + ERROR**2 * count).log()
                loss = loss + parameters.square().sum() / 2
                slope = torch.autograd.grad(loss, parameters)[0]
            return float(loss.detach()), slope.numpy()

        best = np.zeros(2 * n)
        if count and graph.pairs.shape[1]:
            best = minimize(loss, best, jac=True, method="L-BFGS-B", bounds=bounds).x
        shifts, scales = tables(torch.tensor(best))
        self.shifts.copy_(shifts)
        self.scales.copy_(scales)

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernel of a single potential."""
        if len(members) != 1 or not isinstance(members[0], SecondMoment):
            return None
        from aiida_mlal.ml.fast.second_moment import fast_second_moment  # numba is slow to import

        potential = members[0]
        tables = torch.stack(potential._tables(potential.shifts, potential.scales))
        return [
            fast_second_moment(
                potential.cutoff, tables.double().numpy(), potential.options.switch, SMALLEST
            )
        ]


def _dimer(element: str) -> MorseParameters:
    """Return the dimer of an element: of the table, or a usual bond as long as radii say."""
    known = morse_table().get(element)
    return known or MorseParameters(2.0, 1.7 * float(covalent_radii[atomic_numbers[element]]), 1.4)
