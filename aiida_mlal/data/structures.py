"""Between AiiDA's structures and configurations: the only place that knows both."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from aiida.common.constants import elements
from aiida.common.exceptions import EntryPointError
from aiida.orm import Data, List, StructureData
from aiida.plugins import DataFactory
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols
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

    A kind that is called by its element and a number, such as ``Fe2``, becomes a tag of its atoms.
    Masses are kept where they are not those that AiiDA gives by default.

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
        structure = Configurations.from_ase(_atoms(node))
        frames.append(replace(structure, fixed=fixed_mask(fixed, len(structure.numbers))))
    return Configurations.concatenate(frames)


def to_structure(
    configurations: Configurations, kinds: Sequence[str] | None = None
) -> StructureData:
    """Return the node of one structure. Labels, fixed atoms and moments are not part of it.

    A lattice vector that is missing gets one of unit length at right angles: AiiDA wants three.

    Parameters
    ----------
    kinds
        Name of the kind of each atom; by default its element, and its tag where it has one.
    """
    if len(configurations) != 1:
        raise ValueError(f"expected one structure, got {len(configurations)}")
    (atoms,) = configurations.to_ase()
    if kinds is None:
        kinds = kind_names(configurations)
    masses: Sequence[float | None] = [None] * len(atoms)
    if "masses" in configurations.arrays:
        masses = _aiida_masses(atoms)
        kinds = _apart(kinds, masses)
    node = StructureData(cell=complete_cell(atoms.cell.array).tolist(), pbc=atoms.pbc.tolist())
    for symbol, position, name, mass in zip(
        atoms.symbols, atoms.positions, kinds, masses, strict=True
    ):
        given = {} if mass is None else {"mass": mass}
        node.append_atom(symbols=symbol, position=position.tolist(), name=name, **given)
    return node


def kind_names(configurations: Configurations) -> list[str]:
    """Return the name of the kind of each atom: its element, and its tag where it has one."""
    tags = configurations.arrays.get("tags", np.zeros(len(configurations.numbers), int))
    symbols = [chemical_symbols[z] for z in configurations.numbers]
    return [f"{s}{tag}" if tag else s for s, tag in zip(symbols, tags.tolist(), strict=True)]


def fixed_mask(fixed: Sequence[Any] | List | None, n_atoms: int) -> np.ndarray:
    """Return a mask of the Cartesian components of atoms that must not move.

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


def _atoms(node: Data) -> Atoms:
    """Return the structure of a node with tags and masses, and without results."""
    if not isinstance(node, StructureData):
        atoms: Atoms = node.to_ase()
        atoms.calc = None
        return atoms
    atoms = node.get_ase()
    kinds = {kind.name: kind for kind in node.kinds}
    tags, masses = [], []
    for site, symbol, usual in zip(node.sites, atoms.symbols, atomic_masses[atoms.numbers]):
        kind = kinds[site.kind_name]
        number = kind.name.removeprefix(symbol)
        tags.append(int(number) if number.isdecimal() else 0)
        masses.append(usual if abs(kind.mass - _MASSES[symbol]) < 1e-6 else kind.mass)
    atoms.set_tags(tags)
    atoms.set_masses(masses)
    return atoms


def _aiida_masses(atoms: Atoms) -> list[float]:
    """Return masses, where they are ASE's default that of AiiDA."""
    usual = atomic_masses[atoms.numbers]
    return [
        _MASSES[symbol] if mass == default else float(mass)
        for symbol, mass, default in zip(atoms.symbols, atoms.get_masses(), usual)
    ]


def _apart(kinds: Sequence[str], masses: Sequence[Any]) -> list[str]:
    """Return kinds of which each has one mass, others with the next free number."""
    names: dict[tuple[str, float], str] = {}
    for kind, mass in zip(kinds, masses, strict=True):
        if (kind, mass) in names:
            continue
        name, element = kind, kind.rstrip("0123456789")
        free = (f"{element}{n}" for n in count(1))
        while name in names.values() or (name != kind and name in kinds):
            name = next(free)
        names[kind, mass] = name
    return [names[pair] for pair in zip(kinds, masses)]


_MASSES: dict[str, float] = {
    str(element["symbol"]): float(str(element["mass"])) for element in elements.values()
}
"""What AiiDA takes masses to be by default, in amu."""


def _is_pair(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[1], (list, tuple))
