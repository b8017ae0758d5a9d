"""Kernels that share their lists of neighbours, evaluated for one structure after another."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.engines.base import Evaluation, Kernel, Members
from aiida_mlal.ml.fast.species import Species
from aiida_mlal.ml.fast.threads import Threads
from aiida_mlal.ml.fast.verlet import Verlet, fold, nearest, surroundings
from aiida_mlal.ml.surroundings import Surroundings

if TYPE_CHECKING:
    from aiida_mlal.ml.graph import Graph


class KernelSum:
    """Evaluates a sum of kernels; those with one member are added to all members.

    Neighbour lists are kept between calls. The atoms are divided into ranges, by their number
    alone, and what the ranges find is added in their order: no result depends on the number of
    threads.

    Parameters
    ----------
    elements
        In the order of the species.
    kernels
        What is added.
    references
        Energies in eV of the elements, added for each atom; the same for all members, or not.
    skin
        How much farther than the largest cutoff neighbours are looked for, in Å.
    threads
        Among how many threads the ranges are divided.
    """

    def __init__(
        self,
        elements: Sequence[str],
        kernels: Sequence[Kernel],
        references: Float[np.ndarray, "members elements"],
        skin: float,
        threads: int = 1,
    ) -> None:
        self._threads = Threads(threads)
        self.elements, self.kernels = tuple(elements), list(kernels)
        self.references = references
        self.n_members = max(len(references), *(kernel.n_members for kernel in self.kernels))
        cutoff = max(kernel.cutoff for kernel in self.kernels)
        self.verlet = Verlet(cutoff, len(self.elements), skin)
        self._species = Species(self.elements)

    @property
    def has_gradients(self) -> bool:
        """Whether the derivatives by all parameters that are not fixed are known."""
        sizes = [kernel.n_parameters for kernel in self.kernels]
        return None not in sizes and any(sizes)

    def search(
        self,
        numbers: Int[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
    ) -> None:
        """Look for neighbours as they are at these positions in this cell."""
        self.verlet.search(
            np.array(positions, float), np.array(cell), pbc, self._species.of(numbers)
        )

    def __call__(
        self,
        numbers: Int[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        gradients: bool = False,
        graph: "Callable[[], Graph] | None" = None,
    ) -> Evaluation:
        """Evaluate one structure; with ``gradients`` also derivatives by the parameters.

        ``graph`` becomes that of the evaluation.
        """
        if gradients and not self.has_gradients:
            raise ValueError("these kernels have no derivatives by the parameters")
        species, n = self._species.of(numbers), len(numbers)
        verlet, kernels, n_threads = self.verlet, self.kernels, self._threads.n
        verlet.update(np.array(positions, dtype=float, order="C"), np.asarray(cell), pbc, species)
        ranges = verlet.ranges()
        slopes = [_empty(kernel, n) if gradients else None for kernel in kernels]
        results = {}

        def run(thread: int) -> None:
            for p in range(thread, len(ranges), n_threads):
                part = ranges[p]
                for k, kernel in enumerate(kernels):
                    energies = np.zeros((kernel.n_members, len(part.species)))
                    forces = np.zeros((kernel.n_members, *part.positions.shape))
                    mine = slopes[k]
                    own = None if mine is None else mine[:, part.atoms]
                    kernel.add(part, energies, forces, own)
                    results[k, p] = energies, forces

        self._threads.run(run)
        energies, forces = np.zeros((self.n_members, n)), np.zeros((self.n_members, n, 3))
        energies += self.references.take(species, axis=1)
        virial = np.zeros((3, 3))
        for k, kernel in enumerate(kernels):
            folded, strain = np.zeros((kernel.n_members, n, 3)), np.zeros((3, 3))
            for p, part in enumerate(ranges):
                own, images = results[k, p]
                energies[:, part.atoms] += own
                for member in range(kernel.n_members):
                    fold(part.owner, part.positions, images[member], folded[member], strain)
            forces += folded
            virial += strain / kernel.n_members
        by_parameters = _side_by_side(slopes) if gradients else None
        one = self.n_members == 1
        mean = energies[0] if one else energies.sum(axis=0) / self.n_members
        totals = energies.sum(axis=1)
        return Evaluation(
            float(totals[0] if one else mean.sum()),
            forces[0] if one else forces.sum(axis=0) / self.n_members,
            virial,
            Members(totals, forces),
            contacts=partial(_contacts, verlet, n),
            surroundings=partial(_surroundings, verlet, n),
            energies=mean,
            gradients=by_parameters,
            graph=graph,
        )


def _empty(kernel: Kernel, n: int) -> np.ndarray | None:
    """Return room for the derivatives by the parameters of a kernel; None if it has none."""
    return np.zeros((kernel.n_members, n, kernel.n_parameters)) if kernel.n_parameters else None


def _side_by_side(slopes: Sequence[np.ndarray | None]) -> Float[np.ndarray, "atoms parameters"]:
    """Return the derivatives of the mean of the members by the parameters of all of them."""
    known = [own for own in slopes if own is not None]
    if len(known) == 1 and len(known[0]) == 1:
        return known[0][0]
    return np.concatenate([one / len(own) for own in known for one in own], axis=1)


def _contacts(
    verlet: Verlet, n_atoms: int
) -> tuple[Int[np.ndarray, "2 pairs"], Float[np.ndarray, " pairs"]]:
    index, squares = nearest(
        n_atoms, verlet.positions, verlet.neighbours, verlet.begin, verlet.n_species, verlet.cutoff
    )
    atom, species = np.nonzero(index >= 0)
    there = verlet.owner[index[atom, species]].astype(atom.dtype)
    return np.stack([atom, there]), np.sqrt(squares[atom, species])


def _surroundings(verlet: Verlet, n_atoms: int) -> Surroundings:
    nearest_crowding_swell = surroundings(
        n_atoms, verlet.positions, verlet.neighbours, verlet.begin, verlet.n_species, verlet.cutoff
    )
    return Surroundings(*nearest_crowding_swell)
