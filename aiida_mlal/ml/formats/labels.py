"""Labels under other names than ours: which are read, and which only look like labels."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import Configurations

UNITS = {
    "energy": "eV (of all atoms together)",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "virial": "eV",
}
KINDS = tuple(UNITS)

CP2K = {"i", "time", "E"}
"""What the comments of CP2K's trajectories have: the energy ``E`` is in Hartree."""


@dataclass(frozen=True)
class LabelKeys:
    """What a file calls its labels, where that is not what ASE calls them.

    Attributes
    ----------
    energy
        Key of the energy in eV; also ``energy`` or ``free_energy``, where a file has both.
    forces
        Column of the forces in eV/Å.
    stress
        Key of the stress in eV/Å³, positive in tension: 9 components, or 6 in the order xx, yy,
        zz, yz, xz, xy.
    virial
        Key of the virial in eV, which is the stress times minus the volume. ``virial`` is read
        unless a file has stresses.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None

    def __post_init__(self) -> None:
        """Refuse names that tell another unit, and two sources of the stress."""
        for kind in KINDS:
            key = getattr(self, kind)
            unit = None if key is None else other_unit(kind, key)
            if unit is not None:
                raise _wrong_unit(kind, key, unit)
        if self.stress is not None and self.virial is not None:
            raise ValueError(
                f"stress: expected the key of a stress or of a virial, got {self.stress!r} and "
                f"{self.virial!r}"
            )

    def without(self, kinds: Iterable[str]) -> "LabelKeys":
        """Return the keys of the other kinds."""
        return replace(self, **dict.fromkeys(kinds))

    def of_ase(self) -> str | None:
        """Return the name that ASE has for the energy that was asked for; None for any other."""
        return self.energy if self.energy in ("energy", "free_energy") else None


def other_unit(kind: str, key: str) -> str | None:
    """Find a foreign unit or quantity in the name of a label, such as Ry; None without one."""
    if kind != "forces" and _PER_ATOM.search(key):
        return "per atom"
    if "kinetic" in key.lower():
        return "kinetic"
    for word in re.findall("[A-Za-z]+", key):
        end = _UNIT_AT_END.search(word)
        unit = _OTHER_UNITS.get((end[1] if end else word).lower())
        if unit is not None and word not in _ELEMENTS_TOO:
            return unit
    return None


def _wrong_unit(kind: str, key: str, unit: str) -> ValueError:
    return ValueError(
        f"{kind}: the name {key!r} says {unit}, expected a column in {UNITS[kind]}: convert its "
        "values, and write them under another name"
    )


def missing(structures: Configurations, keys: LabelKeys) -> frozenset[str]:
    """Return the kinds of labels of which no structure has the key."""
    named = {kind: getattr(keys, kind) for kind in KINDS}
    read = {"energy": keys.of_ase(), "forces": "forces", "stress": "stress"}
    return frozenset(
        kind
        for kind, key in named.items()
        if key not in (None, read.get(kind))
        and key not in (structures.arrays if kind == "forces" else structures.info)
    )


def apply(structures: Configurations, keys: LabelKeys) -> tuple[Configurations, list[str]]:
    """Take the labels that ``keys`` name: return the structures, and a sentence about each kind.

    Raises
    ------
    ValueError
        If no structure has such a key, or its values are no such label.
    """
    said = []
    if keys.energy is not None and keys.of_ase() is None:
        if (unit := _unit(structures, "energy", keys.energy)) is not None:
            raise _wrong_unit("energy", keys.energy, unit)
        energies = _per_structure(structures, keys.energy, "energy", ((),))
        structures = replace(structures, energies=energies)
        structures, words = _taken(structures, "info", keys.energy, "energies")
        said.append(words)
    if keys.forces is not None and keys.forces != "forces":
        structures = replace(structures, forces=_forces(structures, keys.forces))
        structures, words = _taken(structures, "arrays", keys.forces, "forces")
        said.append(words)
    if keys.stress is not None and keys.stress != "stress":
        stresses = _tensors(_per_structure(structures, keys.stress, "stress", _TENSORS))
        structures = replace(structures, stresses=stresses)
        structures, words = _taken(structures, "info", keys.stress, "stresses")
        said.append(words)
    if keys.virial is not None:
        structures, words = _with_virial(structures, keys.virial)
        said.append(words)
    elif "virial" in structures.info and not np.isfinite(structures.stresses).any():
        structures, words = _with_virial(structures, "virial")
        said.append(words)
    return structures, said


def unread(structures: Configurations) -> list[str]:
    """Return the sentences about what looks like labels and was not read; none if nothing does.

    How to read it is said of what may have our units only.
    """
    like: list[tuple[str, str]] = []
    for key, values in structures.info.items():
        if values.dtype.kind not in "iuf" or _NO_LABEL.search(key):
            continue
        if values.ndim == 1 and _ENERGY.search(key):
            like.append(("energy", key))
        elif values.shape[1:] in _TENSORS and re.search("stress|virial", key, re.IGNORECASE):
            like.append(("virial" if "virial" in key.lower() else "stress", key))
    for key, values in structures.arrays.items():
        is_vector = values.shape[1:] == (3,) and values.dtype.kind == "f"
        if is_vector and re.search("forc", key, re.IGNORECASE) and not _NO_LABEL.search(key):
            like.append(("forces", key))
    units = {key: _unit(structures, kind, key) for kind, key in like}
    ours = [(kind, key) for kind, key in like if units[key] is None]
    said = []
    if ours:
        options = " ".join(_option(kind, key) for kind, key in ours)
        names = ", ".join(key for _, key in ours)
        said.append(f"not read, though it looks like labels: {names} (to be read with {options})")
    for kind, key in like:
        if (kind, key) not in ours:
            said.append(
                f"not read, though it looks like labels: {key}, whose name says "
                f"{units[key]} (the {kind} would have to be in {UNITS[kind]})"
            )
    return said


def _unit(structures: Configurations, kind: str, key: str) -> str | None:
    """Return which unit is not ours, by the name of a label and those beside it."""
    if key == "E" and structures.info.keys() >= CP2K:
        return "Hartree, as i, time and E are what CP2K writes"
    return other_unit(kind, key)


def _option(kind: str, key: str) -> str:
    """Return the option that reads a column: two where its name may mean a stress and a virial."""
    if kind == "virial" and "stress" in key.lower():
        return f"--stress-key {key} (if in eV/Å³) or --virial-key {key} (if in eV)"
    return f"--{kind}-key {key}"


def without_energy(structures: Configurations) -> list[str]:
    """Return the sentences, none or one, about labels that lack the energy."""
    forces = np.isfinite(structures.forces).all(axis=1)
    have = np.zeros(len(structures), bool)
    have[structures.owner[forces]] = True
    alone = have & np.isnan(structures.energies)
    if not alone.any():
        return []
    return [
        f"{int(alone.sum())} of {len(structures)} structures have forces but no energy, the first "
        f"is {int(alone.argmax())}: they count as unlabelled"
    ]


_OTHER_UNITS = {
    "kbar": "kbar", "bar": "bar", "gpa": "GPa", "mpa": "MPa", "pa": "Pa", "atm": "atm",
    "ha": "Hartree", "hartree": "Hartree", "hartrees": "Hartree", "eh": "Hartree",
    "au": "atomic units", "ry": "Rydberg", "rydberg": "Rydberg", "bohr": "Bohr",
    "kcal": "kcal/mol", "kj": "kJ/mol", "mev": "meV", "nm": "nm", "kelvin": "K",
}  # fmt: skip
_UNIT_AT_END = re.compile("[a-z](kbar|[GM]Pa|Ha|Hartree|Ry|Bohr|kcal|kJ|meV)$")
_PER_ATOM = re.compile("per_?at(oms?)?(?![a-z])|/ ?at|_atom$", re.IGNORECASE)
_ELEMENTS_TOO = {"Au", "Pa"}
"""What may be an element in a name, such as the energy of gold."""

_TENSORS = ((3, 3), (9,), (6,))
"""Shapes of a stress or virial: a matrix, its rows one after the other, Voigt's order."""
_ENERGY = re.compile(r"energ|(^|_)(e|e0|etot|toten|u0)$", re.IGNORECASE)
_NO_LABEL = re.compile(
    "^(predicted|max|min|mean|std)_|(std|var|variance|errors?|weights?|rmse|mae|uncertainty|count)$",
    re.IGNORECASE,
)


