"""Fixed structures for the training of moment tensor potentials, with the kernels in numba."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.descriptors.radial_polynomials import RadialBasis
from aiida_mlal.ml.fast.mtp_training import (
    Coefficients,
    EnergiesForcesVirials,
    MTPKernels,
    Structures,
)
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.backends import Backend
from aiida_mlal.ml.models.prediction import Prediction, stresses_of
from aiida_mlal.ml.models.prepared import Prepared

if TYPE_CHECKING:
    from aiida_mlal.ml.models.mtp import MTP


class MTPBackend(Backend):
    """Kernels for predictions and their derivatives by the coefficients, in double precision."""

    name = "numba"

    @classmethod
    def suits(cls, potential: "MTP") -> bool:
        """Tell if a potential is in double precision."""
        return potential.dtype == torch.float64

    def interaction(self, graph: Graph) -> Prediction:
        """Predict without reference energies."""
        with torch.no_grad():
            return self.prepare(graph).predict(self.potential)

    def prepare(self, graph: Graph) -> "PreparedMTP":
        """Arrange the edges for the kernels."""
        potential: MTP = self.potential
        kernels = _kernels(potential.basis, potential.radial)
        return PreparedMTP(graph, kernels, potential.species(graph.numbers))


@lru_cache(maxsize=32)
def _kernels(basis: MomentBasis, radial: RadialBasis) -> MTPKernels:
    return MTPKernels(basis, radial)


class PreparedMTP(Prepared):
    """Fixed structures, of which energies, forces, stresses and their derivatives are exact.

    Threads are as many as torch has.
    """

    def __init__(self, graph: Graph, kernels: MTPKernels, species: Int[Tensor, " atoms"]) -> None:
        super().__init__(graph)
        self.kernels, self.species = kernels, species
        ends = torch.bincount(graph.pairs[0], minlength=len(species)).cumsum(0)
        self.structures = Structures(
            graph.owner.numpy(),
            species.numpy(),
            np.concatenate([[0], ends.numpy()]),
            graph.pairs[1].numpy(),
            np.ascontiguousarray(graph.vectors.detach().numpy()),
            np.concatenate([[0], graph.counts.cumsum(0).numpy()]),
        )

    def take(self, structures: Int[np.ndarray, " chosen"]) -> "PreparedMTP":
        """Return some of the structures, which may repeat."""
        atoms = self.graph.atoms_of(structures)
        return PreparedMTP(self.graph.take(structures), self.kernels, self.species[atoms])

    def predict(self, potential: "MTP") -> Prediction:
        """Predict with the coefficients that ``potential`` has now."""
        energies, forces, virials = _Predict.apply(
            self, potential.radial_coeffs, potential.species_coeffs, potential.moment_coeffs
        )
        return Prediction(energies, forces, stresses_of(virials, self.graph.volumes))

    def energies(self, potential: "MTP") -> Float[Tensor, " structures"]:
        """Return the energies (eV) alone, which are no cheaper: kernels make all together."""
        return self.predict(potential).energies

    def derivatives(
        self, potential: "MTP", weights: Sequence[nn.Parameter] | None = None
    ) -> Prediction:
        """Return the derivatives of the prediction by each coefficient, along a leading axis."""
        if weights is None:
            weights = [w for w in potential.parameters() if w.requires_grad]
        radial = any(w is potential.radial_coeffs for w in weights)
        linear = any(w is not potential.radial_coeffs for w in weights)
        of, threads = coefficients(*potential.parameters()), torch.get_num_threads()
        by_weight = {}
        if radial:
            columns = self.kernels.radial_jacobian(self.structures, of, threads)
            by_weight[id(potential.radial_coeffs)] = columns
        if linear:
            columns = self.kernels.linear_jacobian(self.structures, of, threads)
            n_species = len(of.species)
            by_weight[id(potential.species_coeffs)] = _part(columns, slice(None, n_species))
            by_weight[id(potential.moment_coeffs)] = _part(columns, slice(n_species, None))
        chosen = [by_weight[id(w)] for w in weights]
        energies, forces, virials = (
            torch.cat([torch.from_numpy(part[q]) for part in chosen], dim=-1).movedim(-1, 0)
            for q in range(3)
        )
        return Prediction(energies, forces, stresses_of(virials, self.graph.volumes))


class _Predict(torch.autograd.Function):
    """Energies, forces and virials, which can be differentiated once by the coefficients."""

    @staticmethod
    def forward(ctx: Any, prepared: PreparedMTP, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.prepared, ctx.coefficients = prepared, coefficients(*weights)
        predicted = prepared.kernels.predict(
            prepared.structures, ctx.coefficients, torch.get_num_threads()
        )
        return tuple(torch.from_numpy(values) for values in predicted)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of = ctx.coefficients
        gradient = ctx.prepared.kernels.gradient(
            ctx.prepared.structures,
            of,
            *(values.contiguous().numpy() for values in gradients),
            torch.get_num_threads(),
        )
        sizes = [of.radial.size, of.species.size, of.moment.size]
        radial, species, moment = torch.from_numpy(gradient).split(sizes)
        return None, radial.reshape(of.radial.shape), species, moment


def coefficients(radial: Tensor, species: Tensor, moment: Tensor) -> Coefficients:
    """Copy coefficients for the kernels, so that they do not change with the weights."""
    return Coefficients(
        *(np.array(part.detach().numpy(), order="C") for part in (radial, species, moment))
    )


def _part(of_all: EnergiesForcesVirials, columns: slice) -> EnergiesForcesVirials:
    energies, forces, virials = of_all
    return energies[..., columns], forces[..., columns], virials[..., columns]
