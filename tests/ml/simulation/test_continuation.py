import re
from dataclasses import replace

import continuing
import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.simulation.continuation import join
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.md import MolecularDynamics
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.simulation.state import Checkpoint
from aiida_mlal.ml.stopping import Interrupted

RELAX = Relax(fmax=1e-3, max_steps=12)

MORSE = {"architecture": "morse", "cutoff": 4.0}
WEAK = {**MORSE, "parameters": {"Cu": {"De": 0.3, "re": 2.5, "a": 1.4}}}


@pytest.fixture
def potential():
    return ModelOptions.parse(MORSE).build(["Cu"], seed=0)


@pytest.fixture
def structures():
    frames = []
    for seed in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def committee():
    return Ensemble([ModelOptions.parse(m).build(["Cu"], seed=0) for m in (MORSE, WEAK)])


def interrupted(potential, structures, at, simulation=RELAX, begun=None):
    return continuing.interrupted(simulation, potential, structures, at, begun)


def gone_on(potential, structures, left, simulation=RELAX):
    """Return the frames of both parts, and how runs ended, by way of a file."""
    begun = Checkpoint.from_bytes(left.checkpoint.to_bytes())
    rest = simulation.run(potential, structures, checkpoint=begun)
    return join(left.trajectory, begun, rest.trajectory), rest.runs


def test_only_what_is_left_goes_on(potential, structures):
    left = interrupted(potential, structures, (1, 2))
    assert (left.checkpoint.run, left.checkpoint.step) == (1, 2)
    rest = RELAX.run(potential, structures, checkpoint=left.checkpoint).trajectory
    assert sorted(set(rest.info["run"])) == [1, 2]
    assert rest.info["step"][0] == 2
    assert rest.keys[0] == left.trajectory.keys[-1]


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (0, 5), (1, 2), (2, 12)])
@pytest.mark.parametrize("optimizer", ["bfgs", "fire", "lbfgs"])
def test_a_relaxation_that_went_on_is_that_without_interruption(
    potential, structures, optimizer, at
):
    simulation = replace(RELAX, optimizer=optimizer, fmax=1e-6)
    whole = simulation.run(potential, structures)
    left = interrupted(potential, structures, at, simulation)
    frames, runs = gone_on(potential, structures, left, simulation)
    assert frames.to_bytes() == whole.trajectory.to_bytes()
    assert runs == whole.runs


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("cell", ["fixed", "full", "shape", "volume"])
def test_neither_cells_nor_neighbours_tell_of_an_interruption(structures, cell, engine):
    """Atoms move far enough that neighbours are looked for again in between."""
    potential = ModelOptions.parse(WEAK).build(["Cu"], seed=0)
    frames = structures.to_ase()[:1]
    frames[0].rattle(0.4, seed=5)
    start = Configurations.from_ase(frames)
    simulation = Relax(
        fmax=1e-6, max_steps=25, maxstep=0.1, cell=cell, engine=engine, optimizer="fire",
        guard=Guard(max_volume_ratio=None, min_distance=None, max_force=None),
    )  # fmt: skip
    whole = simulation.run(potential, start)
    assert whole.runs[0].steps == 25
    for step in (7, 13, 20):
        left = interrupted(potential, start, (0, step), simulation)
        joined, runs = gone_on(potential, start, left, simulation)
        assert joined.to_bytes() == whole.trajectory.to_bytes()
        assert runs == whole.runs


@pytest.mark.parametrize("step", [4, 5, 6, 10])
def test_the_frames_kept_are_the_same(potential, structures, step):
    simulation = replace(RELAX, every=5, fmax=1e-6)
    whole = simulation.run(potential, structures)
    left = interrupted(potential, structures, (1, step), simulation)
    assert left.trajectory.info["step"][-1] == step
    frames, runs = gone_on(potential, structures, left, simulation)
    assert frames.to_bytes() == whole.trajectory.to_bytes()
    assert runs == whole.runs


def test_the_guard_compares_with_the_first_step_of_all(potential, structures):
    simulation = Relax(cell="volume", max_steps=60, guard=Guard(max_volume_ratio=1.1))
    whole = simulation.run(potential, structures[:1])
    assert whole.runs[0].reason == "strayed"
    left = interrupted(potential, structures[:1], (0, whole.runs[0].steps - 1), simulation)
    _, runs = gone_on(potential, structures[:1], left, simulation)
    assert runs == whole.runs


def test_a_second_interruption_is_no_problem(potential, structures):
    whole = RELAX.run(potential, structures)
    first = interrupted(potential, structures, (0, 3))
    second = interrupted(potential, structures, (1, 1), begun=first.checkpoint)
    assert [run.reason for run in second.runs][1:] == ["interrupted"]
    trajectory = join(first.trajectory, first.checkpoint, second.trajectory)
    third = RELAX.run(potential, structures, checkpoint=second.checkpoint)
    joined = join(trajectory, second.checkpoint, third.trajectory)
    assert joined.to_bytes() == whole.trajectory.to_bytes()
    assert third.runs == whole.runs


def test_before_the_first_frame_everything_is_left(potential, structures):
    rest = RELAX.run(potential, structures, checkpoint=interrupted_at_once(potential, structures))
    assert rest.trajectory.to_bytes() == RELAX.run(potential, structures).trajectory.to_bytes()


