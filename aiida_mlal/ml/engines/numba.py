"""The engine of kernels on the CPU, for potentials that have them."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ase import Atoms

from aiida_mlal.ml.engines.base import Evaluation
from aiida_mlal.ml.engines.torch import Neighbourhood
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.capabilities import HasKernels

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.sum import KernelSum


class NumbaEngine:
    """Evaluates a potential by its kernels, with the weights that it has now.

    Parameters
    ----------
    potential
        What measures of uncertainty may look at.
    kernels
        Its kernels.
    skin
        How much farther than the cutoff neighbours are looked for, in Å.
    """

    name = "numba"
    computed_by = ("numba",)

    def __init__(self, potential: Potential, kernels: "KernelSum", skin: float) -> None:
        self.kernels = kernels
        self._neighbourhood = Neighbourhood(potential, skin)

    @property
    def has_gradients(self) -> bool:
        """Whether all kernels have derivatives by their parameters."""
        return self.kernels.has_gradients

    def __call__(self, atoms: Atoms, gradients: bool = False) -> Evaluation:
        """Evaluate atoms as they are now; with ``gradients`` also derivatives by parameters."""
        return self.kernels(
            atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, gradients,
            partial(self._neighbourhood.graph, atoms),
        )  # fmt: skip

    def remember(self) -> Mapping[str, Any]:
        """Return positions (Å) and cell of the last searches, for kernels and for graphs."""
        origin = self.kernels.verlet.origin
        kernels = {} if origin is None else {"kernels": origin}
        return {**self._neighbourhood.remember(), **kernels}

    def recall(self, atoms: Atoms, memory: Mapping[str, Any]) -> None:
        """Search for neighbours at the positions and cell that ``remember`` returned."""
        self._neighbourhood.recall(atoms, memory)
        if "kernels" in memory:
            positions, cell = memory["kernels"]
            self.kernels.search(atoms.numbers, positions, cell, atoms.pbc)


def kernels_of(potential: Potential, skin: float, threads: int = 1) -> "KernelSum | None":
    """Make the kernels of a potential, with its present weights; None if it has none.

    There are none on a GPU.

    Parameters
    ----------
    skin
        How much farther than the cutoff neighbours are looked for, in Å, to keep them for a while.
    threads
        Among how many threads the atoms are divided.
    """
    if potential.device.type != "cpu" or not isinstance(potential, HasKernels):
        return None
    kernels = potential.kernels([potential])
    if kernels is None:
        return None
    from aiida_mlal.ml.fast.sum import KernelSum  # numba is slow to import

    return KernelSum(potential.elements, kernels, potential.reference_table(), skin, threads)
