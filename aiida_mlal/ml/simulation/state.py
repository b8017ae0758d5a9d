"""States of simulations, from which these continue to the last bit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.content import read_bytes
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tensorfile import pack, unpack

FORMAT, VERSION = "aiida-mlal/simulation", 1

_ARRAY = "$array"
"""Stands in JSON for an array, with its name in the file."""


@dataclass(frozen=True, eq=False)
class SimulationState:
    """The state of a run between two steps.

    Attributes
    ----------
    step
        The step that it has come to. Its frame is recorded again when the run goes on.
    positions
        Of the atoms of each image, in Å.
    cells
        Of each image, lattice vectors as rows, in Å.
    momenta
        Of the atoms of each image, in the units of ASE; None where nothing has any.
    memory
        All else that later steps depend on, as mappings, lists, arrays and JSON values: what an
        optimiser or thermostat remembers, where neighbours were looked for, counts of frames.
    """

    step: int
    positions: Float[np.ndarray, "images atoms 3"]
    cells: Float[np.ndarray, "images 3 3"]
    momenta: Float[np.ndarray, "images atoms 3"] | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is no state, such as that of a damaged file."""
        shape, cells = np.shape(self.positions), np.shape(self.cells)
        momenta = shape if self.momenta is None else np.shape(self.momenta)
        fits = len(shape) == 3 and shape[2] == 3 and momenta == shape and cells == (shape[0], 3, 3)
        if not fits:
            raise ValueError(
                f"expected positions and momenta of shape (images, atoms, 3) and cells of shape "
                f"(images, 3, 3), got {shape}, {momenta}, {cells}"
            )
        if not (isinstance(self.step, int) and self.step >= 0 and isinstance(self.memory, Mapping)):
            raise ValueError(f"expected a step of 0 or more and what is remembered, got {self}")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of unfinished simulations: results of finished runs, state of the present one.

    Attributes
    ----------
    system
        Tells which structures they began from, see ``system_of``.
    runs
        How each run ended that is over, as the JSON values of ``Run``.
    state
        Of the next run; None if it has not begun.
    potential
        Tells which potential has run them, see ``checkpoint.mark_of``; empty where nobody knows.
    simulation
        Name and those options that a state means something with, see ``Simulation.identity``; empty
        where nobody knows.
    """

    system: str
    runs: tuple[Mapping[str, Any], ...] = ()
    state: SimulationState | None = None
    potential: str = ""
    simulation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> int:
        """The run that is next, counted from 0."""
        return len(self.runs)

    @property
    def step(self) -> int:
        """The step that it goes on from."""
        return 0 if self.state is None else self.state.step

    def is_of_another(self, potential: str) -> bool:
        """Whether it is known to be that of another potential than the one with this mark."""
        return self.potential not in ("", potential)

    def check(self, structures: Configurations, simulation: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for a state of other structures, or of another simulation.

        Parameters
        ----------
        structures
            Those that simulations are to begin from.
        simulation
            Their ``identity``.
        """
        system = system_of(structures)
        if system != self.system:
            raise ValueError(
                "the state is that of simulations from other structures: expected those with the "
                f"checksum {self.system}, got {system}"
            )
        other = {k: v for k, v in self.simulation.items() if simulation.get(k) != v}
        if other and self.state is not None:
            wanted = {key: simulation.get(key) for key in other}
            raise ValueError(f"the state is that of a simulation with {other}, expected {wanted}")

    def to_bytes(self) -> bytes:
        """Return the content as safetensors: the same content always gives the same bytes."""
        arrays: dict[str, np.ndarray] = {}
        state = None if self.state is None else vars(self.state)
        header = {
            "version": VERSION,
            "system": self.system,
            "potential": self.potential,
            "simulation": dict(self.simulation),
            "runs": _to_json(list(self.runs), "runs", arrays),
            "state": _to_json(state, "state", arrays),
        }
        return pack(FORMAT, header, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """Read what ``to_bytes`` wrote; anything else raises ``ValueError``."""
        header, arrays = unpack(content, FORMAT, VERSION)
        try:
            state = _from_json(header["state"], arrays)
            return cls(
                header["system"],
                tuple(_from_json(header["runs"], arrays)),
                None if state is None else SimulationState(**state),
                header["potential"],
                dict(header["simulation"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the state of the simulations lacks {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read a file of what ``to_bytes`` returned; ``ValueError`` where it is something else."""
        with within(str(path)):
            return cls.from_bytes(read_bytes(path))


class Memory(Protocol):
    """An algorithm that moves atoms and has a state of its own, such as an optimiser."""

    def remember(self) -> Mapping[str, Any]:
        """Return a copy of its state: mappings, lists, arrays and JSON values."""

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned."""

    def renew(self) -> None:
        """Adapt a restored state, which was reached with another potential, to the present one.

        Atoms are where they were, and their calculators have the new potential.
        """


@dataclass(frozen=True)
class Attributes:
    """Memory of an object: copies of its attributes that change from step to step.

    A random generator of numpy is remembered by its state.

    Attributes
    ----------
    owner
        The object.
    names
        Of the attributes; a dot leads to those of an attribute.
    """

    owner: Any
    names: Sequence[str]

    def remember(self) -> Mapping[str, Any]:
        """Return copies of the values."""
        return {name: _copy(reduce(getattr, name.split("."), self.owner)) for name in self.names}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the attributes."""
        for name, value in memory.items():
            *path, last = name.split(".")
            owner = reduce(getattr, path, self.owner)
            now = getattr(owner, last, None)
            if isinstance(now, np.random.Generator):
                now.bit_generator.state = value
            else:
                setattr(owner, last, _copy(value))

    def renew(self) -> None:
        """Do nothing: these attributes do not depend on the potential."""


def system_of(structures: Configurations) -> str:
    """Return a short hash of structures and of their fixed components."""
    digest = sha256("".join(structures.keys).encode())
    digest.update(structures.fixed.tobytes())
    return digest.hexdigest()[:16]


def _copy(value: Any) -> Any:
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (list, tuple)):
        return [_copy(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _copy(one) for key, one in value.items()}
    return value


def _to_json(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return JSON values, with the names of arrays in their place."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, Mapping):
        return {str(key): _to_json(one, f"{name}.{key}", arrays) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(one, f"{name}.{i}", arrays) for i, one in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _from_json(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _from_json(one, arrays) for key, one in value.items()}
    if isinstance(value, list):
        return [_from_json(one, arrays) for one in value]
    return value
