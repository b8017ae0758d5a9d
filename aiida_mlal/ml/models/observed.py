"""The labels of structures as observations of a Gaussian process of their environments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.gaussian_process import Hyperparameters, Observations, Posterior
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.descriptor import Described
from aiida_mlal.ml.models.prediction import Prediction
from aiida_mlal.ml.models.reference_volumes import ReferenceVolumes
from aiida_mlal.ml.sparse_process import Inducing, SparsePosterior

UPPER = [0, 1, 2, 4, 5, 8]
"""Components of a symmetric matrix that are independent, counted row by row."""

LEAST = 0.2
"""Least change of features per Å that length scales are made of."""


@runtime_checkable
class Process(Protocol):
    """A potential that is the mean of a Gaussian process.

    Attributes
    ----------
    cutoff
        In Å.
    variance
        Of the energy of an atom, in eV².
    noise
        Standard deviations of the labels it was learned from: energies (eV), components of forces
        (eV/Å) and of stresses (eV/Å³); 0 where they were left out. The last is that of a pressure
        (eV/Å³) by which energies and stresses disagree.
    """

    cutoff: float
    variance: Tensor
    noise: Tensor

    @property
    def lengths(self) -> Tensor:
        """The parameters that the length scales depend on."""

    @property
    def groups(self) -> Tensor:
        """Which column of ``lengths`` each feature has its length scale of."""

    @property
    def scales(self) -> Tensor:
        """The length scale of each feature for each element, a function of ``lengths``."""

    @property
    def prior(self) -> Hyperparameters:
        """Of the process, before any label."""

    @property
    def inducing(self) -> Inducing | None:
        """The environments that stand for all, if they do."""

    def learn(self, posterior: Posterior | SparsePosterior) -> None:
        """Take over the mean of a posterior."""

    def graph(self, configurations: Configurations) -> Graph:
        """Make the graph of structures, with the cutoff and precision of the potential."""

    def describe(self, graph: Graph) -> Described:
        """Compute the features and their derivatives once."""

    def predict(self, configurations: Configurations) -> Configurations:
        """Return structures with the mean of the posterior as labels, and reference energies."""

    def relative(self, graph: Graph, targets: Prediction) -> Prediction:
        """Subtract the reference energies from energies."""


class Observed(NamedTuple):
    """The labels of some structures.

    Attributes
    ----------
    structures
        What was observed of each that has labels.
    values
        Energies (eV), and derivatives of the energy by the strain of a component of a force (eV/Å)
        or by a component of the virial (eV), structure by structure.
    noise
        Standard deviation of each.
    shared
        What a standard deviation of the pressure by which energies and stresses disagree changes of
        each: of energies, where stresses are learned too, about those at ``ReferenceVolumes``.
    """

    structures: list[Observations]
    values: Float[Tensor, " observations"]
    noise: Float[Tensor, " observations"]
    shared: Float[Tensor, " observations"]


@dataclass(frozen=True, eq=False)
class Observing:
    """What is observed of some structures after others, made whenever it is iterated over.

    So that of many structures few are in memory.
    """

    make: Callable[[], Iterator[Observed]]

    def __iter__(self) -> Iterator[Observed]:
        """Iterate over the parts."""
        return self.make()


def observed(
    described: Described,
    targets: Prediction,
    noise: Float[Tensor, "4"],
    reference: ReferenceVolumes | None = None,
) -> Observed:
    """Collect all labels that are numbers, of the kinds that have a noise above 0.

    These may be some of the structures; ``reference`` is then that of all.
    """
    volumes = described.graph.volumes
    if reference is None:
        reference = ReferenceVolumes.of(described.graph, targets)
    # A pressure works on these: on whole volumes it would move the energies of all atoms by about
    # the same, which nothing in the labels tells from the constants of the elements.
    excess = reference.excess(described.graph)
    structures, values, deviations, shared = [], [], [], []
    learned, has_stresses = noise[:3] > 0, bool(noise[2] > 0)
    for one, mine, slopes in _each(described):
        energy = targets.energies[one : one + 1]
        forces = targets.forces[mine].flatten()
        virial = (targets.stresses[one] * volumes[one]).flatten()[UPPER]
        n_forces = len(forces)
        virials = _virials(slopes[n_forces:])
        of_energy, of_forces, of_virial = (
            part.isfinite() & wanted for part, wanted in zip((energy, forces, virial), learned)
        )
        derivatives = torch.cat([slopes[:n_forces][of_forces], virials[of_virial]])
        observations = _of(described, mine, int(of_energy), derivatives)
        if not len(observations):
            continue
        structures.append(observations)
        values += [energy[of_energy], forces[of_forces], virial[of_virial]]
        for kind, sigma in zip(
            (of_energy, of_forces, of_virial), (noise[0], noise[1], noise[2] * volumes[one])
        ):
            deviations.append(sigma.to(energy).expand(int(kind.sum())))
        together = energy.new_zeros(len(observations))
        if has_stresses and volumes[one].isfinite():
            together[: int(of_energy)] = noise[3] * excess[one]
        shared.append(together)
    return Observed(structures, torch.cat(values), torch.cat(deviations), torch.cat(shared))


def count(
    graph: Graph, targets: Prediction, noise: Float[Tensor, "4"]
) -> Int[Tensor, " structures"]:
    """Count the labels of each structure that ``observed`` collects."""
    of_atoms = targets.forces.isfinite().sum(1).to(graph.volumes)
    counts = graph.sum_over_atoms(of_atoms) * (noise[1] > 0)
    counts += targets.energies.isfinite() * (noise[0] > 0)
    of_stress = targets.stresses.flatten(1)[:, UPPER] * graph.volumes[:, None]
    return (counts + of_stress.isfinite().sum(1) * (noise[2] > 0)).long()


def observable(
    described: Described, with_virial: bool = False
) -> Iterator[tuple[int, Int[Tensor, " atoms"], Observations]]:
    """Yield the index of each structure, its atoms in some order, and what could be observed of it.

    That is the energy, then the components of the forces on the atoms in this order, then, if
    wanted, the components of the virial that ``UPPER`` names.
    """
    for one, mine, slopes in _each(described):
        n_forces = 3 * len(mine)
        wanted = slopes[:n_forces]
        if with_virial:
            wanted = torch.cat([wanted, _virials(slopes[n_forces:])])
        yield one, mine, _of(described, mine, 1, wanted)


def sensitivities(described: Described, process: Process) -> Float[Tensor, "elements groups"]:
    """Compute the sensitivity of features to random displacements of neighbours, per Å.

    The root of the mean square over atoms of an element, of the features that share a length scale;
    at least ``LEAST``, since features that an environment doesn't move yet aren't constant. Each
    periodic image is a neighbour of its own, so that a crystal has the same in any cell.
    """
    shape, squares = process.lengths.shape, described.squares
    atoms = torch.bincount(described.species, minlength=shape[0]).clamp(min=1)
    by_element = squares.new_zeros(shape[0], squares.shape[1])
    by_element = by_element.index_add(0, described.species, squares)
    by_group = squares.new_zeros(shape).index_add(1, process.groups, by_element)
    return (by_group / atoms[:, None] / 3).sqrt().clamp(min=LEAST)


def _virials(
    slopes: Float[Tensor, "9 atoms features"],
) -> Float[Tensor, "6 atoms features"]:
    """Symmetrise derivatives by strains, row by row."""
    square = slopes.unflatten(0, (3, 3))
    return ((square + square.transpose(0, 1)) / 2).flatten(0, 1)[UPPER]


def _of(
    described: Described,
    atoms: Int[Tensor, " atoms"],
    n_energies: int,
    slopes: Float[Tensor, "derivatives atoms features"],
) -> Observations:
    """Return the energy of some atoms, or not, then the derivatives along slopes."""
    heights = slopes.new_zeros(n_energies + len(slopes))
    heights[:n_energies] = 1.0
    energies = slopes.new_zeros(n_energies, *slopes.shape[1:])
    return Observations(
        described.features[atoms], described.species[atoms], heights, torch.cat([energies, slopes])
    )


def _each(described: Described) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the index of each structure with atoms, these, and its map from dE/dG."""
    for structures, atoms in described.alike():
        yield from zip(structures.tolist(), atoms, described.maps(structures, atoms))
