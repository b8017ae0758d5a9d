from dataclasses import fields
from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.graph import Graph

CUTOFF = 4.3


def structure(symbols, cell, pbc, seed=0):
    rng = np.random.default_rng(seed)
    return Atoms(symbols, rng.uniform(-4, 6, (len(Atoms(symbols)), 3)), cell=cell, pbc=pbc)


STRUCTURES = {
    "no atoms": lambda: Atoms(),
    "lone atom": lambda: Atoms("Cu"),
    "molecule without a cell": lambda: molecule("CH3CH2OH"),
    "cluster in a cell": lambda: structure("Cu5", [6, 7, 8], False),
    "cell much smaller than the cutoff": lambda: structure("C2", [2.1, 1.7, 1.9], True),
    "primitive cell": lambda: bulk("Cu"),
    "skewed cell": lambda: structure("Cu3", [[3, 0, 0], [2.7, 1.5, 0], [-1, 2, 4]], True),
    "left-handed cell": lambda: structure("Cu3", [[0, 3, 0.1], [3, 0.2, 0], [0.3, 0, 4]], True),
    "slab": lambda: structure("Cu4", [[3, 0.5, 0], [0, 3, 0], [0, 0, 30]], [True, True, False]),
    "slab without a third vector": lambda: structure(
        "Cu4", [[3, 0.5, 0], [0, 3, 1], [0, 0, 0]], [True, True, False]
    ),
    "slab in a cell thinner than itself": lambda: structure(
        "Cu6", [[3, 0.5, 0], [0, 3, 0], [0.5, 0, 2]], [True, True, False]
    ),
    "wire": lambda: structure("Cu3", [[0, 0, 0], [0, 2, 1], [0, 0, 0]], [False, True, False]),
    "atoms far outside of the cell": lambda: Atoms(
        "Cu2", [[40.0, -70, 3], [1, 1, 1]], cell=[4, 5, 6], pbc=True
    ),
}


def sorted_edges(rows):
    """Sort edges (central atom, neighbour, vector), whatever their rounding."""
    rows = np.array(rows, float).reshape(-1, 5)
    return rows[np.lexsort(np.round(rows + 1e-7, 5).T[::-1])]


def by_definition(atoms, cutoff, images=12):
    """Every atom against every image of every atom."""
    ranges = [range(-images, images + 1) if p else [0] for p in atoms.pbc]
    shifts = np.array(list(product(*ranges))) @ atoms.cell.array
    rows = []
    for i in range(len(atoms)):
        for j in range(len(atoms)):
            vectors = atoms.positions[j] + shifts - atoms.positions[i]
            distances = np.linalg.norm(vectors, axis=1)
            near = (distances < cutoff) & ((i != j) | shifts.any(axis=1))
            rows += [(i, j, *vector) for vector in vectors[near]]
    return sorted_edges(rows)


def edges(graph):
    return sorted_edges(torch.cat([graph.pairs.T.double(), graph.vectors], dim=1).numpy())


def same(one, other):
    return all(
        torch.equal(torch.nan_to_num(getattr(one, name)), torch.nan_to_num(getattr(other, name)))
        for name in (f.name for f in fields(Graph))
    )


@pytest.mark.parametrize("make", STRUCTURES.values(), ids=STRUCTURES)
def test_agrees_with_the_definition(make):
    atoms = make()

    images = 25 if abs(atoms.positions).max(initial=0) > 20 else 12
    graph = Graph.of(Configurations.from_ase(atoms), CUTOFF)
    np.testing.assert_allclose(edges(graph), by_definition(atoms, CUTOFF, images), atol=1e-10)


@pytest.mark.parametrize("cutoff", [1.0, 3.0, 7.0])
def test_every_edge_has_its_opposite(cutoff):
    graph = Graph.of(Configurations.from_ase(STRUCTURES["skewed cell"]()), cutoff)
    back = torch.cat([graph.pairs.flip(0).T.double(), -graph.vectors], dim=1)
    np.testing.assert_allclose(edges(graph), sorted_edges(back.numpy()), atol=1e-10)


@pytest.fixture
def frames():
    return [make() for make in STRUCTURES.values()]


@pytest.fixture
def graph(frames):
    return Graph.of(Configurations.from_ase(frames), CUTOFF)


