"""Properties of labelled structures that no model sees, such as charges and moments."""

from dataclasses import replace

from aiida_mlal.ml.ase_properties import ELECTRONIC
from aiida_mlal.ml.configurations import Configurations


def unseen(configurations: Configurations) -> list[str]:
    """Say, in one sentence or none, if structures differ in initial moments or charges alone.

    Models see elements, positions and cells: of labels of several electronic states of one
    geometry they learn something in between.
    """
    if not any(name in configurations.arrays for name in ELECTRONIC):
        return []
    first: dict[str, int] = {}
    keys, others = configurations.keys, []
    for i, geometry in enumerate(replace(configurations, arrays={}).keys):
        twin = first.setdefault(geometry, i)
        if keys[twin] != keys[i]:
            others.append((twin, i))
    if not others:
        return []
    return [
        f"{len(others)} structures differ from others in initial magnetic moments or charges alone "
        f"(number {others[0][1]} from {others[0][0]}), which no model sees: what is learned is in "
        "between their labels"
    ]
