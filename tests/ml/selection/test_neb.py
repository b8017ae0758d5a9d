import numpy as np
import pytest
from ase import Atoms

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.select import select

NOTHING = Configurations.empty()


def pool_of(images, energies, runs=None, **info):
    """Frames of dimers, each another one."""
    n = len(images)
    atoms = [Atoms("N2", [[0, 0, 0], [0, 0, 1.1 + 0.01 * i]]) for i in range(n)]
    return Configurations.from_ase(atoms).with_info(
        image=images, run=[0] * n if runs is None else runs, step=np.arange(n),
        predicted_energy=np.array(energies, float), **info,
    )  # fmt: skip


@pytest.fixture
def band():
    """An end in two steps, the other one, and a band in two steps whose image 2 is the highest."""
    return pool_of(
        [0, 0, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4],
        [1, 0, 0, 0, 9, 1, 1, 0, 0, 1, 3, 2, 0],
        uncertainty=[0.0] * 9 + [0.2, 0.9, 0.3, 0.0],
    )


def chosen(pool, train=NOTHING, n=1):
    return select(pool, train, {"name": "neb", "n": n}).indices


def test_ends_come_first_and_then_the_highest_image(band):
    assert chosen(band) == [8]
    assert chosen(band, band[[8]]) == [12]
    assert chosen(band, band[[8, 12]]) == [10]
    assert chosen(band, n=3) == [8, 12, 10]


def test_other_images_follow_by_their_uncertainty(band):
    assert chosen(band, band[[8, 12, 10]]) == [11]
    assert chosen(band, band[[8, 12, 10, 11]], n=5) == [9]
    assert chosen(band, band[[8]], n=5) == [12, 10]


def test_nothing_between_ends_is_chosen_before_there_is_a_band(band):
    assert chosen(band[[0, 1]], n=3) == [1]
    assert chosen(band[[0, 1, 2]], band[[1]], n=3) == [2]
    assert chosen(band[[2]], n=3) == [0]


def test_paths_take_turns():
    images = [0, 1, 2, 0, 1, 2]
    pool = pool_of(images, [0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1])
    assert chosen(pool, n=2) == [0, 3]
    assert chosen(pool, pool[[0]], n=2) == [2, 3]
    assert chosen(pool, n=6) == [0, 3, 2, 5, 1, 4]
    assert chosen(pool, pool[[0, 1, 2, 4]], n=6) == [3, 5]


def test_reasons_say_what_it_is(band):
    selection = select(band, NOTHING, {"name": "neb", "n": 4})
    reasons = [one["reason"] for one in selection.selected]
    others = select(band, band[[8, 10, 12]], {"name": "neb"})
    reasons += [one["reason"] for one in others.selected]
    assert reasons == [
        "first end of the path: last frame of run 0",
        "last end of the path: last frame of run 0, image 4",
        "highest image of the path: last frame of run 0, image 2",
        "image of the path: last frame of run 0, image 3",
    ]
    assert "left out" not in select(band, NOTHING, {"name": "neb"}).message


def test_an_end_near_a_labelled_structure_is_chosen_all_the_same(band):
    near = band[[8]].to_ase()[0]
    near.positions[1, 2] += 1e-4
    assert chosen(band, Configurations.from_ase(near)) == [8]


def test_first_takes_what_comes_first(band):
    assert select(band, NOTHING, {"name": "first", "n": 2}, Filters.off()).indices == [0, 1]
    assert select(band, band[[0]], {"name": "first"}).indices == [1]
