import numpy as np
import pytest
from ase.neighborlist import primitive_neighbor_list

from aiida_mlal.ml.neighbours import closest_approach, complete_cell, edge_vectors, neighbours

CELLS = {
    "molecule": (np.zeros((3, 3)), (False, False, False)),
    "cluster in a skewed box": ([[9, 0, 0], [3, 8, 0], [1, 2, 7.0]], (False, False, False)),
    "wire": ([[0, 0, 0], [0, 0, 0], [0, 0, 3.1]], (False, False, True)),
    "slab": ([[3.2, 0, 0], [1.6, 2.8, 0], [0, 0, 0]], (True, True, False)),
    "tilted slab": ([[3.2, 0, 0], [1.6, 2.8, 0], [2, 1, 9.0]], (True, True, False)),
    "crystal smaller than the cutoff": ([[2.5, 0, 0], [0.4, 2.6, 0], [0.3, 0.2, 2.7]], (True,) * 3),
}


def edges(positions, cell, pbc, cutoff):
    pairs, shifts = neighbours(positions, cell, pbc, cutoff)
    return sorted(zip(*pairs.tolist(), *shifts.T.tolist()))


@pytest.mark.parametrize(("cell", "pbc"), CELLS.values(), ids=CELLS)
def test_finds_the_pairs_that_ase_finds(cell, pbc):
    cell, pbc = np.array(cell), np.array(pbc)
    positions = np.random.default_rng(1).uniform(0, 6, size=(14, 3))
    i, j, shifts = primitive_neighbor_list("ijS", pbc, complete_cell(cell, pbc), positions, 4.1)
    assert edges(positions, cell, pbc, 4.1) == sorted(
        zip(i.tolist(), j.tolist(), *shifts.T.tolist())
    )


@pytest.mark.parametrize("far", [1e3, 1e5, 1e7])
@pytest.mark.parametrize(("cell", "pbc"), list(CELLS.values())[:-1], ids=list(CELLS)[:-1])
def test_groups_far_apart_are_as_if_alone(cell, pbc, far):
    cell, pbc = np.array(cell), np.array(pbc)
    positions = np.random.default_rng(1).uniform(0, 6, size=(14, 3))
    expected = edges(positions[:5], cell, pbc, 4.1) + [
        (i + 5, j + 5, *shift) for i, j, *shift in edges(positions[5:], cell, pbc, 4.1)
    ]
    positions[:5] += far * complete_cell(cell, pbc)[~pbc].sum(axis=0)
    assert edges(positions, cell, pbc, 4.1) == sorted(expected)


def test_an_atom_flown_away_neither_crashes_nor_hides_the_others():
    positions = np.array([[0, 0, 0], [1, 0, 0], [1e30, -1e12, 1e6], [1e9, 1e9, 1e9]])
    assert edges(positions, np.zeros((3, 3)), [False] * 3, 6.0) == [
        (0, 1, 0, 0, 0),
        (1, 0, 0, 0, 0),
    ]


def test_vectors_lead_to_the_image():
    cell, positions = 3.0 * np.eye(3), np.array([[0.1, 0, 0], [2.9, 0, 0]])
    pairs, shifts = neighbours(positions, cell, [True] * 3, 1.0)
    vectors = edge_vectors(positions, cell, pairs, shifts)
    assert vectors == pytest.approx(np.array([[-0.2, 0, 0], [0.2, 0, 0]]))


def test_closest_approach_counts_images_and_radii():
    radius = 1.32  # of copper, in Å
    alone = closest_approach(np.array([29]), np.zeros((1, 3)), 2.0 * np.eye(3), np.ones(3, bool))
    assert alone == pytest.approx(2 / (2 * radius))
    far = np.array([[0, 0, 0], [20.0, 0, 0]])
    assert closest_approach(np.array([29, 6]), far, np.zeros((3, 3)), np.zeros(3, bool)) == np.inf
    assert (
        closest_approach(np.zeros(0, int), far[:0], np.zeros((3, 3)), np.zeros(3, bool)) == np.inf
    )


def test_a_periodic_direction_needs_a_lattice_vector():
    with pytest.raises(ValueError, match="lattice vector 2"):
        neighbours(np.zeros((1, 3)), np.zeros((3, 3)), [False, False, True], 3.0)


def test_a_cell_of_too_many_images_is_refused_at_once():
    with pytest.raises(ValueError, match=r"images within 5 Å, its heights are 1e-05, 1e-05, 1e-05"):
        neighbours(np.zeros((1, 3)), 1e-5 * np.eye(3), np.ones(3, bool), 5.0)


@pytest.mark.parametrize("cell", [[1e6, 4, 4], [1e15, 4, 4], [1e5, 1e5, 4]])
def test_a_cell_too_long_beside_its_width_does_not_end_the_process(cell):
    positions = np.array([[0, 0, 0], [1, 1, 1.0]])
    with pytest.raises(ValueError, match=r"too long beside its width .* within 5 Å"):
        neighbours(positions, np.diag(cell), [True] * 3, 5.0)


@pytest.mark.parametrize("cell", [[2000, 4, 4], [300, 300, 300], [800, 800, 10]])
def test_long_cells_are_no_trouble(cell):
    positions = np.array([[0, 0, 0], [1, 1, 1.0]])
    pairs, _ = neighbours(positions, np.diag(np.array(cell, float)), [True] * 3, 3.0)
    assert pairs.shape[1] == 2
