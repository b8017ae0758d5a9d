"""Moment tensor potential."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.descriptors.moment_tensors import MomentBasis
from aiida_mlal.ml.descriptors.radial_polynomials import Kind, RadialBasis
from aiida_mlal.ml.distances import bond_length, shortest_distance
from aiida_mlal.ml.engines.base import Kernel
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasKernels
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.prepared import Prepared
from aiida_mlal.ml.models.references import regress
from aiida_mlal.ml.models.registry import difference
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.options import as_dict, build

MIN_DIST = 2.0
"""``min_dist`` in Å of the untrained potentials that MLIP comes with."""

NEARER = 0.8
"""How near atoms come in simulations, as a share of bond lengths."""


@dataclass(frozen=True)
class MTPOptions:
    """Hyper-parameters of a moment tensor potential, named as in the files of MLIP.

    Attributes
    ----------
    level
        Even, from 2 to 28: which invariants there are. 8 is a quick try, 16 usual, 20 rich.
    basis
        The lists of a file of MLIP instead of those of a level: ``basic``, ``times`` and
        ``mapping``, there ``alpha_index_basic`` and so on.
    radial_basis_size
        How many polynomials make each radial function.
    min_dist
        About the shortest distance that will be met, in Å; the polynomials are scaled from here
        to the cutoff, and go on below. By default the shortest one of the structures to learn from,
        or that of the potential to begin with.
    cutoff
        In Å; ``max_dist`` in MLIP.
    radial_basis
        The kind of polynomials.
    scaling
        A factor on the radial functions; by default the first one is 1 at ``min_dist``.
    """

    level: int = 16
    radial_basis_size: int = 8
    min_dist: float | None = None
    cutoff: float = 5.0
    radial_basis: Kind = "RBChebyshev"
    scaling: float | None = None
    basis: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse levels and distances that cannot be."""
        if self.basis is None:
            MomentBasis.check_level(self.level)
        else:
            self.moments()
        self.radial()

    def moments(self) -> MomentBasis:
        """Return the invariants."""
        if self.basis is None:
            return MomentBasis.of_level(self.level)
        if set(self.basis) != {"basic", "times", "mapping"}:
            raise ValueError(
                f"basis: expected the lists 'basic', 'times' and 'mapping', "
                f"got {sorted(self.basis)}"
            )
        try:
            return MomentBasis(**self.basis)
        except (OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"basis: {error}") from error

    def radial(self) -> RadialBasis:
        """Return the radial basis."""
        min_dist = 0.4 * self.cutoff if self.min_dist is None else self.min_dist
        basis = RadialBasis(self.radial_basis, self.radial_basis_size, min_dist, self.cutoff)
        scaling = self.scaling
        if scaling is None:
            scaling = 1.0 if basis.envelope else (self.cutoff - min_dist) ** -2
        return replace(basis, scaling=scaling)


@dataclass(frozen=True, eq=False)
class Contraction:
    """What a moment tensor potential is made of, but for its coefficients.

    Attributes
    ----------
    basis
        The invariants.
    radial
        The polynomials of the distance.
    level
        None where ``basis`` was read from a file, with lists of its own.
    types
        The elements in the order of a file of MLIP, which has numbers for them; by default by
        atomic number.
    """

    basis: MomentBasis
    radial: RadialBasis
    level: int | None = None
    types: tuple[str, ...] | None = None


