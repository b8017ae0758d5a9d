import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.neighbourhoods import cut_neighbourhoods


def graded(key="grade"):
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.1, seed=0)
    known = atoms.copy()
    both = Configurations.from_ase([known, atoms])
    grades = np.full(64, 0.5)
    grades[40], grades[41] = 3.0, 2.0
    return both.with_arrays(**{key: grades})


@pytest.mark.parametrize("key", ["grade", "nbh_grades"])
def test_the_worst_atom_of_each_structure_that_is_extrapolated(key):
    found = cut_neighbourhoods(graded(key), radius=5.0)
    assert len(found) == 1
    assert found.info["index"].tolist() == [1]
    assert found.info["atom"].tolist() == [8]
    assert found.info["grade"].tolist() == [3.0]
    assert not found.pbc.any()
    distances = np.linalg.norm(found.positions, axis=1)
    assert distances[0] == 0
    assert distances.max() <= 5.0


def test_the_atom_sees_the_same_as_before():
    options = {"architecture": "mtp", "level": 6, "cutoff": 4.5}
    potential = single(options, ["Cu"], 0)
    structures = graded()
    graph = potential.graph(structures)
    cluster = potential.graph(cut_neighbourhoods(structures, radius=4.6))
    with torch.no_grad():
        before = potential.atomic_energies(graph)[40]
        after = potential.atomic_energies(cluster)[0]
    assert float(after) == pytest.approx(float(before))


def test_none_is_extrapolated():
    assert len(cut_neighbourhoods(graded(), threshold=3.1)) == 0


def test_of_nothing_nothing_is_cut():
    assert len(cut_neighbourhoods(Configurations.empty())) == 0


def test_grades_of_atoms_are_needed():
    with pytest.raises(ValueError, match="have no grades"):
        cut_neighbourhoods(Configurations.from_ase(Atoms("Cu")))
    with pytest.raises(ValueError, match="radius above 0"):
        cut_neighbourhoods(graded(), radius=0)