def _per_structure(
    structures: Configurations, key: str, what: str, shapes: Iterable[tuple[int, ...]]
) -> np.ndarray:
    values = structures.info.get(key)
    if values is None:
        raise _missing(structures, key, what)
    if values.dtype.kind not in "iuf" or values.shape[1:] not in tuple(shapes):
        raise ValueError(
            f"{key!r} cannot be the {what}: expected numbers of shape "
            f"{' or '.join(map(str, shapes))} for each structure, got {values.dtype} of shape "
            f"{values.shape[1:]}"
        )
    return values.astype(float)


def _forces(structures: Configurations, key: str) -> np.ndarray:
    values = structures.arrays.get(key)
    if values is None:
        raise _missing(structures, key, "forces")
    if values.dtype.kind not in "iuf" or values.shape[1:] != (3,):
        raise ValueError(
            f"{key!r} cannot be the forces: expected 3 numbers for each atom, got {values.dtype} "
            f"of shape {values.shape[1:]}"
        )
    return values.astype(float)


def _missing(structures: Configurations, key: str, what: str) -> ValueError:
    there = sorted(structures.arrays if what == "forces" else structures.info)
    choice = f"choose from {there} or leave" if there else "and there is no other value: leave"
    return ValueError(
        f"no structure has {key!r}, which was to be the {what}, {choice} it to the names that ASE "
        "knows"
    )


def _taken(
    structures: Configurations, group: str, key: str, what: str
) -> tuple[Configurations, str]:
    """Return structures without what has become a label, and the sentence about it."""
    rest = {name: values for name, values in getattr(structures, group).items() if name != key}
    values = getattr(structures, what)
    have = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    n = int(have.sum()) if what != "forces" else len(np.unique(structures.owner[have]))
    changed: dict[str, Any] = {group: rest}
    structures = replace(structures, **changed)
    return structures, f"the {what} are {key!r}, which {n} of {len(structures)} structures have"


def _tensors(values: np.ndarray) -> np.ndarray:
    if values.shape[1:] == (6,):
        values = values[:, [0, 5, 4, 5, 1, 3, 4, 3, 2]]
    return values.reshape(len(values), 3, 3)


def _with_virial(structures: Configurations, key: str) -> tuple[Configurations, str]:
    virials = _tensors(_per_structure(structures, key, "virial", _TENSORS))
    volumes = np.where(structures.pbc.all(axis=1), abs(np.linalg.det(structures.cells)), 0.0)
    volumes[volumes == 0.0] = np.nan
    given = np.isfinite(virials).all(axis=(1, 2))
    structures = replace(structures, stresses=-virials / volumes[:, None, None])
    lost = int((given & np.isnan(volumes)).sum())
    structures, said = _taken(structures, "info", key, "stresses")
    said = f"the stresses are -1 times {key!r} by the volume: positive in tension"
    return structures, said + (f"; {lost} structures without a volume have none" if lost else "")