class MTP(Potential, HasKernels):
    r"""Moment tensor potential: an energy linear in invariants of moments of the neighbourhood.

    .. math::  V_i = \xi_{z_i} + \sum_\alpha \xi_\alpha B_\alpha(i), \qquad
               M_{\mu,\nu}(i) = \sum_j f_\mu(r_{ij}; z_i, z_j)\, \hat r_{ij}^{\otimes\nu}, \qquad
               f_\mu = \sum_b c_{z_i z_j \mu b} Q_b

    with :math:`B_\alpha` the full contractions of products of :math:`M_{\mu,\nu}`.
    A. V. Shapeev, Multiscale Model. Simul. 14, 1153 (2016); Podryabinkin and Shapeev's MLIP,
    whose form and order of parameters this is: radial coefficients, species, moments.
    """

    Options = MTPOptions
    uncertainty = "grade"
    formats = (".mtp", ".almtp")
    backends = MappingProxyType({"cpu": "aiida_mlal.ml.models.mtp_prepared:MTPBackend"})
    usual_training = MappingProxyType(
        {
            "epochs": 100,
            "optimizer": {"name": "variable_projection"},
            "loss": {"energy": 1.0, "force": 0.01, "stress": 0.001, "scaling": "vibrations"},
        }
    )

    _mu: Tensor
    _powers: Tensor
    _monomial: Tensor
    _mapping: Tensor

    def __init__(self, elements: Sequence[str], options: MTPOptions | Contraction) -> None:
        self._open = None  # options of which a potential to begin with decides a part
        if isinstance(options, MTPOptions):
            self._open = options if options.min_dist is None else None
            level = options.level if options.basis is None else None
            options = Contraction(options.moments(), options.radial(), level)
        super().__init__(elements, options.radial.cutoff)
        self.basis, self.radial, self.level = options.basis, options.radial, options.level
        self.types = options.types or self.elements
        n, basis = len(self.elements), self.basis
        start = 0.1 * torch.randn(n, n, basis.n_radial, self.radial.size, dtype=torch.float64)
        for mu in range(basis.n_radial):
            start[:, :, mu, min(mu, self.radial.size - 1)] += 1.0
        self.radial_coeffs = nn.Parameter(start)
        self.species_coeffs = nn.Parameter(torch.zeros(n, dtype=torch.float64))
        self.moment_coeffs = nn.Parameter(torch.full((basis.n_scalars,), 1e-3, dtype=torch.float64))

        powers, monomial = torch.tensor(basis.basic[:, 1:]).unique(dim=0, return_inverse=True)
        tables = {
            "_mu": torch.tensor(basis.basic[:, 0]),
            "_powers": powers,
            "_monomial": monomial,
            "_mapping": torch.tensor(basis.mapping),
        }
        tables |= {f"_stage{i}": torch.tensor(rows.T) for i, rows in enumerate(basis.stages)}
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    @classmethod
    def settled(cls, options: MTPOptions, structures: Configurations) -> MTPOptions:
        """Take ``min_dist`` from the structures, rounded down to 0.01 Å."""
        if options.min_dist is not None:
            return options
        shortest = shortest_distance(structures, options.cutoff)
        if shortest is None or shortest < 0.01:
            return options
        return replace(options, min_dist=math.floor(100 * shortest) / 100)

    @classmethod
    def foreseen(cls, options: MTPOptions, structures: Configurations) -> MTPOptions:
        """Take ``min_dist`` from the nearest atoms and the shortest bonds of different elements.

        Simulations may come as near as ``NEARER`` times these. Without such pairs it is that of the
        untrained potentials of MLIP.
        """
        if options.min_dist is not None:
            return options
        nearest = [bond_length(one.numbers) for one in structures]
        nearest.append(shortest_distance(structures, options.cutoff))
        met = [NEARER * distance for distance in nearest if distance is not None]
        usual = min(MIN_DIST, 0.4 * options.cutoff)
        return replace(options, min_dist=max(1, math.floor(100 * min([*met, usual]))) / 100)

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV."""
        moments = self._basic_moments(graph, *self._edges(graph))
        energies = self._site_energies(moments)[0]
        energies = energies + self.species_coeffs[self.species(graph.numbers)]
        if self.radial.repulsive:
            repulsion = self.radial.repulsion(graph.distances)
            energies = energies + graph.sum_over_neighbours(repulsion)
        return energies

    def features(self, graph: Graph) -> Float[Tensor, "atoms features"]:
        """Return the invariants that the moment coefficients multiply."""
        return self._site_energies(self._basic_moments(graph, *self._edges(graph)))[1].T

    def parameter_gradients(self, graph: Graph) -> Float[Tensor, "atoms parameters"]:
        """Return the derivative of the energy of each atom by all parameters, in MLIP's order.

        Sums over the atoms of a structure (``graph.sum_over_atoms``) are the rows of the
        configuration mode of the extrapolation grade, the rows themselves those of the
        neighbourhood mode.
        """
        n_atoms, n, species = len(graph.numbers), len(self.elements), self.species(graph.numbers)
        with torch.no_grad():
            polynomials, monomials = self._edges(graph)
            moments = self._basic_moments(graph, polynomials, monomials)
        with torch.enable_grad():
            moments.requires_grad_()
            energies, scalars = self._site_energies(moments)
            adjoint = torch.autograd.grad(energies.sum(), moments, materialize_grads=True)[0]
        with torch.no_grad():
            centre, neighbour = graph.pairs
            by_moment = adjoint.T[centre] * monomials[:, self._monomial]
            by_function = by_moment.new_zeros(len(centre), self.basis.n_radial)
            by_function = by_function.index_add(1, self._mu, by_moment)
            by_coefficient = by_function[:, :, None] * polynomials[:, None, :]
            radial = by_coefficient.new_zeros(n_atoms * n, *by_coefficient.shape[1:])
            radial = radial.index_add(0, centre * n + species[neighbour], by_coefficient)
            own = nn.functional.one_hot(species, n).to(radial.dtype)
            all_pairs = own[:, :, None, None] * radial.reshape(
                n_atoms, 1, n, radial.shape[1] * radial.shape[2]
            )
            return torch.cat([all_pairs.flatten(1), own, scalars.detach().T], dim=1)

    @classmethod
    def kernels(cls, members: Sequence[Potential]) -> list[Kernel] | None:
        """Return the kernel of potentials that may differ in all but their elements."""
        from aiida_mlal.ml.fast.mtp import MTPKernel, constants  # numba is slow to import

        potentials, sizes = [], set()
        for member in members:
            if not isinstance(member, MTP):
                return None
            potentials.append(constants(member.basis, member.radial, *member._arrays()))
            learned = sum(w.numel() for w in member.parameters() if w.requires_grad)
            sizes.add(learned if learned in (0, member.n_parameters) else None)
        n_parameters = sizes.pop() if len(sizes) == 1 else None
        return [MTPKernel(max(member.cutoff for member in members), potentials, n_parameters)]

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        radial, species, moment = (
            part.detach().cpu().double().numpy()
            for part in (self.radial_coeffs, self.species_coeffs, self.moment_coeffs)
        )
        return radial, species, moment

    def linear_weights(self) -> list[nn.Parameter]:
        """Return the coefficients that the energy is linear in."""
        return [self.species_coeffs, self.moment_coeffs]

    def fix_gauge(self) -> None:
        r"""Make the radial functions orthonormal, as the moment coefficients can make up for it.

        Adding to a radial function one of lower :math:`\mu`, the same for all pairs of species,
        makes of each invariant a sum of invariants that the basis has, as their level is lower.
        With the lengths these are :math:`n (n + 1) / 2` directions that change nothing for
        :math:`n` radial functions. The linear coefficients have to be found anew.
        """
        with torch.no_grad():
            by_function = self.radial_coeffs.movedim(2, 0)
            rows = orthonormal(by_function.reshape(len(by_function), -1))
            self.radial_coeffs.copy_(rows.reshape(by_function.shape).movedim(0, 2))

    def free_directions(self) -> Float[Tensor, "directions radial"]:
        """Span the changes of the radial coefficients that no other coefficient can undo.

        Orthonormal, if the radial functions are.
        """
        by_function = self.radial_coeffs.detach().movedim(2, 0)
        n, size = len(by_function), by_function[0].numel()
        rows = by_function.reshape(n, size)
        # first the functions themselves, then what is orthogonal to them all
        axes = torch.cat([rows, torch.linalg.svd(rows)[2][n:]])
        directions = []
        for mu in range(n):
            for axis in axes[mu + 1 :]:
                direction = torch.zeros_like(by_function)
                direction[mu] = axis.reshape(by_function[0].shape)
                directions.append(direction.movedim(0, 2).flatten())
        if not directions:
            return rows.new_zeros(0, self.radial_coeffs.numel())
        return torch.stack(directions)

    def warm_start(self, other: Potential) -> None:
        """Begin with the coefficients of a potential of this or a lower level, of fewer elements.

        New elements are like the mean of those known, new radial functions are what they were,
        new invariants count nothing.
        """
        if not isinstance(other, MTP):
            return super().warm_start(other)
        fewer = set(other.elements) - set(self.elements)
        if fewer:
            raise ValueError(f"model.elements lack {sorted(fewer)} of the file")
        if self._open is not None:
            min_dist = other.radial.min_dist
            if min_dist < self.cutoff:
                self.radial = replace(self._open, min_dist=min_dist).radial()
        mine, theirs = as_dict(self.radial), as_dict(other.radial)
        factor = theirs.pop("scaling") / mine.pop("scaling")
        size = theirs.pop("size")
        if size > mine.pop("size"):
            raise ValueError(f"model.radial.size is {self.radial.size}, in the file {size}")
        different = difference(mine, theirs, "model.radial")
        if different:
            raise ValueError(different)
        try:
            scalars = torch.from_numpy(self.basis.find(other.basis))
        except ValueError as error:
            theirs_is = f"level {other.level}" if other.level else "a basis with lists of its own"
            raise ValueError(
                f"model.level is {self.level}, in the file is {theirs_is}: {error}"
            ) from error
        known = torch.tensor([self.elements.index(element) for element in other.elements])
        functions = other.basis.n_radial
        with torch.no_grad():
            given = self.radial_coeffs.new_zeros(*other.radial_coeffs.shape[:3], self.radial.size)
            given[..., :size] = factor * other.radial_coeffs
            self.radial_coeffs[:, :, :functions] = given.mean((0, 1))
            self.radial_coeffs[known[:, None], known, :functions] = given
            self.references |= other.references
            self.species_coeffs.fill_(other.species_coeffs.mean())
            self.species_coeffs[known] = other.species_coeffs
            self.moment_coeffs.zero_()
            self.moment_coeffs[scalars] = other.moment_coeffs
        return None

    def warnings(self, structures: Configurations) -> str:
        """Name the structures whose atoms are nearer than the radial functions are made for."""
        near, limit = [], self.radial.min_dist
        for i, one in enumerate(structures):
            if neighbours(one.positions, one.cells[0], one.pbc[0], limit)[0].size:
                near.append(i)
        if not near:
            return ""
        return (
            f"{len(near)} of {len(structures)} structures, the first is {near[0]}, have atoms "
            f"nearer than min_dist, {limit:g} Å: below it the radial functions grow without bounds"
        )

    @property
    def n_parameters(self) -> int:
        """The number of coefficients, and the length of ``parameter_gradients``."""
        return sum(p.numel() for p in self.parameters())

    @property
    def coefficients(self) -> Float[Tensor, " parameters"]:
        """All coefficients in MLIP's order: radial (centre, neighbour, mu, b), species, moments.

        Reference energies are part of those of the species.
        """
        table = torch.tensor(self.reference_table()[0], device=self.device)
        parts = (self.radial_coeffs, self.species_coeffs + table, self.moment_coeffs)
        return torch.cat([part.detach().flatten() for part in parts])

    def set_coefficients(self, coefficients: Float[Tensor, " parameters"]) -> None:
        """Set all coefficients, in the order of ``coefficients``; reference energies are kept."""
        parts = (self.radial_coeffs, self.species_coeffs, self.moment_coeffs)
        radial, species, moment = coefficients.double().split([p.numel() for p in parts])
        species = species - torch.tensor(self.reference_table()[0], device=species.device)
        with torch.no_grad():
            for part, values in zip(parts, (radial, species, moment)):
                part.copy_(values.reshape(part.shape))

    def initialise(self, prepared: Prepared, targets: Prediction, seed: int) -> None:
        """Set the energies of the species by a regression on the compositions."""
        energies = targets.energies.double().numpy(force=True)
        known = np.isfinite(energies)
        if known.any():
            regression = regress(self.composition(prepared.graph)[known], energies[known])
            with torch.no_grad():
                self.species_coeffs.copy_(torch.from_numpy(regression.energies))

    def config(self) -> dict[str, Any]:
        """Return elements, radial basis, and the level or the lists of the basis itself."""
        config: dict[str, Any] = {
            "architecture": "mtp",
            "elements": list(self.elements),
            "radial": as_dict(self.radial),
            "level": self.level,
            "types": list(self.types),
        }
        if self.level is None:
            lists = {"basic": self.basis.basic, "times": self.basis.times}
            lists["mapping"] = self.basis.mapping
            config["basis"] = {name: rows.tolist() for name, rows in lists.items()}
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "MTP":
        """Build the potential of a configuration, its coefficients not yet set."""
        level = config["level"]
        radial = build(RadialBasis, config["radial"], "radial")
        basis = MomentBasis(**config["basis"]) if level is None else MomentBasis.of_level(level)
        types = tuple(config["types"])
        return cls(config["elements"], Contraction(basis, radial, level, types))

    def _edges(
        self, graph: Graph
    ) -> tuple[Float[Tensor, "edges size"], Float[Tensor, "edges monomials"]]:
        """Compute the radial polynomials and the monomials of the unit vector of each edge."""
        distances = graph.distances
        unit = graph.vectors / distances[:, None]
        powers = [torch.ones_like(unit)]
        for _ in range(self.basis.max_rank):
            powers.append(powers[-1] * unit)
        table = torch.stack(powers)  # (rank, edges, 3)
        x, y, z = (table[self._powers[:, axis], :, axis] for axis in range(3))
        return self.radial(distances), (x * y * z).T

    def _basic_moments(
        self,
        graph: Graph,
        polynomials: Float[Tensor, "edges size"],
        monomials: Float[Tensor, "edges monomials"],
    ) -> Float[Tensor, "basic atoms"]:
        species = self.species(graph.numbers)
        pair: Int[Tensor, "2 edges"] = species[graph.pairs]
        if len(self.elements) == 1:
            functions = polynomials @ self.radial_coeffs[0, 0].T
        else:
            coefficients = self.radial_coeffs[pair[0], pair[1]]
            functions = torch.einsum("eb,emb->em", polynomials, coefficients)
        # one small matrix product for each atom, its neighbours filled up with zeros
        n_atoms, n_neighbours = len(species), torch.bincount(graph.pairs[0], minlength=len(species))
        first = n_neighbours.cumsum(0) - n_neighbours
        position = torch.arange(len(functions), device=first.device) - first[graph.pairs[0]]
        most = int(n_neighbours.max()) if n_atoms else 0
        index = (graph.pairs[0], position)

        def padded(values: Tensor) -> Tensor:
            zeros = values.new_zeros(n_atoms, most, values.shape[1])
            return zeros.index_put(index, values)

        moments = padded(functions).transpose(1, 2) @ padded(monomials)
        return moments[:, self._mu, self._monomial].T

    def _site_energies(
        self, moments: Float[Tensor, "basic atoms"]
    ) -> tuple[Float[Tensor, " atoms"], Float[Tensor, "scalars atoms"]]:
        """Contract basic moments: energies (eV) without those of species, and invariants."""
        n_basic, n_atoms = moments.shape
        rest = moments.new_zeros(self.basis.n_moments - n_basic, n_atoms)
        values = torch.cat([moments, rest])
        for i in range(len(self.basis.stages)):
            a, b, factor, c = getattr(self, f"_stage{i}")
            terms = factor.to(values.dtype)[:, None] * values[a] * values[b]
            values = values.index_add(0, c, terms)
        scalars = values[self._mapping]
        return self.moment_coeffs @ scalars, scalars


def orthonormal(rows: Float[Tensor, "rows size"]) -> Float[Tensor, "rows size"]:
    """Orthonormalise rows, each against those before (Gram and Schmidt)."""
    done: list[Tensor] = []
    for k, row in enumerate(rows):
        for _ in range(2):  # the second time for what rounding has left
            for other in done:
                row = row - (row @ other) * other
        length = row.norm()
        if not length > 1e-12 * rows[k].norm():
            raise ValueError(
                f"radial function {k} is a sum of those before, give it other coefficients"
            )
        done.append(row / length)
    return torch.stack(done)
