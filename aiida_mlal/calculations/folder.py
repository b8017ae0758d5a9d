"""The folder of a finished calculation, so that it can be run again without AiiDA."""

import json
from pathlib import Path

from aiida.orm import CalcJobNode, Node, load_node

from aiida_mlal.ml.folders import is_inside
from aiida_mlal.ml.tasks.base import TASK


def write_folder(calculation: Node, folder: Path) -> list[str]:
    """Write the tasks of a calculation and all files that they read, and return names of the tasks.

    ``mlal run`` of one after the other then does what the calculation did, on any machine.

    Raises
    ------
    ValueError
        If the node is not a calculation of tasks of ``mlal``, or names a file that would be
        elsewhere, as only one that somebody has made up does.
    """
    repository = calculation.base.repository
    calcinfo = Path(".aiida/calcinfo.json")
    tasks, copied = [], []
    if isinstance(calculation, CalcJobNode) and calcinfo in repository.glob():
        content = json.loads(repository.get_object_content(str(calcinfo), "rb"))
        commands = [code.get("cmdline_params") or [] for code in content["codes_info"]]
        runs = [words[1:] for words in commands if words[:1] == ["run"]]
        tasks = [name for names in runs for name in names if Path(name).name == TASK]
        copied = content["local_copy_list"]
    if not tasks:
        raise ValueError(f"expected a calculation that runs a task of mlal, got {calculation}")
    sources: list[tuple[Node, str, str]] = [(calculation, task, task) for task in tasks]
    sources += [(load_node(uuid), source, name) for uuid, source, name in copied]
    for _, _, name in sources:
        if not is_inside(name):
            raise ValueError(f"the calculation would write the file {name!r} outside of its folder")
    for node, source, name in sources:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with node.base.repository.open(source, "rb") as handle:
            path.write_bytes(handle.read())
    return tasks
