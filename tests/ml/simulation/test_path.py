import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.constraints import FixAtoms, FixCartesian
from scipy.spatial.transform import Rotation

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation import path


def slab_with(symbol="O"):
    slab = fcc100("Cu", (2, 2, 2), vacuum=5)
    add_adsorbate(slab, symbol, 1.7, "hollow")
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms([0, 1, 2, 3]))
    return slab


def moved(slab, way=(1.8, 0, 0)):
    other = slab.copy()
    other.positions[-1] += way
    return other


def check(*structures, **options):
    path.check(Configurations.from_ase(list(structures)), **options)


def test_ends_that_fit_are_accepted():
    slab = slab_with()
    check(slab, moved(slab))
    check(slab, moved(slab, (0.9, 0, 0.2)), moved(slab))


def test_other_atoms_are_refused():
    with pytest.raises(ValueError, match="same atoms: the first one is Cu8O, number 1 is CCu8"):
        check(slab_with(), slab_with("C"))


def test_other_cells_and_periodicity_are_refused():
    wide = moved(slab_with())
    wide.set_cell(wide.cell.array * [[1.01], [1], [1]])
    with pytest.raises(ValueError, match=r"same cell: .* by up to 0\.0511 Å"):
        check(slab_with(), wide)
    molecule = moved(slab_with())
    molecule.pbc = False
    with pytest.raises(ValueError, match=r"is \[True, True, False\], number 1 is \[False, False"):
        check(slab_with(), molecule)


def test_elements_in_another_order_are_refused_with_the_order_that_fits():
    slab = slab_with()
    other = moved(slab)[[8, *range(8)]]
    with pytest.raises(ValueError, match=r"fits to the one before as \[1, 2, .*, 8, 0\]"):
        check(slab, other)
    order = path.matched(*Configurations.from_ase([slab, other]))
    check(slab, other[order])


def test_a_vacancy_whose_atoms_are_numbered_anew_is_refused():
    """As by deleting another atom of the crystal: all between them have other numbers."""
    crystal = bulk("Al", cubic=True) * (2, 2, 2)
    one, other = crystal.copy(), crystal.copy()
    del one[5]
    del other[7]
    with pytest.raises(ValueError, match="so that 1 atoms move and not 2"):
        check(one, other)
    check(one, other, any_order=True)
    check(one, other[path.matched(*Configurations.from_ase([one, other]))])


def test_an_exchange_of_neighbours_is_no_wrong_order():
    slab = fcc100("Al", (3, 3, 3), vacuum=5)
    add_adsorbate(slab, "Al", 1.8, "hollow")
    other = slab.copy()
    surface = int(slab.get_distances(27, range(18, 27), mic=True).argmin()) + 18
    diagonal = slab.positions[surface] - slab.positions[27]
    other.positions[surface] += [diagonal[0], diagonal[1], -diagonal[2]]
    other.positions[27] = slab.positions[surface]
    check(slab, other)


def test_the_same_structure_twice_is_refused():
    with pytest.raises(ValueError, match=r"are the same structure: .* more than 0\.05 Å"):
        check(slab_with(), moved(slab_with(), (0.05, 0, 0)))
    slab = slab_with()
    with pytest.raises(ValueError, match="are the same structure"):
        check(slab, moved(slab, slab.cell[0]))


def test_fixed_atoms_must_fit():
    slab = slab_with()
    free = moved(slab)
    free.set_constraint()
    with pytest.raises(ValueError, match="same fixed atoms: atom 0"):
        check(slab, free)
    there = moved(slab)
    there.set_constraint()
    there.positions[2, 1] += 0.2
    there.set_constraint(FixAtoms([0, 1, 2, 3]))
    with pytest.raises(ValueError, match=r"atom 2 is displaced by 0\.2 Å"):
        check(slab, there)


def test_atoms_cross_the_edge_of_the_cell():
    slab = slab_with()
    other = moved(slab, -slab.cell[0] / 2 + slab.cell[0])
    shifted = moved(slab, -slab.cell[0] / 2)
    short = path.interpolated([slab, other], [0, 4], "linear", True)
    also = path.interpolated([slab, shifted], [0, 4], "linear", True)
    middle = abs(short[2].positions[-1] - slab.positions[-1])
    assert middle[0] == pytest.approx(slab.cell[0, 0] / 4)
    assert path.lengths(short)[-1] == pytest.approx(path.lengths(also)[-1])
    far = path.interpolated([slab, moved(slab, 0.75 * slab.cell[0])], [0, 4], "linear", False)
    assert far[2].positions[-1, 0] - slab.positions[-1, 0] == pytest.approx(0.375 * slab.cell[0, 0])


def test_images_are_shared_out_by_the_length_of_the_way():
    atoms = [Atoms("H", [[x, 0, 0]]) for x in (0.0, 1.0, 4.0)]
    structures = Configurations.from_ase(atoms)
    assert path.image_indices(structures, 5) == [0, 1, 4]
    assert path.image_indices(structures, 3) == [0, 1, 2]
    found = path.interpolated(atoms, [0, 1, 4], "linear", True)
    assert [float(one.positions[0, 0]) for one in found] == pytest.approx([0, 1, 2, 3, 4])


