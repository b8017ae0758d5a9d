"""Structures that a user names: by a file, or by the PK or UUID of a node."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida.orm import Node, StructureData

    from aiida_mlal.data.dataset import DatasetData


def read_structure(
    text: str, fixed: bool = True
) -> tuple["StructureData | DatasetData", list[Any]]:
    """Return the node of a structure, and the atoms that its file says are fixed.

    Several frames in a file, or a data set, begin several simulations; these keep what is fixed in
    them themselves. What a file says of it counts only if ``fixed``, and not if others are asked
    for.

    Raises
    ------
    ValueError
        If there is no such file or node, it is no structure, or has constraints that would not be
        kept while atoms move.
    """
    import numpy as np
    from aiida.orm import StructureData

    from aiida_mlal.data.dataset import DatasetData
    from aiida_mlal.data.structures import to_structure
    from aiida_mlal.ml.ase_properties import ELECTRONIC
    from aiida_mlal.ml.options import within

    if Path(text).is_file():
        dataset = _from_file(text, None)
        frames = dataset.configurations
        with within(text):
            frames.check_movable()
        if not fixed and frames.fixed.any():
            frames = replace(frames, fixed=np.zeros_like(frames.fixed))
            dataset = DatasetData(frames)
        # nodes of structures have no place for moments and charges of atoms
        if len(frames) == 1 and not set(ELECTRONIC) & set(frames.arrays):
            return to_structure(frames), fixed_list(frames.fixed)
        return dataset, []
    node = _load(text)
    if not isinstance(node, (StructureData, DatasetData)):
        raise ValueError(f"expected a structure or a data set, got {node}")
    return node, []


def read_path(texts: Sequence[str], fixed: bool = True) -> "DatasetData":
    """Return the structures that a path goes through, in their order, as one data set.

    Those of files keep the atoms that are fixed there, if ``fixed``; nodes are joined by a function
    whose inputs they are.

    Raises
    ------
    ValueError
        If one of them is no single structure.
    """
    from aiida.orm import List

    from aiida_mlal.data.dataset import DatasetData
    from aiida_mlal.ml.configurations import Configurations
    from aiida_mlal.workflows.calcfunctions import beginnings, together

    read = [read_structure(text, fixed) for text in texts]
    parts = [beginnings(node, List(still)) for node, still in read]
    for text, part in zip(texts, parts):
        if len(part) != 1:
            raise ValueError(f"{text}: expected one structure, got {len(part)}")
    if all(node.is_stored for node, _ in read):
        joined: DatasetData = together(
            **{f"structure_{i}": node for i, (node, _) in enumerate(read)}
        )
        return joined
    return DatasetData(Configurations.concatenate(parts))


def read_dataset(text: str, keys: Mapping[str, str] | None = None) -> "DatasetData":
    """Return the data set of a file or of a node, with its labels if it has any.

    ``keys`` are what a file calls its labels (see ``DatasetData.from_file``).

    Raises
    ------
    ValueError
        If there is no such file or node, or it is no data set.
    """
    from aiida_mlal.data.dataset import DatasetData

    if Path(text).is_file():
        return _from_file(text, keys)
    node = _load(text)
    if not isinstance(node, DatasetData):
        raise ValueError(f"expected a data set, got {node}")
    return node


def read_labels(text: str, keys: Mapping[str, str] | None = None) -> "DatasetData":
    """Return labels to begin with: as ``read_dataset`` does, or all those of a campaign.

    Raises
    ------
    ValueError
        If there is no such file or node, or it has no labels.
    """
    from aiida.orm import ProcessNode

    from aiida_mlal.report import graph

    node = None if Path(text).is_file() else _load(text)
    dataset = graph.dataset(node) if isinstance(node, ProcessNode) else read_dataset(text, keys)
    if dataset is None or not dataset.base.attributes.get("n_labelled"):
        raise ValueError(f"dataset: {text} has no labels to begin with")
    return dataset


def fixed_list(mask: Any) -> list[Any]:
    """Return the input ``fixed`` of a campaign for components of atoms that must not move."""
    return [
        i if components.all() else [i, components.tolist()]
        for i, components in enumerate(mask)
        if components.any()
    ]


def _from_file(path: str, keys: Mapping[str, str] | None) -> "DatasetData":
    from aiida.cmdline.utils import echo

    from aiida_mlal.data.dataset import DatasetData

    return DatasetData.from_file(path, keys=keys, tell=echo.echo_warning)


def _load(text: str) -> "Node":
    from aiida.common.exceptions import NotExistent
    from aiida.orm import load_node

    try:
        return load_node(text)
    except (NotExistent, ValueError) as error:
        raise ValueError(f"there is neither a file nor a node {text!r}") from error
