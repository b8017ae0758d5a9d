import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.geometry import find_mic

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.neighbours import closest_approach
from aiida_mlal.ml.selection.filters import Filters, Twins

NOTHING = Configurations.empty()


def water(shift=0.0):
    atoms = molecule("H2O")
    atoms.positions[0, 0] += shift
    return atoms


def copper(rattle=0.0, seed=0):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


def rejected(filters, pool, train=NOTHING, finals=()):
    return {r.index: r.reason for r in filters.reject(pool, train, finals)}


def test_ordinary_structures_pass():
    pool = Configurations.from_ase([water(), copper(), copper(0.1)])
    assert rejected(Filters(), pool) == {}


def test_atoms_too_close_by_covalent_radii():
    squeezed = Atoms("H2", [[0, 0, 0], [0, 0, 0.3]])  # 2 × 0.31 Å is the sum of radii
    pool = Configurations.from_ase([squeezed, Atoms("H2", [[0, 0, 0], [0, 0, 0.32]])])
    found = rejected(Filters(min_distance=0.5), pool)
    assert list(found) == [0]
    assert "0.484" in found[0]


def test_atoms_too_close_across_the_cell():
    atoms = Atoms("Cu2", [[0, 0, 0.1], [0, 0, 4.9]], cell=[5, 5, 5], pbc=True)
    pool = Configurations.from_ase([atoms])
    assert list(rejected(Filters(min_distance=None, min_distance_angstrom=0.3), pool)) == [0]
    assert list(rejected(Filters(min_distance=None, min_distance_angstrom=0.1), pool)) == []


def test_an_atom_too_close_to_its_own_image():
    atoms = Atoms("Cu", cell=[1.0, 8, 8], pbc=True)
    assert list(rejected(Filters(), Configurations.from_ase(atoms))) == [0]


def test_numbers_that_are_not_finite():
    bad = copper()
    bad.positions[2, 1] = np.nan
    assert list(rejected(Filters(), Configurations.from_ase([copper(), bad]))) == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_not_finite(value):
    pool = Configurations.from_ase([copper(), copper(0.1)])
    assert list(rejected(Filters(), pool.with_info(predicted_energy=[1.0, value]))) == [1]
    forces = np.zeros((8, 3))
    forces[5, 2] = value
    assert list(rejected(Filters(), pool.with_arrays(predicted_forces=forces))) == [1]


def test_labels_do_where_nothing_was_predicted():
    """A campaign labels its first structures before there is a potential."""
    labelled = copper()
    labelled.calc = EMT()
    labelled.get_forces()
    pool = Configurations.from_ase([labelled, copper(0.1)])
    forces = np.zeros((8, 3))
    forces[:4] = np.nan
    pool = pool.with_info(predicted_energy=[np.nan, 1.0]).with_arrays(predicted_forces=forces)
    assert list(rejected(Filters(max_force=10.0), pool)) == []
    pool = pool.with_info(predicted_energy=[1.0, np.nan])
    assert list(rejected(Filters(max_force=10.0), pool)) == [1]


def test_force_limit_takes_the_norm_of_any_atom():
    forces = np.zeros((8, 3))
    forces[6] = [3, 4, 0]
    pool = Configurations.from_ase([copper(), copper(0.1)]).with_arrays(predicted_forces=forces)
    assert list(rejected(Filters(max_force=5.01), pool)) == []
    assert list(rejected(Filters(max_force=4.99), pool)) == [1]


def test_force_limit_without_forces_is_refused():
    with pytest.raises(ValueError, match="carry no 'predicted_forces'"):
        rejected(Filters(max_force=1.0), Configurations.from_ase(copper()))


@pytest.mark.parametrize("limit", ["min_distance", "min_distance_angstrom", "max_force"])
def test_limits_are_above_zero(limit):
    with pytest.raises(ValueError, match=limit):
        Filters(**{limit: 0.0})


def test_what_is_labelled_is_a_duplicate():
    train = Configurations.from_ase([copper(), water()])
    train = train.with_info(status=["ok", "failed"])
    pool = Configurations.from_ase([water(1e-4), copper(0.1), copper()])
    found = rejected(Filters(duplicate=1e-3), pool, train)
    assert found == {
        0: "tried (failed) already: structure 1 of train",
        2: "labelled already: structure 0 of train",
    }


def test_first_of_some_duplicates_is_kept():
    pool = Configurations.from_ase([water(), copper(), water(1e-4), water(0.1), water(2e-4)])
    assert list(rejected(Filters(), pool)) == [2, 4]


def test_duplicates_can_be_allowed():
    pool = Configurations.from_ase([water(), water()])
    assert rejected(Filters(duplicate=None), pool) == {}


