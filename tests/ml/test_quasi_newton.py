"""Quasi-Newton steps on labels, and the start that falls back on them."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from aiida_mlal.ml.configurations import UNLABELLED, Configurations
from aiida_mlal.ml.frames import FAILURES, KEPT, ORIGIN, PREDICTED_ENERGY, REASON, RUN, STATUS
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.quasi_newton import STIFFNESS, QuasiNewton, quasi_newton_step
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.starts import Beginning
from aiida_mlal.ml.stops import State

join = Configurations.concatenate


def labelled(atoms, calculator=None):
    """Return a structure with its label."""
    atoms = atoms.copy()
    atoms.calc = calculator or EMT()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
    stress = {"stress": atoms.get_stress()} if atoms.pbc.all() else {}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **stress)
    return Configurations.from_ase(atoms)


def cluster(size, seed=0):
    atoms = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]])
    atoms.rattle(size, seed=seed)
    return atoms


def test_it_is_the_step_of_bfgs():
    """The inverse Hessian as Nocedal and Wright have it in equation 6.17, with all its elements."""
    visited = [labelled(cluster(0.02 * (6 - k), 1)) for k in range(6)]
    at, far = visited[3], labelled(cluster(0.5))
    pairs = []
    for one, following in pairwise([*visited, at]):
        s = (following.positions - one.positions).ravel()
        y = (one.forces - following.forces).ravel()
        if s @ y > 1e-4 * np.linalg.norm(s) * np.linalg.norm(y):
            pairs.append((s, y))
    assert len(pairs) > 3
    s, y = pairs[-1]
    inverse = np.eye(12) * (s @ y) / (y @ y)
    for s, y in pairs:
        left = np.eye(12) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    wanted = inverse @ at.forces.ravel()
    known = join([far, *visited])
    found = quasi_newton_step(at, known, longest=100.0)
    np.testing.assert_allclose((found.positions - at.positions).ravel(), wanted, atol=1e-10)
    short = quasi_newton_step(at, known, longest=0.001).positions - at.positions
    assert np.linalg.norm(short, axis=1).max() == pytest.approx(0.001)
    np.testing.assert_allclose(short.ravel(), wanted * short[0, 0] / wanted[0], atol=1e-10)


def test_without_another_label_it_is_that_of_a_stiff_spring():
    at = labelled(cluster(0.05))
    others = labelled(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]))
    for known in (at, join([at, others])):
        found = quasi_newton_step(at, known)
        np.testing.assert_allclose(found.positions - at.positions, at.forces / STIFFNESS)
    assert np.isnan(found.energies).all()


def test_labels_where_the_energy_is_concave_say_nothing():
    def dimer(x):
        return labelled(Atoms("Cu2", [[0, 0, 0], [x, 0, 0]]))

    at, known = dimer(3.6), join([dimer(3.8), dimer(3.6)])  # beyond the inflection
    found = quasi_newton_step(at, known)
    np.testing.assert_allclose(found.positions - at.positions, at.forces / STIFFNESS)


def test_fixed_atoms_stay_and_labels_with_others_fixed_elsewhere_are_left_out():
    def held(seed):
        atoms = cluster(0.1, seed)
        atoms.positions[0] = 0.0
        atoms.set_constraint(FixAtoms([0]))
        return labelled(atoms)

    at, known = held(0), join([held(seed) for seed in range(3)])
    found = quasi_newton_step(at, known)
    assert found.fixed[0].all()
    np.testing.assert_array_equal(found.positions[0], at.positions[0])
    elsewhere = labelled(cluster(0.1, 0))
    again = quasi_newton_step(at, join([known, elsewhere]))
    np.testing.assert_array_equal(again.positions, found.positions)


@pytest.mark.parametrize("moves", ["full", "volume", "shape"])
def test_cells_take_the_step_of_an_optimizer_too(moves):
    """From labels of a few cells to one of lower enthalpy, with less of the stress."""
    cell = MovingCell(moves, 0.0 if moves == "shape" else 2.0)
    rng = np.random.default_rng(0)
    known = []
    for _ in range(12):
        atoms = bulk("Cu", cubic=True)
        strain = np.eye(3) + rng.normal(0, 0.01, (3, 3))
        if moves == "volume":
            strain = np.eye(3) * rng.normal(1, 0.01)
        if moves == "shape":
            strain /= np.cbrt(np.linalg.det(strain))
        atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
        known.append(labelled(atoms))
    known = join(known)
    enthalpies = [cell.coordinates(*[one.to_ase()[0]] * 2)[0] for one in known]
    at = known[int(np.argmin(enthalpies))]
    there = labelled(quasi_newton_step(at, known, cell).to_ase()[0])
    assert cell.coordinates(*[there.to_ase()[0]] * 2)[0] < min(enthalpies)
    assert cell.largest(there.stresses)[0] < cell.largest(at.stresses)[0]
    if moves == "shape":
        assert np.linalg.det(there.cells[0]) == pytest.approx(np.linalg.det(at.cells[0]), rel=1e-3)


def test_labels_of_cells_that_are_not_reached_are_left_out():
    def crystal(a, c):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell([a, a, c], scale_atoms=True)
        atoms.rattle(0.01, seed=int(100 * c))
        return labelled(atoms)

    at, same, other = crystal(3.6, 3.6), crystal(3.6, 3.6), crystal(3.6, 3.65)
    for moves in ("fixed", "shape", "volume"):
        cell = MovingCell(moves)
        with_it = quasi_newton_step(at, join([other, same]), cell)
        assert with_it.keys == quasi_newton_step(at, same, cell).keys
    cell = MovingCell("axes")
    assert quasi_newton_step(at, join([other]), cell).keys != quasi_newton_step(at, at, cell).keys


def dimer(x, energy=None, force=0.0):
    found = Configurations.from_ase(Atoms("N2", [[0, 0, 0], [1.1 + x, 0, 0]]))
    if energy is None:
        return found
    return found.with_labels([energy], [[-force, 0, 0], [force, 0, 0]])


def seen(structure, energy):
    columns = {RUN: 0, STATUS: UNLABELLED, PREDICTED_ENERGY: [energy]}
    return structure.bare.with_columns(columns)


def way(structure, energy):
    """Return the frames of a simulation that leads there, 1 eV down from the beginning."""
    return join([seen(dimer(0.0), energy + 1.0), seen(structure, energy)])


def after(now, frame, labels, new=1, met=(), **options):
    """Return the beginning after an iteration, of whose labels the last ones are new."""
    dataset = join(labels)
    state = State(0, 0, frame, dataset[len(dataset) - new :], dataset, met=met)
    return QuasiNewton(**{"failures": 2, **options}).after(now, state)


def gone(beginning):
    return beginning.structures.positions[1, 0] - 1.1


LABELS = [dimer(0.0, 0.0, -1.0), dimer(0.25, 1.0, -6.0), dimer(0.2, 0.5, -4.0)]
"""The best one, and two that a model was wrong about."""


def twice():
    """Return the beginning after two labels that weren't lower."""
    now = Beginning(dimer(0.0), 0.5)
    once = after(now, way(dimer(0.25), -1.0), LABELS[:2])
    assert gone(once) == 0.0
    assert not KEPT.of(once.structures).any()
    return after(once, way(dimer(0.2), -1.0), LABELS)