def test_vectors_join_positions_by_shifts_of_cells(graph):
    centre, neighbour = graph.pairs
    cells = graph.cells[graph.owner[centre]]
    translations = torch.einsum("es,esx->ex", graph.shifts.double(), cells)
    joined = graph.positions[neighbour] - graph.positions[centre] + translations
    torch.testing.assert_close(graph.vectors, joined, rtol=0, atol=1e-10)
    assert not graph.shifts[~graph.pbc[graph.owner[centre]]].any()


def test_structures_of_a_batch_do_not_see_each_other(frames, graph):
    start = n_edges = 0
    for i, atoms in enumerate(frames):
        alone = Graph.of(Configurations.from_ase(atoms), CUTOFF)
        mine = (graph.owner[graph.pairs[0]] == i).nonzero()[:, 0]
        assert torch.equal(graph.pairs[:, mine] - start, alone.pairs)
        assert torch.equal(graph.vectors[mine], alone.vectors)
        start, n_edges = start + len(atoms), n_edges + len(mine)
    assert n_edges == graph.pairs.shape[1]


def test_central_atoms_are_sorted(graph):
    assert bool((graph.pairs[0].diff() >= 0).all())
    assert bool((graph.within(3.0).pairs[0].diff() >= 0).all())


def test_volumes_are_of_crystals_only(frames, graph):
    for atoms, volume in zip(frames, graph.volumes.tolist()):
        if atoms.pbc.all():
            assert volume == pytest.approx(atoms.get_volume())
            assert volume > 0
        else:
            assert np.isnan(volume)


@pytest.mark.parametrize("which", [[], [3], [0], [5, 2, 2, 7, 0, 0, 12], list(range(13))[::-1]])
def test_taken_structures_are_those_of_the_repeated_structures(frames, graph, which):
    expected = Graph.of(Configurations.from_ase([frames[i] for i in which]), CUTOFF)
    assert same(graph.take(np.array(which, int)), expected)


def test_taken_values_belong_to_the_taken_structures(graph):
    which = np.array([5, 2, 2, 0])
    atoms = torch.cat([(graph.owner == i).nonzero()[:, 0] for i in which])
    assert torch.equal(graph.atoms_of(which), atoms)
    edge_owner = graph.owner[graph.pairs[0]]
    expected = torch.cat([(edge_owner == i).nonzero()[:, 0] for i in which])
    assert torch.equal(graph.edges_of(which), expected)


@pytest.mark.parametrize("cutoff", [0.5, 2.0, 4.0, 9.0])
def test_a_shorter_cutoff_leaves_out_longer_edges(frames, graph, cutoff):
    found = graph.within(cutoff)
    expected = Graph.of(Configurations.from_ase(frames), min(cutoff, CUTOFF))
    np.testing.assert_allclose(edges(found), edges(expected))
    assert torch.equal(found.counts, expected.counts)


def test_sums_are_those_of_loops(graph):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(graph.pairs.shape[1], 2, 3, generator=generator)
    sums = graph.sum_over_neighbours(values)
    assert sums.shape == (len(graph.numbers), 2, 3)
    for atom in range(len(graph.numbers)):
        torch.testing.assert_close(sums[atom], values[graph.pairs[0] == atom].sum(0))
    values = torch.randn(len(graph.numbers), generator=generator)
    sums = graph.sum_over_atoms(values)
    for i in range(len(graph.volumes)):
        torch.testing.assert_close(sums[i], values[graph.owner == i].sum())


def test_counts_are_those_of_the_structures(frames, graph):
    assert graph.counts.tolist() == [len(atoms) for atoms in frames]


def test_an_empty_batch_is_a_graph():
    graph = Graph.of(Configurations.empty(), 3.0)
    assert graph.pairs.shape == (2, 0)
    assert graph.counts.tolist() == []
    assert same(graph.take(np.zeros(0, int)), graph)
    assert same(graph.within(1.0), graph)


def test_single_precision_vectors():
    slab = Configurations.from_ase(fcc100("Cu", (2, 2, 2), vacuum=3))
    graph = Graph.of(slab, 5.0, torch.float32)
    assert graph.vectors.dtype == graph.volumes.dtype == torch.float32
    assert graph.numbers.dtype == torch.int64
    double = Graph.of(slab, 5.0)
    torch.testing.assert_close(graph.vectors.double(), double.vectors, atol=1e-6, rtol=0)
