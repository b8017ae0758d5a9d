"""Runs that a guard ends, and that go on from there, be it with another potential."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml import plugins
from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import LEARNED, STEP
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.simulation.continuation import join
from aiida_mlal.ml.simulation.guard import DUE, STAGNANT, UNCERTAIN, Guard
from aiida_mlal.ml.simulation.optimizers import OptimizerMemory, optimizer_of
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.simulation.state import Checkpoint
from aiida_mlal.ml.stopping import Interrupted
from aiida_mlal.ml.tasks.simulate import Simulate

FREE = Guard(min_distance=None, max_force=None)
LIMITED = replace(FREE, break_=0.02)


def committee(depth=0.34, spread=0.1):
    morse = [{"De": depth * (1 + s), "re": 2.6, "a": 1.4} for s in (0, spread)]
    options = {"architecture": "morse", "cutoff": 4.0}
    return Ensemble([single({**options, "parameters": {"Cu": m}}, ["Cu"], seed=0) for m in morse])


@pytest.fixture(scope="module")
def start():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.15, seed=1)
    return Configurations.from_ase(atoms)


def relax(**options):
    return Relax(**{"fmax": 1e-5, "max_steps": 25, "maxstep": 0.05, "guard": FREE, **options})


def stopped(start, optimizer="bfgs", step=4, **options):
    """Return a run that its guard ended after some steps, by way of a file."""
    guard = replace(FREE, pause=step)
    result = relax(optimizer=optimizer, guard=guard, **options).run(committee(), start)
    assert (result.runs[0].reason, result.runs[0].steps) == (DUE, step)
    return result, Checkpoint.from_bytes(result.checkpoint.to_bytes())


@pytest.mark.parametrize("optimizer", ["bfgs", "fire", "lbfgs"])
def test_with_the_same_potential_it_is_as_if_nothing_had_ended_it(start, optimizer):
    whole = relax(optimizer=optimizer).run(committee(), start)
    before, checkpoint = stopped(start, optimizer)
    rest = relax(optimizer=optimizer).run(committee(), start, checkpoint=checkpoint)
    joined = join(before.trajectory, checkpoint, rest.trajectory)
    assert joined.to_bytes() == whole.trajectory.to_bytes()
    assert rest.runs == whole.runs


def test_the_limit_is_what_ends_it_and_nothing_else(start):
    """Uncertainties fall while the crystal relaxes: at the beginning they are largest."""
    whole = relax().run(committee(), start)
    values = whole.trajectory.info["uncertainty"]
    run = relax(guard=replace(FREE, break_=1.01 * values.max())).run(committee(), start).runs[0]
    assert run.reason == whole.runs[0].reason
    assert run.steps == whole.runs[0].steps
    run = relax(guard=replace(FREE, break_=0.99 * values[0])).run(committee(), start).runs[0]
    assert (run.reason, run.steps) == (UNCERTAIN, 0)


@pytest.mark.parametrize("optimizer", ["bfgs", "fire", "lbfgs"])
@pytest.mark.parametrize("cell", ["fixed", "full"])
def test_another_potential_goes_on_from_that_very_step(start, optimizer, cell):
    before, checkpoint = stopped(start, optimizer, cell=cell)
    other = committee(0.3)
    to_the_end = relax(optimizer=optimizer, cell=cell, fmax=1e-3, max_steps=300)
    rest = to_the_end.run(other, start, checkpoint=checkpoint)
    frames = rest.trajectory
    assert STEP.of(frames)[0] == 4
    np.testing.assert_array_equal(frames[0].positions, before.trajectory[-1].positions)
    np.testing.assert_array_equal(frames[0].cells, before.trajectory[-1].cells)
    atoms = frames[0].to_ase()[0]
    atoms.calc = MLCalculator(other)  # which has seen no other structure
    found = frames[0].arrays["predicted_forces"]
    np.testing.assert_allclose(found, atoms.get_forces(), rtol=0, atol=1e-13)
    assert rest.runs[0].converged
    assert rest.runs[0].steps == STEP.of(frames)[-1] > 4


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs"])
def test_curvatures_are_those_of_the_new_potential(start, optimizer):
    """What was learned before stays; the next difference of forces is of one potential."""
    _, checkpoint = stopped(start, optimizer)
    place, force = {"bfgs": ("pos0", "forces0"), "lbfgs": ("r0", "f0")}[optimizer]
    atoms = start.to_ase()[0]
    atoms.positions[:] = checkpoint.state.positions[0]
    atoms.calc = MLCalculator(committee(0.3))
    memory = OptimizerMemory(optimizer_of(optimizer, atoms, 0.05), optimizer)
    motion = checkpoint.state.memory["motion"]
    memory.recall(motion)
    memory.renew()
    there = start.to_ase()[0]
    there.positions[:] = motion[place].reshape(-1, 3)
    there.calc = MLCalculator(committee(0.3))
    now = memory.remember()
    np.testing.assert_array_equal(now[force].ravel(), there.get_forces().ravel())
    assert np.abs(now[force] - motion[force]).max() > 1e-3
    np.testing.assert_array_equal(now[place], motion[place])
    np.testing.assert_array_equal(atoms.positions, checkpoint.state.positions[0])
    for name in set(now) - {force}:
        np.testing.assert_array_equal(now[name], motion[name])


def test_a_step_that_was_labelled_ends_it_no_second_time_but_the_next_one_does(start):
    first = relax(guard=LIMITED).run(committee(), start)
    assert (first.runs[0].reason, first.runs[0].steps) == (UNCERTAIN, 0)
    again = relax(guard=LIMITED).run(committee(0.3), start, checkpoint=first.checkpoint)
    assert (again.runs[0].reason, again.runs[0].steps) == (UNCERTAIN, 1)
    assert STEP.of(again.trajectory).tolist() == [0, 1]
    stuck = relax(guard=LIMITED).run(committee(), start, checkpoint=first.checkpoint)
    assert (stuck.runs[0].reason, stuck.runs[0].steps) == (UNCERTAIN, 0)


def test_a_structure_that_was_learned_ends_no_run_that_begins_at_it(start):
    known = start.with_columns({LEARNED: True})
    result = relax(guard=LIMITED).run(committee(), known)
    assert (result.runs[0].reason, result.runs[0].steps) == (UNCERTAIN, 1)
    assert not LEARNED.of(result.trajectory).any()


def test_a_renewed_run_that_is_killed_goes_on_as_if_it_had_not_been(start):
    simulation = relax(guard=replace(FREE, trust=0.5, stagnation=30, pause=9))
    _, checkpoint = stopped(start)
    other = committee(0.3)
    whole = simulation.run(other, start, checkpoint=checkpoint)
    assert whole.runs[0].steps == 13

    for at in (4, 5, 9):

        def stop(step, at=at, **_):
            if step == at:
                raise Interrupted("enough")

        with pytest.raises(Interrupted) as caught:
            simulation.run(other, start, stop, checkpoint)
        left = caught.value.computed
        begun = Checkpoint.from_bytes(left.checkpoint.to_bytes())
        rest = simulation.run(other, start, checkpoint=begun)
        joined = join(left.trajectory, begun, rest.trajectory)
        assert joined.to_bytes() == whole.trajectory.to_bytes()
        assert rest.runs == whole.runs


@pytest.mark.parametrize("thermostat", ["langevin", "nose_hoover", "none"])
def test_dynamics_go_on_with_their_velocities(start, thermostat):
    """Also with their thermostat: with the same potential nobody sees that they stopped."""
    usual = {"steps": 12, "timestep": 2.0, "temperature": 300.0, "seed": 3, "every": 1}
    usual["thermostat"] = thermostat
    md = build(plugins.find("simulations", "md"), usual | {"guard": as_dict(FREE)})
    whole = md.run(committee(), start)
    before = replace(md, guard=replace(FREE, pause=5)).run(committee(), start)
    checkpoint = Checkpoint.from_bytes(before.checkpoint.to_bytes())
    rest = md.run(committee(), start, checkpoint=checkpoint)
    assert join(before.trajectory, checkpoint, rest.trajectory).to_bytes() == (
        whole.trajectory.to_bytes()
    )
    other = md.run(committee(0.3), start, checkpoint=checkpoint)
    for name in ("positions", "cells"):
        np.testing.assert_array_equal(
            getattr(other.trajectory[0], name), getattr(before.trajectory[-1], name)
        )
    np.testing.assert_array_equal(
        other.trajectory[0].arrays["velocities"], before.trajectory[-1].arrays["velocities"]
    )
    assert (other.trajectory[-1].positions != whole.trajectory[-1].positions).any()
    conserved = other.runs[0].results["conserved_eV"]
    energies = [one.trajectory.info["predicted_energy"] for one in (before, other)]
    assert abs(energies[1][0] - energies[0][-1]) > 0.5
    assert abs(conserved["last"] - conserved["first"]) < 0.05
    averaged = other.runs[0].results["averaged"]
    assert averaged["from_ps"] == pytest.approx((checkpoint.step + 1) * 2e-3)


def test_statistics_are_those_of_the_potential_that_goes_on(start):
    before, checkpoint = stopped(start)
    rest = relax().run(committee(0.3, 0.01), start, checkpoint=checkpoint)
    found = rest.trajectory.info["uncertainty"].max()
    assert rest.runs[0].max_uncertainty == pytest.approx(found, rel=1e-12)
    assert found < before.runs[0].max_uncertainty
    assert rest.runs[0].n_candidates == len(rest.trajectory)


def test_the_limit_follows_the_forces_where_it_may(start):
    frames = relax().run(committee(), start).trajectory
    forces = np.linalg.norm(frames.arrays["predicted_forces"], axis=1).reshape(len(frames), -1)
    shares = frames.info["uncertainty"] / forces.max(axis=1)
    free = replace(FREE, break_=1e-6, break_share=1.1 * shares.max())
    run = relax(guard=free, fmax=0.01).run(committee(), start).runs[0]
    assert run.converged
    bound = replace(free, break_share=0.9 * shares[0])
    assert relax(guard=bound).run(committee(), start).runs[0].reason == UNCERTAIN
    with pytest.raises(ValueError, match="break_share raises the limit that is given as break"):
        Guard(break_share=0.1)


def test_a_run_that_stands_still_says_so(start):
    run = relax(guard=replace(FREE, stagnation=3), fmax=1e-12).run(committee(), start).runs[0]
    assert run.reason == STAGNANT
    assert run.message == "no atom went 0.04 Å in 3 steps"
    frames = relax(max_steps=run.steps).run(committee(), start).trajectory
    places = frames.positions.reshape(run.steps + 1, -1, 3)
    assert np.linalg.norm(places[-4:] - places[-4], axis=2).max() < 0.04


def test_a_job_leaves_the_state_of_its_run_if_it_is_to(start, tmp_path, monkeypatch):
    from aiida_mlal.ml.formats import potentials

    monkeypatch.chdir(tmp_path)
    start.save("structures.safetensors")
    potentials.save(committee(), "potential.safetensors")
    guard = {"pause": 3, "min_distance": None, "max_force": None}
    simulation = {"name": "relax", "fmax": 1e-5, "guard": guard}
    Simulate(simulation).run()
    assert not (tmp_path / Simulate.STATE).exists()
    found = Simulate(simulation, keep_state=True).run()
    assert found["runs"][0]["reason"] == DUE
    assert Checkpoint.load(Simulate.STATE).step == 3

    potentials.save(committee(0.3), "potential.safetensors")
    (tmp_path / Simulate.OUTPUT).unlink()  # another job has a folder of its own
    found = Simulate(simulation, begun=Simulate.STATE, keep_state=True).run()
    assert (found["runs"][0]["reason"], found["runs"][0]["steps"]) == (DUE, 6)
    assert json.dumps(found)
    Configurations.concatenate([start, start]).save("structures.safetensors")
    with pytest.raises(ValueError, match="keep_state: a state is that of one run"):
        Simulate(simulation, keep_state=True).run()
    (tmp_path / Simulate.OUTPUT).unlink()
    with pytest.raises(ValueError, match="the state is that of simulations from other structures"):
        Simulate(simulation, begun=Simulate.STATE).run()