def test_after_two_labels_that_are_not_lower_it_steps_by_labels():
    found = twice()
    assert found.structures.keys == quasi_newton_step(LABELS[0], join(LABELS)).keys
    assert KEPT.of(found.structures).tolist() == [True]
    assert found.trust == 0.125  # that of the other start


def test_one_label_is_enough_where_the_model_saw_nothing_lower():
    now = Beginning(dimer(0.0), 0.5)
    frames = join([seen(dimer(0.0), -0.9995), seen(dimer(0.25), -1.0)])
    found = after(now, frames, LABELS[:2])
    assert found.structures.keys == quasi_newton_step(LABELS[0], join(LABELS[:2])).keys
    assert "as the model sees nothing lower" in REASON.of(found.structures)[0]


def test_steps_go_on_until_the_model_foresees_what_one_gains():
    step = twice()
    there = gone(step)
    label = dimer(there, -0.5, -0.2)
    right = after(step, seen(step.structures, -0.45), [*LABELS, label])
    assert gone(right) == there
    assert not KEPT.of(right.structures).any()
    assert not FAILURES.of(right.structures).any()
    wrong = after(step, seen(step.structures, -0.9), [*LABELS, label])
    assert KEPT.of(wrong.structures).all()
    assert wrong.structures.keys == quasi_newton_step(label, join([*LABELS, label])).keys
    assert ORIGIN.of(wrong.structures).tolist() == label.keys


def test_a_step_that_leads_up_is_followed_by_another_one_from_the_best_label():
    step = twice()
    up = dimer(gone(step), 0.2, 2.0)
    found = after(step, seen(step.structures, -1.0), [*LABELS, up])
    known = join([*LABELS, up])
    assert found.structures.keys == quasi_newton_step(LABELS[0], known).keys
    assert abs(gone(found)) < abs(gone(step))
    assert ORIGIN.of(found.structures).tolist() == LABELS[0].keys


