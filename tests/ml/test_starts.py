"""Where simulations begin, and how far they are trusted."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.frames import (
    IMAGE,
    KEPT,
    PREDICTED_ENERGY,
    PREDICTED_FORCES,
    PREDICTED_STRESS,
    RUN,
    STATUS,
)
from aiida_mlal.ml.simulation.base import Image
from aiida_mlal.ml.starts import Beginning, Best, Given
from aiida_mlal.ml.stops import State


def dimer(x, energy=None):
    atoms = Atoms("N2", [[0, 0, 0], [1.1 + x, 0, 0]])
    if energy is not None:
        forces = np.zeros((2, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return Configurations.from_ase(atoms)


def seen(x, energy, run=0):
    """The last frame of a run, as a potential saw it."""
    return dimer(x).with_columns(
        {
            RUN: run,
            STATUS: UNLABELLED,
            PREDICTED_ENERGY: [energy],
            PREDICTED_FORCES: np.zeros((2, 3)),
            PREDICTED_STRESS: np.full((1, 3, 3), np.nan),
        }
    )


def state(frames, labels, runs=()):
    join = Configurations.concatenate
    return State(0, 0, join(frames), Configurations.empty(), join(labels), runs)


def best(predicted, labelled, moved=0.5, trust=0.5, **options):
    """Where it goes on after a move that was to change the energy from 0."""
    labels = [dimer(0.0, 0.0)] + ([] if labelled is None else [dimer(moved, labelled)])
    now = Beginning(dimer(0.0), trust)
    return Best(**options).after(now, state([seen(moved, predicted)], labels))


def gone(beginning):
    return beginning.structures.positions[1, 0] - 1.1


def test_a_given_start_stays():
    now = Beginning(dimer(0.0), 0.5)
    assert Given().after(now, state([seen(0.5, -1)], [dimer(0.5, -2)])) is now


@pytest.mark.parametrize(
    ("predicted", "labelled", "moved", "place", "trust"),
    [
        (-1.0, -0.9, 0.5, 0.5, 1.0),  # right, at the limit
        (-1.0, -0.9, 0.3, 0.3, 0.5),  # right, within it
        (-1.0, -0.5, 0.5, 0.5, 0.5),  # half right
        (-1.0, -0.1, 0.5, 0.5, 0.25),  # wrong, lower all the same
        (-1.0, 2.0, 0.3, 0.0, 0.25),  # wrong, and higher
        (1.0, -1.0, 0.5, 0.5, 0.25),  # it was to be higher
        (-1.0, None, 0.4, 0.0, 0.25),  # no label
        (-2e-4, -5e-4, 0.4, 0.4, 0.5),  # too near to tell
    ],
)
def test_it_goes_on_from_the_lower_one_as_far_as_the_model_was_right(
    predicted, labelled, moved, place, trust
):
    found = best(predicted, labelled, moved)
    assert gone(found) == pytest.approx(place)
    assert found.trust == pytest.approx(trust)


def test_a_model_that_asked_for_a_label_keeps_the_trust_that_it_has():
    labels = [dimer(0.0, 0.0), dimer(0.5, 2.0)]
    now = Beginning(dimer(0.0), 0.5)
    for reason, trust in (("uncertain", 0.5), ("strayed", 0.25)):
        seen_now = state([seen(0.5, -1.0)], labels, [{"reason": reason}])
        assert Best().after(now, seen_now).trust == trust


def test_trust_has_limits():
    assert best(-1.0, 1.0, 0.06, 0.06, smallest=0.05).trust == 0.05
    assert best(-1.0, -1.0, 0.5, 0.5, largest=0.8).trust == 0.8
    assert best(-1.0, -1.0, 2.0, 2.0, largest=0.8).trust == 2.0  # as it was given
    assert best(-1.0, 1.0, trust=None).trust is None


def test_a_start_without_a_label_gives_way_to_one_with_a_label():
    now = Beginning(dimer(0.0), 0.5)
    found = Best().after(now, state([seen(0.4, -1.0)], [dimer(0.4, 7.0)]))
    assert gone(found) == pytest.approx(0.4)
    assert found.trust == 0.5


def test_each_of_several_runs_goes_on_from_its_own_and_the_worst_decides_on_trust():
    now = Beginning(Configurations.concatenate([dimer(0.0), dimer(3.0)]), 0.5)
    labels = [dimer(0.0, 0.0), dimer(3.0, 5.0), dimer(0.5, 1.0), dimer(3.5, 4.0)]
    found = Best().after(now, state([seen(0.5, -1.0, 0), seen(3.5, 4.0, 1)], labels))
    assert found.structures[0].positions[1, 0] == pytest.approx(1.1)
    assert found.structures[1].positions[1, 0] == pytest.approx(4.6)
    assert found.trust == 0.25


def test_under_pressure_the_enthalpy_decides():
    def crystal(a, energy):
        atoms = bulk("Cu", a=a)
        calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)), stress=[0] * 6)
        atoms.calc = calc
        return Configurations.from_ase(atoms)

    large, small = crystal(3.8, 0.0), crystal(3.6, 0.1)
    pressure = 0.1 / ((3.8**3 - 3.6**3) / 4) / GPa
    frame = small.bare.with_columns(
        {
            RUN: 0,
            STATUS: UNLABELLED,
            PREDICTED_ENERGY: [0.1],
            PREDICTED_FORCES: np.zeros((1, 3)),
            PREDICTED_STRESS: np.zeros((1, 3, 3)),
        }
    )
    for factor, kept in ((0.9, 3.8), (1.1, 3.6)):
        cell = {"moves": "full", "pressure_GPa": factor * pressure}
        now = Beginning(large.bare)
        found = Best().after(now, state([frame], [large, small], [{"cell": cell}]))
        assert found.structures.cells[0, 0].max() == pytest.approx(kept / 2)


def test_limits_that_are_none_are_refused():
    with pytest.raises(ValueError, match="smallest above 0 and not above largest"):
        Best(smallest=1.0, largest=0.5)


def pushed(x, energy, force):
    """A labelled dimer whose atoms are pushed apart."""
    forces = [[[-force, 0, 0], [force, 0, 0]]]
    return dimer(x, energy).with_labels([energy], np.array(forces).reshape(2, 3))


ENDS = (Image(0, 0), None, Image(0, 4))
"""A path begins from its ends and a structure between them."""


def after_path(images, labels, **options):
    """Where a path goes on whose ends began at 0 and 0.4."""
    now = Beginning(Configurations.concatenate([dimer(0.0), dimer(0.2), dimer(0.4)]), 0.5, ENDS)
    frames = [seen(x, -1.0).with_columns({IMAGE: image}) for image, x in images.items()]
    return now, Best(**options).after(now, state(frames, labels))


def test_ends_of_a_path_go_to_their_own_labels():
    labels = [dimer(0.0, 0.0), dimer(0.1, -1.0), dimer(0.25, -2.0), dimer(0.45, -0.5)]
    now, found = after_path({0: 0.1, 2: 0.25, 4: 0.45}, labels)
    places = found.structures.positions[1::2, 0] - 1.1
    assert places == pytest.approx([0.1, 0.2, 0.45])
    assert found.minimised is now.minimised


def test_a_frame_that_nobody_labelled_does_not_change_the_trust():
    """One label at a time: the other end was not asked for, which is no failure."""
    labels = [dimer(0.0, 0.0), dimer(0.4, 0.0)]
    _, found = after_path({0: 0.1, 4: 0.45}, [*labels, dimer(0.1, -0.9)])
    assert found.trust == 0.5
    failed = seen(0.1, -1.0).with_columns({STATUS: "failed"})
    _, found = after_path({0: 0.1, 4: 0.45}, [*labels, failed])
    assert found.trust == 0.25


def test_an_end_that_its_label_says_is_relaxed_is_kept_from_then_on():
    labels = [pushed(0.0, 0.0, 1.0), pushed(0.1, 0.1, 0.02)]
    _, found = after_path({0: 0.1, 4: 0.45}, labels, keep_below=0.03)
    assert KEPT.of(found.structures).tolist() == [True, False, False]
    assert found.structures.positions[1, 0] - 1.1 == pytest.approx(0.1)
    lower = [*labels, pushed(0.12, -5.0, 0.01)]
    again = Best(keep_below=0.03).after(found, state([seen(0.12, -1.0)], lower))
    assert again.structures.keys == found.structures.keys
    _, not_yet = after_path({0: 0.1, 4: 0.45}, labels, keep_below=0.01)
    assert not KEPT.of(not_yet.structures).any()


def test_a_beginning_that_is_relaxed_is_kept_where_it_is():
    labels = [pushed(0.0, 0.0, 0.01), pushed(0.1, -1.0, 0.2)]
    _, found = after_path({0: 0.1}, labels, keep_below=0.03)
    assert KEPT.of(found.structures).tolist() == [True, False, False]
    assert found.structures.positions[1, 0] == pytest.approx(1.1)
    with pytest.raises(ValueError, match="keep_below above 0"):
        Best(keep_below=0.0)
