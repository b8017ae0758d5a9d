import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.constraints import FixAtoms, FixCartesian

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