def test_a_last_frame_close_to_a_labelled_one_is_kept():
    train = Configurations.from_ase([water()])
    pool = Configurations.from_ase([water(5e-4), water(5e-4 + 1e-5)])
    assert list(rejected(Filters(duplicate=1e-3), pool, train)) == [0, 1]
    assert list(rejected(Filters(duplicate=1e-3), pool, train, finals=[1])) == [0]


def test_a_last_frame_that_is_labelled_is_a_duplicate():
    train = Configurations.from_ase([water(0.2)])
    pool = Configurations.from_ase([water(), water(0.2)])
    assert list(rejected(Filters(), pool, train, finals=[1])) == [1]


def test_of_a_last_frame_and_its_neighbours_the_last_is_kept():
    pool = Configurations.from_ase([water(), water(1e-4), water(2e-4)])
    assert list(rejected(Filters(duplicate=1e-3), pool, finals=[2])) == [0, 1]


def test_last_frames_of_two_runs_are_both_kept_unless_equal():
    pool = Configurations.from_ase([water(), water(1e-4), water()])
    assert list(rejected(Filters(duplicate=1e-3), pool, finals=[0, 1, 2])) == [2]


def test_what_the_guard_found_certain_is_left_out_but_for_last_frames():
    pool = Configurations.from_ase([copper(0.1, i) for i in range(4)])
    pool = pool.with_info(candidate=[False, True, False, False])
    assert list(rejected(Filters(), pool, finals=[3])) == [0, 2]


def test_moving_by_a_lattice_vector_changes_nothing():
    there = copper()
    there.positions[2] += there.cell[0] - 2 * there.cell[1]
    pool = Configurations.from_ase([copper(), there])
    assert list(rejected(Filters(), pool)) == [1]


def test_another_cell_is_another_structure():
    wide = copper()
    wide.cell[2, 2] += 0.01
    pool = Configurations.from_ase([copper(), wide])
    assert rejected(Filters(duplicate=1e-3), pool) == {}


def test_other_elements_are_another_structure():
    silver = copper()
    silver.numbers[:] = 47
    assert rejected(Filters(), Configurations.from_ase([copper(), silver])) == {}


def test_other_periodicity_is_another_structure():
    slab = copper()
    slab.pbc = (True, True, False)
    assert rejected(Filters(), Configurations.from_ase([copper(), slab])) == {}


def test_twins_agree_with_the_definition():
    """Many structures near the tolerance, against ASE's minimum image convention."""
    rng = np.random.default_rng(4)
    tolerance = 0.1
    frames = []
    for _ in range(60):
        atoms = bulk("Cu").repeat(2)  # not orthogonal
        atoms.positions += rng.integers(-1, 2, (8, 3)) @ atoms.cell.array
        atoms.positions[rng.integers(8)] += rng.normal(size=3) * 0.06
        frames.append(atoms)
    slow = []
    for i, atoms in enumerate(frames):
        for j in slow:
            apart = atoms.positions - frames[j].positions
            if find_mic(apart, atoms.cell, atoms.pbc)[1].max() <= tolerance:
                break
        else:
            slow.append(i)
    found = rejected(Filters(duplicate=tolerance), Configurations.from_ase(frames))
    assert 3 < len(slow) < 57
    assert sorted(set(range(60)) - set(found)) == slow


def test_twins_find_the_first_label():
    twins, one = Twins(), Configurations.from_ase(water())
    assert twins.find(one, 1.0) is None
    for label in (7, 3):
        twins.add(label, one)
    assert twins.find(one, 1e-9) == 7


def test_no_pool_no_rejections():
    assert Filters().reject(NOTHING, Configurations.from_ase(water())) == []


def test_molecules_are_judged_by_their_closest_atoms():
    rng = np.random.default_rng(0)
    frames = [Atoms("CHO"[: n % 3 + 1], rng.uniform(0, 2, (n % 3 + 1, 3))) for n in range(300)]
    frames += [Atoms("CH", [[0, 0, 0], [0, 0, 1.9]], cell=[2, 2, 2], pbc=True)]
    pool = Configurations.from_ase(frames)
    closest = [
        closest_approach(one.numbers, one.positions, one.cells[0], one.pbc[0]) for one in pool
    ]
    rejected = Filters(min_distance=0.9, duplicate=None).reject(pool, Configurations.empty())
    assert [r.index for r in rejected] == np.flatnonzero(np.array(closest) < 0.9).tolist()
    assert 0 < len(rejected) < 300
    nearer = [np.linalg.norm(a.positions[0] - a.positions[1:], axis=1) for a in frames[:300]]
    wide = Filters(min_distance=None, min_distance_angstrom=0.8, duplicate=None)
    found = {r.index for r in wide.reject(pool, Configurations.empty())}
    assert {i for i, d in enumerate(nearer) if len(d) and d.min() < 0.8} <= found