def test_a_step_without_a_label_is_followed_by_half_of_it():
    step = twice()
    failed = step.structures.bare.with_columns({STATUS: "failed"})
    found = after(step, seen(step.structures, -1.0), [*LABELS, failed])
    assert 0 < abs(gone(found)) < abs(gone(step))


def test_frames_that_nobody_labelled_count_for_nothing():
    now = Beginning(dimer(0.0), 0.5)
    for _ in range(3):
        now = after(now, seen(dimer(0.4), -1.0), LABELS)
        assert gone(now) == 0.0


def test_a_label_of_a_lower_force_is_gone_on_from_where_energies_contradict_forces():
    step = twice()
    up = dimer(gone(step), 0.005, 0.1)
    found = after(step, seen(step.structures, -1.0), [*LABELS, up])
    assert ORIGIN.of(found.structures).tolist() == up.keys


def test_where_simulations_end_at_a_label_it_steps_at_once():
    """From the best one, though no label was in vain yet; and says why."""
    now = Beginning(dimer(0.0), 0.5)
    found = after(now, seen(dimer(0.0), 0.0), LABELS, new=0)
    assert found.structures.keys == quasi_newton_step(LABELS[0], join(LABELS)).keys
    assert KEPT.of(found.structures).all()
    said = "a quasi-Newton step on the labels, as the model sees nothing lower"
    assert REASON.of(found.structures).tolist() == [said]
    label = dimer(gone(found), -0.5, -0.2)
    right = after(found, seen(found.structures, -0.45), [*LABELS, label])
    assert not KEPT.of(right.structures).any()
    assert gone(right) == gone(found)


def test_simulations_that_begin_always_alike_do_so_after_a_step():
    now = Beginning(dimer(0.1), 0.5, given=dimer(0.1))
    given = {"of": {"name": "given"}}
    labels = [dimer(0.1, 0.3, -2.0), *LABELS]
    stuck = after(now, seen(dimer(0.0), 0.0), labels, new=0, **given)
    assert stuck.structures.keys == quasi_newton_step(LABELS[0], join(labels)).keys
    label = dimer(gone(stuck), -0.5, -0.2)
    right = after(stuck, seen(stuck.structures, -0.45), [*labels, label], **given)
    assert gone(right) == pytest.approx(0.1)
    assert not KEPT.of(right.structures).any()


def test_what_the_stops_want_stays_where_it_is():
    now = Beginning(join([dimer(0.0), dimer(0.25)]), 0.5)
    frames = join([seen(dimer(0.0), 0.0), seen(dimer(0.25), 1.0).with_columns({RUN: 1})])
    found = after(now, frames, LABELS, new=0, met=[0])
    assert found.structures.keys[0] == dimer(0.0).keys[0]
    assert KEPT.of(found.structures).all()
    assert found.structures.keys[1] == quasi_newton_step(LABELS[1], join(LABELS)).keys[0]


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="expected failures above 0, got 0"):
        QuasiNewton(failures=0)


def test_a_potential_that_is_wrong_costs_three_labels_more_than_steps_do():
    """A Morse potential with a minimum far from that of the labels, which learns nothing."""
    wrong = {"Cu": {"De": 2.0, "re": 3.2, "a": 1.5}}
    potential = single({"architecture": "morse", "cutoff": 6.0, "parameters": wrong}, ["Cu"], 0)
    rule = QuasiNewton()
    now = Beginning(Configurations.from_ase(cluster(0.1)), 1.0)
    labels = [labelled(cluster(0.1))]
    while labels[-1].max_forces[0] > 0.03 and len(labels) < 40:
        guard = Guard(trust=now.trust)
        frames = Relax(optimizer="bfgs", fmax=0.01, guard=guard).run(potential, now.structures)
        last = frames.trajectory[len(frames.trajectory) - 1]
        labels.append(labelled(last.bare.to_ase()[0]))
        state = State(0, 0, frames.trajectory, labels[-1], join(labels), ())
        now = rule.after(now, state)
    direct = cluster(0.1)
    direct.calc = EMT()
    steps = BFGS(direct, logfile=None)
    steps.run(fmax=0.03)
    assert len(labels) <= steps.nsteps + 1 + rule.failures
    assert labels[-1].energies[0] == pytest.approx(direct.get_potential_energy(), abs=5e-3)
