"""What is in a file, in JSON values."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats.files import SUFFIX, read
from aiida_mlal.ml.tensorfile import unpack

MTP = (".mtp", ".almtp", ".mtp.xz", ".almtp.xz")
"""Ends of names of potentials of the MLIP codes."""

POTENTIAL, VERSION = "aiida-mlal/potential", 1
"""Kind and version of the files of potentials; as in ``ml.models.checkpoint``."""

_ACTIVE_SET = "extras.active_set."
"""Before the names of its arrays in such a file; as in ``ml.uncertainty.active_set``."""


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a file of structures or a potential holds.

    Of an active set these are its mode, and how many of its rows are filled.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    path = Path(path)
    if path.name.endswith(MTP):
        from aiida_mlal.ml.formats import mtp

        file = mtp.load(path)
        about = {"trained": file.trained, **_short(file.potential.describe())}
        state = file.selection
        if state is not None and state.links is not None:
            about["active_set"] = _active_set(state.links[:, 0], state.weights.mode)
        return {"kind": "potential", **about}
    if POTENTIAL in _metadata(path):
        try:
            header, arrays = unpack(path.read_bytes(), POTENTIAL, VERSION)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        about = {**header, "potential": _short(header.get("potential"))}
        if f"{_ACTIVE_SET}owners" in arrays:
            *_, site, _ = arrays[f"{_ACTIVE_SET}weights"]
            mode = "neighbourhood" if site else "configuration"
            about["active_set"] = _active_set(arrays[f"{_ACTIVE_SET}owners"], mode)
        return {"kind": "potential", **about}
    return {"kind": "structures", **summary(read(path))}


def summary(configurations: Configurations) -> dict[str, Any]:
    """Return counts and ranges of structures and their labels."""
    per_atom = configurations.energies / np.maximum(configurations.counts, 1)
    labelled = np.isfinite(per_atom)
    forces = np.linalg.norm(configurations.forces, axis=1)
    forces = forces[np.isfinite(forces)]
    return {
        "n_structures": len(configurations),
        "n_atoms": len(configurations.numbers),
        "elements": list(configurations.elements),
        "formulas": dict(sorted(Counter(configurations.formulas).items())),
        "statuses": dict(sorted(Counter(configurations.status.tolist()).items())),
        "energy_per_atom": _range(per_atom[labelled]),
        "largest_force": float(forces.max()) if len(forces) else None,
        "n_with_stress": int(np.isfinite(configurations.stresses).all(axis=(1, 2)).sum()),
        "info": sorted(configurations.info),
        "arrays": sorted(configurations.arrays),
    }


def is_potential(path: str | Path) -> bool:
    """Return whether a file holds a potential, not structures."""
    path = Path(path)
    return POTENTIAL in _metadata(path) or path.name.endswith(MTP)


def _short(description: Any) -> Any:
    """Return a description without the lists of a basis, but with their lengths."""
    if not isinstance(description, dict) or "basis" not in description:
        return description
    lengths = {name: len(rows) for name, rows in description["basis"].items()}
    return {**description, "basis": lengths}


def _active_set(owners: np.ndarray, mode: str) -> dict[str, Any]:
    return {"mode": mode, "rank": int((owners >= 0).sum()), "n_parameters": len(owners)}


def _range(values: np.ndarray) -> list[float] | None:
    return [float(values.min()), float(values.max())] if len(values) else None


def _metadata(path: Path) -> dict[str, str]:
    """Return the strings at the head of a safetensors file; nothing if it is none."""
    if path.suffix != SUFFIX or not path.is_file():
        return {}
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > path.stat().st_size:
            return {}
        try:
            metadata: dict[str, str] = json.loads(handle.read(length)).get("__metadata__", {})
        except (ValueError, AttributeError):
            return {}
    return metadata
