import re
from dataclasses import replace

import continuing
import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
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