def test_idpp_keeps_atoms_apart():
    """Two atoms that change places: on the straight way they meet."""
    one = Atoms("OO", [[0, 0, 0], [2, 0, 0.2]])
    other = Atoms("OO", [[2, 0, 0], [0, 0, 0.2]])
    straight = path.interpolated([one, other], [0, 4], "linear", True)
    around = path.interpolated([one, other], [0, 4], "idpp", True)
    assert min(image.get_distance(0, 1) for image in straight) < 0.3
    assert min(image.get_distance(0, 1) for image in around) > 1.5
    np.testing.assert_array_equal(around[0].positions, one.positions)
    np.testing.assert_array_equal(around[-1].positions, other.positions)


def test_idpp_keeps_atoms_apart_where_the_cell_changes():
    one = Atoms("OO", [[1, 1, 1], [3, 1, 1.2]], cell=[6, 6, 6], pbc=True)
    other = Atoms("OO", [[3, 1, 1], [1, 1, 1.2]], cell=[6, 6, 6], pbc=True)
    other.set_cell([6.6, 6, 6], scale_atoms=True)
    straight = path.interpolated([one, other], [0, 4], "linear", True)
    around = path.interpolated([one, other], [0, 4], "idpp", True)
    assert min(image.get_distance(0, 1, mic=True) for image in straight) < 0.3
    assert min(image.get_distance(0, 1, mic=True) for image in around) > 1.5
    for image, width in zip(around, (6.0, 6.15, 6.3, 6.45, 6.6)):
        np.testing.assert_allclose(image.cell.lengths(), [width, 6, 6])
    np.testing.assert_allclose(around[0].positions, one.positions, atol=1e-12)
    np.testing.assert_allclose(around[-1].positions, other.positions, atol=1e-12)


@pytest.mark.parametrize("pbc", [True, False])
def test_ends_that_drifted_apart_are_refused_where_nothing_is_fixed(pbc):
    begin = bulk("Al", cubic=True) * (2, 1, 1)
    begin.pbc = pbc
    end = begin.copy()
    end.positions[0, 0] += 0.8
    structures = Configurations.from_ase([begin, end])
    path.check(structures)
    end.positions += [0, 0.3, 1.0]
    with pytest.raises(
        ValueError, match=r"most atoms of number 1 are displaced by \[0\.0, 0\.3, 1"
    ):
        path.check(Configurations.from_ase([begin, end]))
    assert check_with(begin, end, FixCartesian([3], [False, True, False]))[:2] == ["0.0", "0.0"]


def check_with(begin, end, constraint):
    """Return the components of the drift that is refused, as words."""
    end = end.copy()
    end.positions[:, 1] -= 0.3
    ends = [atoms.copy() for atoms in (begin, end)]
    for atoms in ends:
        atoms.set_constraint(constraint)
    with pytest.raises(ValueError, match="most atoms") as caught:
        path.check(Configurations.from_ase(ends))
    return str(caught.value).partition("[")[2].partition("]")[0].split(", ")


def pyramid(turn=0.0, box=False):
    """Four atoms, and the same with one of them through the plane of the others, and turned."""
    begin = Atoms("Cu4", [[1.6, 0, 0], [-0.8, 1.386, 0], [-0.8, -1.386, 0], [0, 0, 1.7]])
    end = begin.copy()
    end.positions[-1, 2] *= -1
    end.rotate(turn, (1, 2, 3))
    for atoms in (begin, end):
        if box:
            atoms.set_cell([14, 14, 14])
            atoms.pbc = True
            atoms.wrap()
    return begin, end


@pytest.mark.parametrize("box", [False, True])
def test_molecules_that_are_turned_are_refused_where_nothing_is_fixed(box):
    check(*pyramid(box=box))
    with pytest.raises(ValueError, match=r"3 of 4 atoms .* rotation by 40\.0 degrees") as caught:
        check(*pyramid(40, box))
    begin, end = pyramid(40)
    said = str(caught.value).partition("atoms.rotate(")[2].partition(", center")[0]
    angle, _, axis = said.partition(", ")
    end.rotate(float(angle), [float(x) for x in axis.strip("[]").split(", ")], center="COP")
    apart = (end.positions - begin.positions)[:3]
    assert np.abs(apart - apart[0]).max() < 0.01
    begin, end = pyramid(40)
    for atoms in (begin, end):
        atoms.set_constraint(FixAtoms([]))
        atoms.positions -= atoms.positions[3]
        atoms.set_constraint(FixAtoms([3]))
    check(begin, end)


def test_atoms_in_a_line_may_be_shifted_along_it():
    begin = molecule("CO2")
    end = begin.copy()
    end.positions[1, 2] += 0.4
    check(begin, end)


def test_a_part_of_a_molecule_may_turn():
    begin = molecule("C2H6")
    end = begin.copy()
    end.positions[2:5] = Rotation.from_rotvec([0, 0, 2 * np.pi / 3]).apply(begin.positions[2:5])
    check(begin, end, any_order=True)


@pytest.mark.parametrize("box", [False, True])
def test_a_rotation_of_a_molecule_is_no_way(box):
    """Images of one path, each turned and shifted by itself, are as far along it as before."""
    begin, end = pyramid()
    images = path.interpolated([begin, end], [0, 8], "linear", True)
    straight = path.lengths(images)
    # three of four atoms move by less than the fourth, where the whole does not move
    assert straight[-1] == pytest.approx(3.4 * np.sqrt(3 / 4), abs=0.01)
    for i, image in enumerate(images):
        image.rotate(13 * i, (1, 2, 3))
        image.positions += [0.3 * i, -0.2, 0.1 * i**2]
        if box:
            image.set_cell([14, 14, 14])
            image.pbc = True
            image.wrap()
    np.testing.assert_allclose(path.lengths(images), straight, atol=0.01)
