"""Inputs that plane-wave codes have in common: k-points, boxes, thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiida.orm import Dict, KpointsData, StructureData

from aiida_mlal.data.dataset import DatasetData
from aiida_mlal.data.structures import to_configurations
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.vacuum import vacuum

MIN_BOX = 3.0
"""Least vacuum in Å around what is not periodic."""


def plain(node: Any) -> Any:
    """Value of a node, if there is one."""
    if node is None:
        return None
    return node.get_dict() if isinstance(node, Dict) else node.value


def geometries(structure: StructureData | DatasetData) -> Configurations:
    """Structures of a data set, or the one of a node."""
    if isinstance(structure, DatasetData):
        return structure.configurations
    return to_configurations(structure)


def box_problem(dataset: DatasetData, code: str) -> str | None:
    """Why a plane-wave code could not know the box of a structure; None if it can."""
    for i, one in enumerate(dataset.configurations):
        flat = not abs(np.linalg.det(one.cells[0])) > 1e-3
        if flat or (vacuum(one)[~one.pbc[0]] < MIN_BOX).any():
            return (
                f"structure {i} has the cell {one.cells[0].tolist()}: {code} needs three lattice "
                f"vectors, with {MIN_BOX:g} Å or more of vacuum where the structure is not periodic"
            )
    return None


def kpoints_problem(inputs: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Why k-points are not given in exactly one way of ``names``; None if they are."""
    given = [name for name in names if name in inputs]
    if len(given) != 1:
        return f"expected one of {' and '.join(map(repr, names))}, got {given or 'neither'}"
    return None


def describe_kpoints(kpoints: KpointsData) -> dict[str, Any]:
    """K-points of a node in numbers: a mesh, or points and weights."""
    try:
        mesh, offset = kpoints.get_kpoints_mesh()
    except AttributeError:
        points, weights = kpoints.get_kpoints(also_weights=True)
        return {"points": points.tolist(), "weights": np.asarray(weights).tolist()}
    return {"mesh": list(mesh), "offset": list(offset)}
