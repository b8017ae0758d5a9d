"""The engine for all potentials: torch, on any device."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Int
from torch import Tensor

from aiida_mlal.ml.engines.base import Evaluation, Members
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.surroundings import Surroundings


class TorchEngine:
    """Evaluates any potential, on the device where its weights are.

    Parameters
    ----------
    potential
        What predicts.
    skin
        How much farther than the cutoff neighbours are looked for, in Å.
    """

    name = "torch"
    has_gradients = True

    def __init__(self, potential: Potential, skin: float) -> None:
        self._potential = potential
        self.neighbourhood = Neighbourhood(potential, skin)

    @property
    def computed_by(self) -> tuple[str, ...]:
        """Torch, or the backend of the potential."""
        return self._potential.engines

    def __call__(self, atoms: Atoms, gradients: bool = False) -> Evaluation:
        """Evaluate atoms as they are now; with ``gradients`` also derivatives by parameters."""
        potential, graph = self._potential, self.neighbourhood.graph(atoms)
        with torch.no_grad():
            committee = potential.committee(graph)
        mean = committee.mean()
        species = potential.species(graph.numbers).cpu().numpy()
        size = len(potential.elements)
        return Evaluation(
            float(mean.energies[0]),
            _array(mean.forces),
            _array(mean.stresses[0]) * float(graph.volumes[0]),
            Members(_array(committee.energies[:, 0]), _array(committee.forces)),
            contacts=partial(_edges, graph),
            surroundings=partial(_surroundings, graph, species, size, potential.cutoff),
            gradients=_array(potential.parameter_gradients(graph)) if gradients else None,
            graph=lambda: graph,
        )

    def remember(self) -> Mapping[str, Any]:
        """Return positions (Å) and cell of the last search for neighbours."""
        return self.neighbourhood.remember()

    def recall(self, atoms: Atoms, memory: Mapping[str, Any]) -> None:
        """Search for neighbours at the positions and cell that ``remember`` returned."""
        self.neighbourhood.recall(atoms, memory)


class Neighbourhood:
    """The graph of moving atoms, whose neighbours are looked for again only when need be.

    Attributes
    ----------
    searches
        How often neighbours have been looked for.
    """

    def __init__(self, potential: Potential, skin: float) -> None:
        self._potential, self.skin = potential, skin
        self._key: tuple[bytes, ...] = ()
        self._origin = np.zeros((0, 3)), np.zeros((3, 3))
        self.searches = 0

    def remember(self) -> Mapping[str, Any]:
        """Return positions (Å) and cell of the last search for neighbours."""
        return {"graph": self._origin} if self.searches else {}

    def recall(self, atoms: Atoms, memory: Mapping[str, Any]) -> None:
        """Look for neighbours of atoms where the last search was."""
        if "graph" in memory:
            positions, cell = memory["graph"]
            self._search(Atoms(atoms.numbers, positions, cell=cell, pbc=atoms.pbc))

    def graph(self, atoms: Atoms) -> Graph:
        """Return the graph of the atoms where they are now."""
        positions = atoms.positions
        if not (np.isfinite(positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ValueError("positions or cell are not finite")
        if _key(atoms) != self._key or self._moved(positions) > self.skin / 2:
            self._search(atoms)
        there = torch.tensor(positions, device=self._pairs.device)
        centre, neighbour = self._pairs
        moved = there[neighbour] - there[centre] + self._translations
        graph = Graph(
            numbers=self._numbers,
            owner=self._owner,
            pairs=self._pairs,
            vectors=moved.to(self._potential.dtype),
            shifts=self._shifts,
            positions=there,
            cells=self._cells,
            pbc=self._pbc,
            volumes=self._volumes,
        )
        return graph.within(self._potential.cutoff)

    def _moved(self, positions: np.ndarray) -> float:
        """Compute the largest displacement since the last search, in Å."""
        if not len(positions):
            return 0.0
        return float(np.sqrt(((positions - self._origin[0]) ** 2).sum(axis=1).max()))

    def _search(self, atoms: Atoms) -> None:
        cell, device = atoms.cell.array, self._potential.device
        reach = self._potential.cutoff + self.skin
        pairs, shifts = neighbours(atoms.positions, cell, atoms.pbc, reach)
        volume = abs(np.linalg.det(cell)) if atoms.pbc.all() else np.nan
        self._pairs = torch.tensor(pairs, device=device)
        self._shifts = torch.tensor(shifts, device=device)
        self._translations = torch.tensor(shifts @ cell, device=device)
        self._cells = torch.tensor(cell[None], device=device)
        self._pbc = torch.tensor(atoms.pbc[None], device=device)
        self._numbers = torch.tensor(atoms.numbers, dtype=torch.int64, device=device)
        self._owner = torch.zeros_like(self._numbers)
        self._volumes = torch.tensor([volume], dtype=self._potential.dtype, device=device)
        self._key, self._origin = _key(atoms), (atoms.positions.copy(), np.array(cell))
        self.searches += 1


def _key(atoms: Atoms) -> tuple[bytes, ...]:
    return atoms.numbers.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes()


def _edges(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    return graph.pairs.cpu().numpy(), graph.distances.cpu().numpy()


def _surroundings(
    graph: Graph, species: Int[np.ndarray, " atoms"], n_elements: int, cutoff: float
) -> Surroundings:
    return Surroundings.of_pairs(species, n_elements, *_edges(graph), cutoff)


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.detach().double().cpu().numpy()
    return array
