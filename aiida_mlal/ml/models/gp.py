"""Gaussian process on atomic environments: all that were labelled, or some that stand for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aiida_mlal.ml.descriptors.symmetry_functions import SymmetryFunctionOptions, SymmetryFunctions
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.gaussian_process import Hyperparameters, Posterior
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasKernels, HasProcess
from aiida_mlal.ml.models.descriptor import Described, DescriptorPotential
from aiida_mlal.ml.models.observed import Process
from aiida_mlal.ml.models.of_options import OfOptions
from aiida_mlal.ml.models.registry import difference
from aiida_mlal.ml.options import build
from aiida_mlal.ml.sparse_process import Inducing, SparsePosterior

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.symmetry_functions import Functions

BEGIN = 5.0
"""Length scale, in units of the features, from which training begins."""


def _default_descriptor() -> SymmetryFunctionOptions:
    """Return Gaussians every half of an Å, from bonds of hydrogen on, and some angles."""
    return SymmetryFunctionOptions(
        g2_etas=(2.0,),
        g2_centres=tuple(0.8 + 0.5 * k for k in range(10)),
        g4_etas=(0.02,),
        g4_zetas=(1.0, 2.0, 4.0),
        eta_units="1/A^2",
    )


@dataclass(frozen=True)
class GPOptions:
    """Hyper-parameters that are not learned.

    Attributes
    ----------
    cutoff
        In Å.
    descriptor
        The symmetry functions that environments are compared by.
    """

    cutoff: float = 6.0
    descriptor: SymmetryFunctionOptions = field(default_factory=_default_descriptor)


class GP(OfOptions, DescriptorPotential, HasProcess, HasKernels):
    r"""Sum over atoms of a Gaussian process of their symmetry functions, one for each element.

    Energies, forces and stresses are labels of equal rank. The mean of the posterior is

    .. math::  E_i = c_{Z_i} + \sigma^2 \sum_b k(x_i, x_b) [h_b + (x_i - x_b) \cdot s_b]

    with a sum over all environments :math:`x_b` of the structures that were learned from; what
    their labels weigh is in the heights :math:`h_b` and, for derivatives, the slopes :math:`s_b`.
    Features are in units of length scales, of the radial and of the angular functions, for each
    element: these, the variance :math:`\sigma^2` and the constants :math:`c` come out of training
    by the marginal likelihood (``aiida_mlal.ml.gaussian_process``). Of many labels, the energies of
    some inducing environments stand for the process (``aiida_mlal.ml.sparse_process``), and the
    slopes are zero.
    """

    Options = GPOptions
    backends = MappingProxyType({"cpu": "aiida_mlal.ml.models.gp_prepared:GPBackend"})
    is_random: ClassVar[bool] = False
    by_derivatives: ClassVar[bool] = False
    uncertainty: ClassVar[str | None] = "gp_std"
    usual_training = MappingProxyType(
        {
            "epochs": 20,
            "optimizer": {"name": "marginal_likelihood"},
            "loss": {"energy": 1.0, "force": 1.0, "stress": 1.0},
        }
    )

    variance: Tensor
    noise: Tensor
    offset: Tensor
    constants: Tensor
    environments: Tensor
    element: Tensor
    heights: Tensor
    slopes: Tensor

    def __init__(
        self,
        elements: Sequence[str],
        options: GPOptions,
        n_environments: int = 0,
        is_sparse: bool = False,
    ) -> None:
        super().__init__(elements, options.cutoff)
        self.options, self.is_sparse = options, is_sparse
        n = len(self.elements)
        self.descriptor = SymmetryFunctions(n, options.cutoff, options.descriptor)
        n_features = self.descriptor.n_features
        zeros = partial(torch.zeros, dtype=torch.float64)
        n_radial = n * len(self.descriptor.radial)
        groups = torch.zeros(n_features, dtype=torch.long)
        groups[n_radial:] = 1
        self.register_buffer("groups", groups, persistent=False)
        self.lengths = nn.Parameter(torch.full((n, 2), BEGIN, dtype=torch.float64))
        self.register_buffer("variance", torch.ones((), dtype=torch.float64))
        self.register_buffer("noise", zeros(4))
        self.register_buffer("offset", zeros(()))
        self.register_buffer("constants", zeros(n))
        self.register_buffer("environments", zeros(n_environments, n_features))
        self.register_buffer("element", torch.zeros(n_environments, dtype=torch.long))
        self.register_buffer("heights", zeros(n_environments))
        self.register_buffer("slopes", zeros(n_environments, n_features))

    groups: Tensor

    @property
    def scales(self) -> Float[Tensor, "elements features"]:
        """The length scale of each feature, for each element."""
        return self.lengths[:, self.groups]

    @property
    def prior(self) -> Hyperparameters:
        """Of the process, before any label."""
        return Hyperparameters(self.scales.detach(), self.variance, float(self.offset))

    def process(self) -> Process:
        """Return the potential itself."""
        return self

    def describe(self, graph: Graph) -> Described:
        """Compute the features and their derivatives once."""
        return cast(Described, self.prepare(graph))

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the symmetry functions of each atom."""
        features: Tensor = self.descriptor(graph, self.species(graph.numbers))
        return features

    @cached_property
    def functions(self) -> "tuple[Functions, np.ndarray] | None":
        """The symmetry functions for kernels; None for angular exponents that are no integers."""
        return self.descriptor.tables()

    def readout(
        self, features: Float[Tensor, "... features"], element: int
    ) -> Float[Tensor, " ..."]:
        """Return the energy in eV of atoms of one element."""
        mine, scales = self.element == element, self.scales[element]
        x, known, slopes = features / scales, self.environments[mine] / scales, self.slopes[mine]
        squares = x.square().sum(-1)[..., None] + known.square().sum(1) - 2 * x @ known.T
        k = self.variance * torch.exp(-squares / 2)
        rise = self.heights[mine] + x @ slopes.T - (known * slopes).sum(1)
        return self.constants[element] + (k * rise).sum(-1)

    def learn(self, posterior: Posterior | SparsePosterior) -> None:
        """Take over the mean of a posterior."""
        prior, mean = posterior.prior, posterior.mean
        self.variance.copy_(prior.variance)
        self.offset.fill_(prior.offset)
        self.constants.copy_(mean.constants)
        self.environments, self.element = mean.environments, mean.species
        self.heights, self.slopes = mean.heights, mean.slopes
        self.is_sparse = isinstance(posterior, SparsePosterior)

    @property
    def inducing(self) -> Inducing | None:
        """The environments that stand for all, if they do."""
        if not self.is_sparse:
            return None
        return Inducing.of(self.environments, self.element, self.scales.detach())

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernel of a process; none for angular exponents that are no integers."""
        if len(members) != 1 or not isinstance(members[0], GP):
            return None
        process = members[0]
        if process.functions is None:
            return None
        from aiida_mlal.ml.fast.gp import FastGP  # numba is slow to import

        scales = process.scales.detach().double()
        return [
            FastGP(
                *process.functions,
                scales.numpy(),
                (process.environments.double() / scales[process.element]).numpy(),
                process.element.numpy(),
                process.heights.double().numpy(),
                process.slopes.double().numpy(),
                float(process.variance),
                process.constants.double().numpy(),
            )
        ]

    def warm_start(self, other: Potential) -> None:
        """Begin with all that another process on the same symmetry functions has learned."""
        if not isinstance(other, GP):
            super().warm_start(other)
            return
        learned = {"environments": 0, "sparse": False}
        mine, theirs = ({**one.config(), **learned} for one in (self, other))
        if different := difference(mine, theirs):
            raise ValueError(different)
        given = self.references
        for name in ("environments", "element", "heights", "slopes"):
            setattr(self, name, getattr(other, name).clone())
        self.is_sparse = other.is_sparse
        self.load_state_dict(other.state_dict())
        self.references = given | self.references

    def describes_like(self, other: Potential) -> bool:
        """Tell if another potential has the same symmetry functions."""
        return isinstance(other, GP) and (
            (self.elements, self.options, self.dtype)
            == (other.elements, other.options, other.dtype)
        )

    def config(self) -> dict[str, Any]:
        """Return elements, hyper-parameters, the number of environments and what they are."""
        learned = {"environments": len(self.heights), "sparse": self.is_sparse}
        return {**super().config(), **learned}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "GP":
        """Build the process of a configuration, its environments not yet set."""
        options = build(GPOptions, config["options"])
        learned = int(config["environments"]), bool(config["sparse"])
        return cls(config["elements"], options, *learned)
