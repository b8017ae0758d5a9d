import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc100

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.labelling.vacuum import heights, vacuum


@pytest.mark.parametrize("across", [0.0, 5.0, -40.0])
def test_the_vacuum_of_a_slab_wherever_it_is(across):
    slab = fcc100("Cu", (1, 1, 3), vacuum=5.0)
    slab.positions[:, 2] += across
    slab.cell[2, :2] = 3.0, 1.0
    one = Configurations.from_ase(slab)
    assert vacuum(one)[2] == pytest.approx(10.0)
    assert heights(one)[2] == pytest.approx(slab.cell[2, 2])


def test_heights_are_those_of_cells_that_are_askew():
    cell = np.array([[4.0, 0, 0], [1.0, 3.0, 0], [0.5, -1.0, 5.0]])
    one = Configurations.from_ase(Atoms("Cu", cell=cell, pbc=True))
    areas = [np.linalg.norm(np.cross(cell[i - 2], cell[i - 1])) for i in range(3)]
    assert heights(one) == pytest.approx(60.0 / np.array(areas))
    assert vacuum(one) == pytest.approx(heights(one))  # a single atom
