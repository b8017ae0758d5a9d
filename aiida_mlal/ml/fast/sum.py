"""The sum of kernels that share their lists of neighbours."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from aiida_mlal.ml.evaluator import Evaluation, Kernel, Members
from aiida_mlal.ml.fast.species import Species
from aiida_mlal.ml.fast.threads import Threads
from aiida_mlal.ml.fast.verlet import Part, Verlet, fold, nearest


class FastSum:
    """Evaluates a sum of kernels; those with one member are added to all members.

    Parameters
    ----------
    elements
        In the order of the species.
    kernels
        What is added.
    skin
        How much farther than the largest cutoff neighbours are looked for, in Å.
    threads
        Among how many threads the atoms are divided.
    """

    has_rows = False

    def __init__(
        self, elements: Sequence[str], kernels: Sequence[Kernel], skin: float, threads: int = 1
    ) -> None:
        self._threads = Threads(threads)
        self.elements, self.kernels = tuple(elements), list(kernels)
        self.n_members = max(kernel.n_members for kernel in self.kernels)
        cutoff = max(kernel.cutoff for kernel in self.kernels)
        self.verlet = Verlet(cutoff, len(self.elements), skin)
        self._species = Species(self.elements)

    @property
    def is_ready(self) -> bool:
        """Whether nothing has to be compiled."""
        return all(kernel.is_ready for kernel in self.kernels)

    def __call__(
        self,
        numbers: Int[np.ndarray, " atoms"],
        positions: Float[np.ndarray, "atoms 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: np.ndarray,
        rows: bool = False,
    ) -> Evaluation:
        """Evaluate one structure; there are no derivatives by the parameters."""
        if rows:
            raise ValueError("these kernels have no derivatives by the parameters")
        species, n = self._species.of(numbers), len(numbers)
        verlet = self.verlet
        verlet.update(np.array(positions, dtype=float, order="C"), np.asarray(cell), pbc, species)
        energies, forces = np.zeros((self.n_members, n)), np.zeros((self.n_members, n, 3))
        virial = np.zeros((3, 3))
        parts = verlet.parts(self._threads.n)
        for kernel in self.kernels:
            found, images = self._add(kernel, parts)
            energies += found
            folded, strain = np.zeros((kernel.n_members, n, 3)), np.zeros((3, 3))
            for member in range(kernel.n_members):
                ghosts = np.ascontiguousarray(images[:, member])
                fold(verlet.owner, verlet.positions, ghosts, folded[member], strain)
            forces += folded
            virial += strain / kernel.n_members
        contacts = partial(_contacts, verlet, n)
        if self.n_members == 1:
            return Evaluation(energies[0], forces[0], virial, contacts)
        members = Members(energies.sum(axis=1), forces)
        mean = energies.sum(axis=0) / self.n_members, forces.sum(axis=0) / self.n_members
        return Evaluation(*mean, virial, contacts, members=members)

    def _add(
        self, kernel: Kernel, parts: Sequence[Part]
    ) -> tuple[Float[np.ndarray, "members atoms"], Float[np.ndarray, "threads members images 3"]]:
        """Return the energies of atoms and the forces on images, of each part, by a kernel."""
        m, n = kernel.n_members, parts[-1].atoms[1]
        energies, images = np.zeros((m, n)), np.zeros((len(parts), m, *parts[0].positions.shape))

        def run(t: int) -> None:
            low, high = parts[t].atoms
            mine = np.zeros((m, high - low))
            kernel.add(parts[t], mine, images[t])
            energies[:, low:high] = mine
            images[t] = parts[t].at_home(images[t])

        self._threads.run(run)
        return energies, images


def _contacts(
    verlet: Verlet, n_atoms: int
) -> tuple[Int[np.ndarray, "2 pairs"], Float[np.ndarray, " pairs"]]:
    found, squares = nearest(
        n_atoms, verlet.positions, verlet.neighbours, verlet.begin, verlet.n_species, verlet.cutoff
    )
    atom, species = np.nonzero(found >= 0)
    there = verlet.owner[found[atom, species]].astype(atom.dtype)
    return np.stack([atom, there]), np.sqrt(squares[atom, species])
