"""The folder of a finished calculation, so that it can be run again without AiiDA."""

import json
from pathlib import Path

from aiida.orm import CalcJobNode, Node, load_node

from aiida_mlal.ml.folders import is_beside
from aiida_mlal.ml.tasks.base import TASK


def write_folder(calculation: Node, folder: Path) -> list[str]:
    """Write ``task.json`` and all files that it reads, and return their names.

    ``mlal run`` in this folder then does what the calculation did, on any machine.

    Raises
    ------
    ValueError
        If the node is not a calculation of a task of ``mlal``, or names a file that would be
        elsewhere, as only one that somebody has made up does.
    """
    repository = calculation.base.repository
    if not isinstance(calculation, CalcJobNode) or TASK not in repository.list_object_names():
        raise ValueError(f"expected a calculation that runs a task of mlal, got {calculation}")
    with repository.open(".aiida/calcinfo.json", "rb") as handle:
        copied = json.load(handle)["local_copy_list"]
    for _, _, name in copied:
        if not is_beside(name):
            raise ValueError(f"the calculation would write the file {name!r} outside of its folder")
    folder.mkdir(parents=True, exist_ok=True)
    sources: list[tuple[Node, str, str]] = [(calculation, TASK, TASK)]
    sources += [(load_node(uuid), source, name) for uuid, source, name in copied]
    for node, source, name in sources:
        with node.base.repository.open(source, "rb") as handle:
            (folder / name).write_bytes(handle.read())
    return [name for _, _, name in sources]