def interrupted_at_once(potential, structures):
    class Stopped(Relax):
        def simulate(self, *args):
            raise Interrupted("at once")

    with pytest.raises(Interrupted) as caught:
        Stopped().run(potential, structures)
    computed = caught.value.computed
    assert len(computed.trajectory) == len(computed.runs) == 0
    return computed.checkpoint


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Relax(optimizer="fire"), "with {'optimizer': 'bfgs'}, expected {'optimizer': 'fire'}"),
        (Relax(cell="volume"), "with {'cell': 'fixed'}, expected {'cell': 'volume'}"),
        (MolecularDynamics(), "with {'name': 'relax', 'optimizer': 'bfgs'"),
    ],
)
def test_a_state_of_another_simulation_is_refused(potential, structures, other, words):
    """Which would go on from memories that mean something else."""
    left = interrupted(potential, structures, (1, 2))
    begun = Checkpoint.from_bytes(left.checkpoint.to_bytes())
    with pytest.raises(ValueError, match=re.escape(f"the state is that of a simulation {words}")):
        other.run(potential, structures, checkpoint=begun)


MD = MolecularDynamics(steps=8, timestep=2.0, guard=Guard(uncertainty={"name": "force_std"}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 600.0}, "{'temperature': 300.0}, expected {'temperature': 600.0}"),
        ({"timestep": 1.0}, "{'timestep': 2.0}"),
        ({"thermostat": "none"}, "{'thermostat': 'langevin'}"),
        ({"cell": "volume"}, "{'cell': 'fixed'}"),
        ({"seed": 1}, "{'seed': 0}, expected {'seed': 1}"),
        ({"equilibration": 2.0}, "{'equilibration': None}"),
        ({"guard": Guard(uncertainty={"name": "energy_std"})}, "{'guard.uncertainty': {"),
        ({"steps": 3}, "the state is that of step 4 of run 0, which is to be over after 3"),
    ],
)
def test_what_would_change_dynamics_in_their_course_is_refused(structures, options, words):
    """Frames and means would be of two simulations."""
    left = interrupted(committee(), structures, (0, 4), MD)
    with pytest.raises(ValueError, match=re.escape(words)):
        replace(MD, **options).run(committee(), structures, checkpoint=left.checkpoint)


@pytest.mark.parametrize(
    "ramp", [{"temperature": (300.0, 400.0)}, {"scenarios": ({"temperature": (300.0, 400.0)},)}]
)
def test_a_ramp_keeps_its_number_of_steps(structures, ramp):
    """Which it is over: temperatures would jump."""
    heating = replace(MD, **ramp)
    left = interrupted(committee(), structures, (0, 4), heating)
    with pytest.raises(ValueError, match=re.escape("with {'steps': 8}, expected {'steps': 16}")):
        replace(heating, steps=16).run(committee(), structures, checkpoint=left.checkpoint)


def test_more_steps_are_those_of_a_longer_run(structures):
    longer = replace(MD, steps=16)
    whole = longer.run(committee(), structures[:1])
    begun = MD.run(committee(), structures[:1])
    rest = longer.run(committee(), structures[:1], checkpoint=begun.checkpoint)
    assert join(begun.trajectory, begun.checkpoint, rest.trajectory).to_bytes() == (
        whole.trajectory.to_bytes()
    )
    assert rest.runs == whole.runs


def test_what_only_looks_on_may_change(structures):
    left = interrupted(committee(), structures, (0, 4), MD)
    other = replace(MD, every=2, guard=replace(MD.guard, break_=1e9, max_force=None))
    whole = MD.run(committee(), structures).trajectory
    rest = other.run(committee(), structures, checkpoint=left.checkpoint).trajectory
    assert rest.keys[-1] == whole.keys[-1]


def test_a_relaxation_that_is_beyond_its_steps_is_refused(potential, structures):
    left = interrupted(potential, structures, (1, 5))
    with pytest.raises(ValueError, match="step 5 of run 1, which is to be over after 4"):
        replace(RELAX, max_steps=4).run(potential, structures, checkpoint=left.checkpoint)


def test_runs_of_another_potential_are_named(potential, structures):
    left = interrupted(potential, structures, (2, 2))
    weak = ModelOptions.parse(WEAK).build(["Cu"], seed=0)
    found = RELAX.run(weak, structures, checkpoint=left.checkpoint).warnings
    assert "another potential did the runs that were over, up to 1" in found
    same = RELAX.run(potential, structures, checkpoint=left.checkpoint).warnings
    assert not any("another potential" in said for said in same)


def test_a_state_without_its_memory_is_refused(potential, structures):
    left = interrupted(potential, structures, (1, 2))
    state = replace(left.checkpoint.state, memory={"motion": {}, "stage": 0, "since": 0})
    with pytest.raises(ValueError, match="the state is damaged, or that of another simulation"):
        RELAX.run(potential, structures, checkpoint=replace(left.checkpoint, state=state))


def test_a_state_of_other_structures_is_refused(potential, structures):
    left = interrupted(potential, structures, (1, 2))
    for others in (structures[:2], structures[[1, 0, 2]]):
        with pytest.raises(ValueError, match="that of simulations from other structures"):
            RELAX.run(potential, others, checkpoint=left.checkpoint)
    fixed = replace(structures, fixed=np.ones_like(structures.fixed))
    with pytest.raises(ValueError, match="that of simulations from other structures"):
        RELAX.run(potential, fixed, checkpoint=left.checkpoint)
