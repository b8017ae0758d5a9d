"""What is in a file, in JSON values."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.doubtful_labels import doubtful_labels
from aiida_mlal.ml.formats.content import read_bytes
from aiida_mlal.ml.formats.files import load
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.formats.table import CHECKPOINT, KIND_OF_CHECKPOINTS, known
from aiida_mlal.ml.labelling.outliers import outlying
from aiida_mlal.ml.lengths import doubtful_lengths
from aiida_mlal.ml.options import within
from aiida_mlal.ml.tensorfile import unpack

VERSION = 1
"""Version of the files of potentials; as in ``ml.models.checkpoint``."""

_ACTIVE_SET = "extras.active_set."
"""Before the names of its arrays in such a file; as in ``ml.uncertainty.active_set``."""


def describe(
    path: str | Path, elements: Sequence[str] | None = None, keys: LabelKeys | None = None
) -> dict[str, Any]:
    """Describe a file of structures or a potential in JSON values.

    Of an active set these are its mode, and how many of its rows are filled. ``elements`` and
    ``keys`` are those of ``files.load``.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with within(str(path)):
        form = known(path)
    if form.holds == "structures":
        loaded = load(path, elements, keys=keys)
        about = {"kind": "structures", "format": form.name, **summary(loaded.configurations)}
        if loaded.types is not None and not loaded.types.named:
            about["elements"] = loaded.types.labels(loaded.configurations.numbers.tolist())
            del about["formulas"]
        warnings = [
            *loaded.warnings,
            *_without_label(loaded.configurations),
            *doubtful_lengths(loaded.configurations),
            *doubtful_labels(loaded.configurations),
            *outlying(loaded.configurations),
        ]
        return {**about, "warnings": warnings}
    if form.name == CHECKPOINT:
        about = {"kind": "potential", "format": form.name, **_checkpoint(path)}
        return {**about, "warnings": untaught(path)}
    from aiida_mlal.ml.formats.mlip import mtp

    file = mtp.load(path, elements)
    about = {"trained": file.trained, **_short(file.potential.config())}
    about["reference_energies"] = file.potential.reference_energies()
    state = file.selection
    if state is not None and state.links is not None:
        about["active_set"] = _active_set(state.links[:, 0], state.weights.mode)
    return {"kind": "potential", "format": form.name, **about}


def _checkpoint(path: Path) -> dict[str, Any]:
    with within(str(path)):
        header, arrays = unpack(read_bytes(path), KIND_OF_CHECKPOINTS, VERSION)
    about = {**header, "potential": _short(header.get("potential"))}
    if f"{_ACTIVE_SET}owners" in arrays:
        *_, site, _ = arrays[f"{_ACTIVE_SET}weights"]
        mode = "neighbourhood" if site else "configuration"
        about["active_set"] = _active_set(arrays[f"{_ACTIVE_SET}owners"], mode)
    return about


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


def untaught(path: str | Path) -> list[str]:
    """Say, in one sentence or none, that a potential learned no stress.

    Energies and forces at one volume tell little of others, so that its pressure and E(V) may be
    anything. What is known of it is what its file says of its training.
    """
    with within(str(path)):
        training = _checkpoint(Path(path))["training"] if known(path).name == CHECKPOINT else {}
    if "errors" not in training or "loss" not in training.get("options", {}):
        return []
    error = (training["errors"].get("train") or {}).get("stress_rmse")
    if error is not None and training["options"]["loss"].get("stress"):
        return []
    off = "" if error is None else f" (of its training set they are off by {error / GPa:.2g} GPa)"
    return [
        f"{path} learned no stresses{off}: its pressure, elastic constants and cells that move by "
        "it are not to be trusted"
    ]


def _without_label(configurations: Configurations) -> list[str]:
    """Say, in one sentence or none, which structures are good to learn from but for a label."""
    try:
        configurations.check_labels()
    except ValueError as error:
        return [str(error)]
    return []


def is_potential(path: str | Path) -> bool:
    """Tell if a file holds a potential, not structures."""
    with within(str(path)):
        return known(path).holds == "potential"


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
