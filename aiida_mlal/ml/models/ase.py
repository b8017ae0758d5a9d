"""Any calculator of ASE as a potential without weights, such as a prior to learn the rest of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import chemical_symbols
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.labelling.calculators import CalculatorOptions, compute
from aiida_mlal.ml.models.of_options import OfOptions
from aiida_mlal.ml.models.prediction import Prediction


@dataclass(frozen=True)
class ASEOptions:
    """Which calculator.

    Attributes
    ----------
    calculator
        Name and options as for labels, ``{"name": "lj", "options": {"sigma": 2.3}}``, or a
        ``factory``.
    cutoff
        Up to which distance in Å what watches a simulation sees neighbours. The calculator has a
        reach of its own.
    """

    calculator: CalculatorOptions
    cutoff: float = 4.0


class HasCalculator(Protocol):
    """Options from which a calculator and what watches its simulations follow."""

    @property
    def calculator(self) -> CalculatorOptions:
        """Which calculator."""

    @property
    def cutoff(self) -> float:
        """Up to which distance in Å what watches a simulation sees neighbours."""


class ASEPotential(OfOptions):
    """What a calculator of ASE computes: energies, forces and, in a crystal, stresses.

    The calculator gets the atoms, not the edges of the graph, and its derivatives are its own: it
    runs simulations and is a term of a sum, computed once for structures that are learned from,
    but nothing is differentiated through it. Stresses are NaN where it has none.
    """

    Options: ClassVar[Any] = ASEOptions
    is_learned: ClassVar[bool] = False

    def __init__(self, elements: Sequence[str], options: HasCalculator) -> None:
        super().__init__(elements, options.cutoff)
        self.options = options
        # without weights or tables, this is what has the floating-point type of predictions
        self.register_buffer("_like", torch.zeros(0, dtype=torch.float64))

    @classmethod
    def check_possible(cls, elements: Sequence[str], options: HasCalculator) -> None:
        """Raise ``ValueError`` for elements that the calculator is known to lack."""
        options.calculator.check(elements)

    def interaction(self, graph: Graph) -> Prediction:
        """Compute each structure."""
        self.check_elements(chemical_symbols[z] for z in graph.numbers.unique().tolist())
        like = graph.vectors
        energies = like.new_zeros(len(graph.volumes), dtype=torch.float64)
        forces = like.new_zeros(len(graph.numbers), 3)
        stresses = like.new_zeros(len(graph.volumes), 3, 3)
        numbers, positions, cells, pbc = (
            values.numpy(force=True)
            for values in (graph.numbers, graph.positions, graph.cells, graph.pbc)
        )
        end = 0
        for i, count in enumerate(graph.counts.tolist()):
            mine, end = slice(end, end + count), end + count
            atoms = Atoms(numbers[mine], positions[mine], cell=cells[i], pbc=pbc[i])
            atoms.calc = self._calculator
            with torch.inference_mode(False), torch.enable_grad():  # it may be of torch as well
                computed = compute(atoms)
            energies[i] = computed.energy
            forces[mine] = torch.from_numpy(computed.forces)
            stresses[i] = torch.from_numpy(computed.stress)
        return Prediction(energies, forces, stresses)

    def atomic_energies(self, graph: Graph) -> Float[Tensor, " atoms"]:
        """Return the energy of each atom in eV: an equal share of that of its structure."""
        return (self.interaction(graph).energies / graph.counts)[graph.owner]

    @cached_property
    def _calculator(self) -> BaseCalculator:
        return self.options.calculator.build()
