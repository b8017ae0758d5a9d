"""Pictures of structures."""

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.constraints import FixAtoms
from ase.data.colors import jmol_colors

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.report.pictures import bonds, draw_structure, wrapped


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3] / 255


def slab():
    atoms = fcc100("Cu", (2, 2, 2), vacuum=8.0, periodic=True)
    add_adsorbate(atoms, "O", 1.0, "hollow")
    atoms.set_constraint(FixAtoms([0, 1, 2, 3]))
    return Configurations.from_ase(atoms)


@pytest.mark.parametrize("third", range(3))
def test_each_view_has_the_colours_of_its_elements(third):
    picture = pixels(draw_structure(slab()))
    width = picture.shape[1] // 3
    part = picture[:, third * width : (third + 1) * width]
    for number in (8, 29):
        assert (np.abs(part - jmol_colors[number]).max(axis=2) < 0.02).sum() > 30


def test_the_legend_names_elements_and_what_is_held():
    (legend,) = draw_structure(slab()).legends
    assert [text.get_text() for text in legend.get_texts()] == ["O", "Cu", "held in place"]


def test_bonds_are_those_of_the_molecule():
    water = Configurations.from_ase(molecule("H2O"))
    assert bonds(water) == [(0, 1), (0, 2)]


def test_atoms_at_a_face_of_the_cell_stay_there():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] = -1e-4
    atoms.positions[1] += atoms.cell[0]
    found = wrapped(Configurations.from_ase(atoms))
    np.testing.assert_allclose(found[0], -1e-4)
    np.testing.assert_allclose(found[1], atoms.positions[1] - atoms.cell[0], atol=1e-12)


def test_a_single_atom_has_a_picture():
    figure = draw_structure(Configurations.from_ase(bulk("Al")))
    assert pixels(figure).min() < 0.9
