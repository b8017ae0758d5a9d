"""Any potential as an ASE calculator."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Float
from torch import Tensor

from aiida_mlal.ml.evaluator import Contacts, EngineName
from aiida_mlal.ml.graph import Graph
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.neighbours import neighbours
from aiida_mlal.ml.uncertainty.base import Uncertainties, Uncertainty

if TYPE_CHECKING:
    from aiida_mlal.ml.fast.engine import Engine

_VOIGT, _TRANSPOSED = [0, 4, 8, 5, 2, 1], [0, 4, 8, 7, 6, 3]
"""Places of xx, yy, zz, yz, xz, xy in a matrix, and in its transpose."""


class MLCalculator(Calculator):
    """Energy, forces and stress of a potential for ASE.

    Beside the properties of ASE, ``results`` has ``uncertainty`` (a number) and, where the measure
    has them, ``uncertainties`` (one for each atom).

    Parameters
    ----------
    potential
        What predicts; the mean, if it is a committee.
    uncertainty
        What measures how far the prediction may be wrong; nothing does without it.
    skin
        How much farther than the cutoff neighbours are looked for, in Å: the list of neighbours
        is made again when an atom has moved by half of it.
    engine
        What computes: kernels in ``numba``, ``torch``, or ``auto``: kernels on the CPU where the
        potential has them and the measure goes with them, else torch. Both agree to rounding.
    threads
        Among how many threads kernels divide the atoms, which changes no result.

    Attributes
    ----------
    evaluator
        The kernels in use; None where torch computes.
    engines
        What computes, by name.
    contacts
        Returns pairs of atoms of the last structure and their distances in Å: for each atom at
        least its nearest neighbour of each element within the cutoff.
    pairs
        Returns all within the cutoff, in both directions, in the same form.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential,
        uncertainty: Uncertainty | None = None,
        skin: float = 0.5,
        engine: EngineName = "auto",
        threads: int = 1,
    ) -> None:
        super().__init__()
        if threads < 1:
            raise ValueError(f"expected one thread or more, got {threads}")
        if not skin >= 0:
            raise ValueError(f"expected a skin of 0 Å or more, got {skin}")
        self.potential, self.uncertainty = potential, uncertainty
        self.neighbourhood = Neighbourhood(potential, skin)
        self._domain = None if uncertainty is None else uncertainty.domain(potential)
        self._by_rows = None if uncertainty is None else uncertainty.of_rows(potential)
        self._by_members = None if uncertainty is None else uncertainty.of_members(potential)
        self._by_graph = None if uncertainty is None else uncertainty.of_graph(potential)
        self.evaluator = None if engine == "torch" else self._kernels(threads)
        if engine == "numba" and self.evaluator is None:
            raise ValueError(
                f"the engine 'numba' has no kernels for "
                f"{potential.describe()['architecture']!r} on "
                f"the device {potential.device.type!r}"
                + ("" if uncertainty is None else f" with the uncertainty {uncertainty.kind!r}")
                + "; choose 'auto' or 'torch'"
            )
        self.engines = potential.engines if self.evaluator is None else ("numba",)
        self.contacts: Contacts = _no_contacts
        self.pairs: Contacts = _no_contacts

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return what has changed since the last calculation, by any amount.

        ASE's own check with a tolerance would take longer than a fast potential.
        """
        if self.atoms is None:
            return list(all_changes)
        last = self.atoms
        pairs = {
            "positions": (atoms.positions, last.positions),
            "numbers": (atoms.numbers, last.numbers),
            "cell": (atoms.cell.array, last.cell.array),
            "pbc": (atoms.pbc, last.pbc),
        }
        return [
            name
            for name, (new, old) in pairs.items()
            if new.shape != old.shape or new.tobytes() != old.tobytes()
        ]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Predict everything at once."""
        if atoms is not None:
            self._remember(atoms)
        periodic = all(self.atoms.pbc.tolist())
        if "stress" in properties and not periodic:
            raise PropertyNotImplementedError("only a structure periodic in all directions has one")
        if self.evaluator is not None:
            self._evaluate(self.evaluator, periodic)
            return
        graph = self.neighbourhood.graph(self.atoms)
        self.contacts = self.pairs = partial(_edges, graph)
        with torch.no_grad():
            committee = self.potential.committee(graph)
        mean = committee.mean()
        energy = float(mean.energies[0])
        results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "forces": _array(mean.forces),
        }
        if periodic:
            results["stress"] = full_3x3_to_voigt_6_stress(_array(mean.stresses[0]))
        self.results = results
        if self.uncertainty is not None:
            self._know(self.uncertainty.of(self.potential, graph, committee))

    def _remember(self, atoms: Atoms) -> None:
        """Keep what results depend on; to copy all of it would take a while at every step."""
        mine = self.atoms
        if mine is None or mine.numbers.tobytes() != atoms.numbers.tobytes():
            self.atoms = atoms.copy()
            return
        mine.positions[:] = atoms.positions
        mine.cell.array[:] = atoms.cell.array
        mine.pbc[:] = atoms.pbc

    def _kernels(self, threads: int) -> "Engine | None":
        """Return kernels that find all that the measure needs, if there are such."""
        ways = (self._by_rows, self._by_members, self._by_graph)
        if self.uncertainty is not None and all(way is None for way in ways):
            return None
        evaluator = self.potential.evaluator(self.neighbourhood.skin, threads)
        if self._by_rows is not None and evaluator is not None and not evaluator.has_gradients:
            return None
        return evaluator

    def _evaluate(self, evaluator: "Engine", periodic: bool) -> None:
        atoms = self.atoms
        with_rows = self._by_rows is not None
        found = evaluator(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, with_rows)
        self.contacts, self.pairs = found.contacts, found.pairs
        energy = float(found.energies.sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": found.forces,
        }
        if periodic:
            virial = found.virial.ravel()
            twice = virial.take(_VOIGT) + virial.take(_TRANSPOSED)
            self.results["stress"] = twice / (2 * _volume(atoms.cell.array))
        if self._by_rows is not None and found.gradients is not None:
            self._know(self._by_rows(found.gradients))
        elif self._by_members is not None and found.members is not None:
            self._know(self._by_members(found.members))
        elif self._by_graph is not None:
            self._know(self._by_graph(self.neighbourhood.graph(atoms)))

    def _know(self, found: Uncertainties) -> None:
        if self._domain is not None and self.uncertainty is not None:
            numbers, domain = self.atoms.numbers, self._domain
            scores = domain.scores(numbers, domain.around(numbers, *self.pairs()))
            owner = np.zeros(len(numbers), int)
            found = domain.widen(found, scores, owner, self.uncertainty.is_variance)
        self.results["uncertainty"] = float(found.values[0])
        if found.per_atom is not None:
            self.results["uncertainties"] = np.asarray(found.per_atom)


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
        self._positions = np.zeros((0, 3))
        self.searches = 0

    def graph(self, atoms: Atoms) -> Graph:
        """Return the graph of the atoms where they are now."""
        positions = atoms.positions
        if not (np.isfinite(positions).all() and np.isfinite(atoms.cell.array).all()):
            raise ValueError("positions or cell are not finite")
        key = (atoms.numbers.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes())
        if key != self._key or self._moved(positions) > self.skin / 2:
            self._search(atoms)
            self._key, self._positions = key, positions.copy()
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
        """Return how far an atom is from where it was at the last search, in Å."""
        if not len(positions):
            return 0.0
        return float(np.sqrt(((positions - self._positions) ** 2).sum(axis=1).max()))

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
        self.searches += 1


def _volume(cell: Float[np.ndarray, "3 3"]) -> float:
    """Return what ``abs(np.linalg.det(cell))`` is, sooner."""
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return float(abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)))


def _edges(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    return graph.pairs.cpu().numpy(), graph.distances.cpu().numpy()


def _no_contacts() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((2, 0), int), np.zeros(0)


def _array(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.double().cpu().numpy()
    return found
