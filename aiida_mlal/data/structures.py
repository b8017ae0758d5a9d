"""Between AiiDA's structures and configurations: the only place that knows both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from aiida.common.exceptions import EntryPointError
from aiida.orm import Data, List, StructureData
from aiida.plugins import DataFactory
from ase.geometry import complete_cell

from aiida_mlal.ml.configurations import Configurations


def _structure_classes() -> tuple[type[Data], ...]:
    try:
        return StructureData, DataFactory("atomistic.structure")
    except EntryPointError:
        return (StructureData,)


STRUCTURES = _structure_classes()
"""Classes of nodes that are one structure: the one of aiida-core, and that of aiida-atomistic."""


def to_configurations(
    structures: Data | Sequence[Data], fixed: Sequence[Any] | List | None = None
) -> Configurations:
    """Return the structures of one node or of several, without labels.

    What tells sites of an element apart, names of their kinds and their masses, is not kept.

    Parameters
    ----------
    structures
        One or several nodes of ``STRUCTURES``.
    fixed
        Atoms that a simulation must not move, in each of the structures (see ``fixed_mask``).
    """
    nodes = [structures] if isinstance(structures, Data) else list(structures)
    frames = []
    for node in nodes:
        if not isinstance(node, STRUCTURES):
            raise ValueError(
                f"expected one of {[c.__name__ for c in STRUCTURES]}, got {type(node).__name__}"
            )
        atoms = node.get_ase() if hasattr(node, "get_ase") else node.to_ase()
        frames.append(
            Configurations.from_geometry(
                atoms.numbers,
                atoms.positions,
                [len(atoms)],
                atoms.cell.array,
                atoms.pbc,
                fixed=fixed_mask(fixed, len(atoms)),
            )
        )
    return Configurations.concatenate(frames)


def to_structure(configurations: Configurations) -> StructureData:
    """Return the node of one structure. Labels and fixed atoms are not part of it.

    A lattice vector that is missing gets one of unit length at right angles: AiiDA wants three.
    """
    if len(configurations) != 1:
        raise ValueError(f"expected one structure, got {len(configurations)}")
    (atoms,) = configurations.to_ase()
    node = StructureData(cell=complete_cell(atoms.cell.array).tolist(), pbc=atoms.pbc.tolist())
    for symbol, position in zip(atoms.symbols, atoms.positions, strict=True):
        node.append_atom(symbols=symbol, position=position.tolist())
    return node


def fixed_mask(fixed: Sequence[Any] | List | None, n_atoms: int) -> np.ndarray:
    """Return which Cartesian components of which atoms must not move.

    ``fixed`` holds an index for each atom that is wholly fixed, and ``[index, [x, y, z]]`` with
    three booleans for one that is fixed along some directions.

    Raises
    ------
    ValueError
        For an index out of range and for anything that is written differently.
    """
    mask = np.zeros((n_atoms, 3), bool)
    for item in [] if fixed is None else list(fixed):
        index, components = (item, [True] * 3) if not _is_pair(item) else item
        if not isinstance(index, (int, np.integer)) or isinstance(index, bool):
            raise ValueError(f"expected an index or [index, [x, y, z]] of a fixed atom, got {item}")
        if not 0 <= index < n_atoms:
            raise ValueError(
                f"there is no atom {index} to be fixed among {n_atoms}, counting from 0"
            )
        if len(components) != 3 or not all(isinstance(c, (bool, np.bool_)) for c in components):
            raise ValueError(
                f"expected three booleans for the fixed atom {index}, got {components}"
            )
        mask[index] |= np.array(components, bool)
    return mask


def _is_pair(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[1], (list, tuple))
