import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.selection.filters import Filters
from aiida_mlal.ml.selection.maxvol import MaxVol
from aiida_mlal.ml.selection.select import select
from aiida_mlal.ml.uncertainty.active_set import ActiveSet

OFF = Filters(min_distance=None, duplicate=None)
NOTHING = Configurations.empty()


def copper(n, rattle=0.05, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", "fcc", rng.uniform(3.5, 3.7), cubic=True)
        atoms.rattle(rattle, rng=rng)
        frames.append(atoms)
    return Configurations.from_ase(frames)


@pytest.fixture(scope="module")
def potential():
    return single({"architecture": "mtp", "level": 4, "radial_basis_size": 4}, ["Cu"], 0)


def choose(potential, pool, train=NOTHING, filters=OFF, **options):
    return select(pool, train, {"name": "maxvol", **options}, filters, potential=potential)


def test_after_the_choice_nothing_is_extrapolated(potential):
    train, pool = copper(30), copper(50, 0.3, seed=1)
    chosen = choose(potential, pool, train)
    assert 0 < len(chosen.indices) <= 7
    both = Configurations.concatenate([train, pool[chosen.indices]])
    after = ActiveSet.of(potential, both).grades(potential, pool).values
    assert after.max() <= 1 + 1e-5
    before = ActiveSet.of(potential, train).grades(potential, pool).values
    assert before.max() > 2
    np.testing.assert_allclose([s["score"] for s in chosen.selected], before[chosen.indices])


def test_what_is_known_is_not_chosen(potential):
    train = copper(30)
    assert choose(potential, train[::2], train).indices == []
    found = choose(potential, copper(50, 0.3, seed=1), train, threshold=1e9)
    assert found.indices == []
    assert (found.is_content, found.n_left) == (True, 50)


def test_a_training_set_is_made_small(potential):
    train = copper(200)
    chosen = choose(potential, train)
    assert 0 < len(chosen.indices) < 7
    assert chosen.message == ""
    active = ActiveSet.of(potential, train[chosen.indices])
    assert active.grades(potential, train).values.max() <= 1 + 1e-5


def test_most_extrapolative_first_and_no_more_than_wanted(potential):
    train, pool = copper(30), copper(50, 0.3, seed=1)
    every = choose(potential, pool, train)
    scores = [s["score"] for s in every.selected]
    assert scores == sorted(scores, reverse=True)
    assert choose(potential, pool, train, n=2).indices == every.indices[:2]


def test_labelled_structures_may_come_back(potential):
    """With a final queue of the labelled structures, as in MLIP-3."""
    train, pool = copper(30), copper(50, 0.3, seed=1)
    chosen = choose(potential, pool, train, requeue=True, swap_threshold=1.001)
    assert set(chosen.indices) <= set(range(50))
    assert chosen.indices


def test_says_why_and_how_full_the_active_set_is(potential):
    chosen = choose(potential, copper(3))
    reason = "outside of the active set; owns 1 of the 3 filled rows (of 7) of the active set"
    assert [s["reason"] for s in chosen.selected] == 3 * [reason]
    known = choose(potential, copper(50, 0.3, seed=1), copper(30))
    assert known.selected[0]["reason"].startswith(f"grade {known.selected[0]['score']:.4g}; owns ")
    info = chosen.of(copper(3)).info
    assert info["index"].tolist() == chosen.indices
    assert info["grade"].tolist() == [s["score"] for s in chosen.selected]


def test_filtered_structures_are_not_chosen(potential):
    pool, train = copper(20, 0.3, seed=1), copper(10)
    first = choose(potential, pool, train).indices
    again = choose(potential, pool, pool[first[:1]], Filters(min_distance=None))
    assert first[0] not in again.indices


def test_neighbourhoods(potential):
    train, pool = copper(30), copper(50, 0.3, seed=1)
    chosen = choose(potential, pool, train, mode="neighbourhood")
    before = ActiveSet.of(potential, train, "neighbourhood").grades(potential, pool)
    np.testing.assert_allclose([s["score"] for s in chosen.selected], before.values[chosen.indices])


def test_it_is_not_content_while_it_wants_some_or_has_nothing_to_choose_from(potential):
    assert not choose(potential, copper(20)).is_content
    assert not choose(potential, NOTHING).is_content
    pool = copper(20)
    assert not choose(potential, pool, filters=Filters(min_distance=9.0)).is_content


def test_no_candidates(potential):
    assert choose(potential, NOTHING, copper(3)).indices == []


def test_needs_a_potential():
    with pytest.raises(ValueError, match="needs a potential"):
        select(copper(2), NOTHING, {"name": "maxvol"}, OFF)


@pytest.mark.parametrize(
    "options", [{"threshold": 1.0}, {"swap_threshold": 0.9}, {"start": 0.0}, {"n": 0}]
)
def test_options_that_cannot_be(options):
    with pytest.raises(ValueError, match="above"):
        MaxVol(**options)


def test_a_limit_of_no_swaps_is_refused():
    with pytest.raises(ValueError, match="expected swap_limit above 0 or null, got 0"):
        MaxVol(swap_limit=0)


def test_no_filter_comes_before_it_unless_asked_for(potential):
    """Compressed structures and copies, which the usual filters take out."""
    near = bulk("Cu", "fcc", 1.8, cubic=True)
    far = copper(3, 0.3, seed=1)
    pool = Configurations.concatenate([Configurations.from_ase([near]), far, far])
    every = select(pool, copper(30), {"name": "maxvol"}, potential=potential)
    assert every.as_dict() == choose(potential, pool, copper(30)).as_dict()
    assert (0 in every.indices, every.rejected, every.message) == (True, [], "")
    fewer = choose(potential, pool, copper(30), Filters())
    assert 0 not in fewer.indices
    assert [r["index"] for r in fewer.rejected] == [0, 4, 5, 6]
    assert fewer.message.startswith(
        "the filters took out 4 of 7 candidates, 3 of them known or duplicates, the first, 0: two "
        "atoms are at 0.48"
    )


def test_the_usual_filters_come_before_others(potential):
    pool = copper(3)
    found = select(Configurations.concatenate([pool, pool]), NOTHING, {"name": "random", "n": 3})
    assert [r["index"] for r in found.rejected] == [3, 4, 5]
    assert found.message.startswith("the filters took out 3 of 6 candidates, 3 of them known or")
