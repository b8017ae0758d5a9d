"""Neighbourhoods that a potential does not know, cut out of large structures."""

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import GRADE, GRADES, INDEX
from aiida_mlal.ml.neighbours import edge_vectors, neighbours


def cut_neighbourhoods(
    configurations: Configurations, radius: float = 7.0, threshold: float = 1.1
) -> Configurations:
    """Return the sphere around the atom of largest grade of each structure, as a cluster.

    The atom is the first of the cluster, at the origin; ``info`` has its ``grade``, the ``index``
    of its structure and its own, ``atom``. Structures in which no atom has a grade of at least
    the threshold are left out.

    Parameters
    ----------
    configurations
        Structures whose atoms have grades, as ``grade`` or ``nbh_grades`` of ``arrays``.
    radius
        Of the sphere, in Å.
    """
    if not radius > 0:
        raise ValueError(f"expected a radius above 0 Å, got {radius}")
    if not len(configurations):
        return configurations
    configurations.check_geometry()
    name = next((key for key in (GRADES.name, "nbh_grades") if key in configurations.arrays), None)
    if name is None:
        raise ValueError(
            "the atoms of the structures have no grades: `mlal grade --mode neighbourhood` gives "
            "them"
        )
    clusters = [
        _cluster(one, one.arrays[name], radius).with_columns({INDEX: index})
        for index, one in enumerate(configurations)
        if one.arrays[name].max(initial=0.0) >= threshold
    ]
    return Configurations.concatenate(clusters)


def _cluster(one: Configurations, grades: np.ndarray, radius: float) -> Configurations:
    atom = int(grades.argmax())
    pairs, shifts = neighbours(one.positions, one.cells[0], one.pbc[0], radius)
    mine = pairs[0] == atom
    vectors = edge_vectors(one.positions, one.cells[0], pairs[:, mine], shifts[mine])
    members = np.concatenate([[atom], pairs[1, mine]])
    return Configurations.from_geometry(
        one.numbers[members],
        np.concatenate([np.zeros((1, 3)), vectors]),
        [len(members)],
        np.zeros((1, 3, 3)),
        np.zeros((1, 3), bool),
        info={"atom": [atom]},
        arrays={name: values[members] for name, values in one.sites.items()},
    ).with_columns({GRADE: grades[atom]})
