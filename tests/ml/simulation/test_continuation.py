import numpy as np
import pytest
from ase.build import bulk

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.simulation.continuation import join, unfinished
from aiida_mlal.ml.simulation.relax import Relax
from aiida_mlal.ml.tasks.base import Interrupted

RELAX = Relax(fmax=1e-3, max_steps=12)


@pytest.fixture
def potential():
    return ModelOptions.parse({"architecture": "morse", "cutoff": 4.0}).build(["Cu"], seed=0)


@pytest.fixture
def structures():
    frames = []
    for seed in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return Configurations.from_ase(frames)


def interrupted(potential, structures, at):
    """Return what is kept of a simulation that is stopped at a run and step."""

    def stop(**values):
        if (values["run"], values["step"]) == at:
            raise Interrupted("enough")

    with pytest.raises(Interrupted) as caught:
        RELAX.run(potential, structures, stop)
    computed = caught.value.computed
    return computed.trajectory, [as_dict(run) for run in computed.runs]


def test_only_what_is_left_goes_on(potential, structures):
    trajectory, runs = interrupted(potential, structures, (1, 2))
    start = unfinished(structures, trajectory, runs)
    assert start.info["run"].tolist() == [1, 2]
    assert start.info["step"].tolist() == [2, 0]
    assert start.keys[0] == trajectory.keys[-1]
    assert start.keys[1] == structures.keys[2]


def test_parts_fit_together(potential, structures):
    trajectory, runs = interrupted(potential, structures, (1, 2))
    start = unfinished(structures, trajectory, runs)
    rest = RELAX.run(potential, start)
    joined, ends = join(
        trajectory, runs, start, rest.trajectory, [as_dict(run) for run in rest.runs]
    )
    for number, end in enumerate(ends):
        mine = joined[joined.info["run"] == number]
        assert mine.info["step"].tolist() == list(range(end["steps"] + 1))
        assert end["n_candidates"] == mine.info["candidate"].sum()
    assert [end["reason"] for end in ends].count("interrupted") == 0
    assert len(set(joined.keys)) == len(joined)


def test_runs_that_ended_are_as_if_nothing_happened(potential, structures):
    whole = RELAX.run(potential, structures).trajectory
    trajectory, runs = interrupted(potential, structures, (2, 1))
    start = unfinished(structures, trajectory, runs)
    rest = RELAX.run(potential, start)
    joined, _ = join(trajectory, runs, start, rest.trajectory, [as_dict(r) for r in rest.runs])
    assert np.array_equal(
        joined[joined.info["run"] < 2].positions, whole[whole.info["run"] < 2].positions
    )


def test_a_second_interruption_is_no_problem(potential, structures):
    trajectory, runs = interrupted(potential, structures, (0, 3))
    start = unfinished(structures, trajectory, runs)
    trajectory, runs = join(trajectory, runs, start, *interrupted(potential, start, (1, 1)))
    assert [run["reason"] for run in runs][1:] == ["interrupted"]
    start = unfinished(structures, trajectory, runs)
    assert start.info["run"].tolist() == [1, 2]
    assert start.info["step"].tolist() == [1, 0]


def test_before_the_first_frame_everything_is_left(structures):
    start = unfinished(structures, Configurations.empty(), [])
    assert start.keys == structures.keys


def test_the_volume_is_bounded_from_the_start_of_the_run_on(potential):
    """Not from where it went on, so that interruptions let no cell drift away."""
    shrunk, start = bulk("Cu", cubic=True, a=3.0), bulk("Cu", cubic=True, a=3.6)
    frames = Configurations.from_ase(shrunk).with_info(run=[0], step=[4])
    interrupted_run = {"reason": "interrupted", "max_uncertainty": None}
    left = unfinished(Configurations.from_ase(start), frames, [interrupted_run])
    assert left.info["start_volume"] == pytest.approx(3.6**3)
    relax = Relax(cell="volume", max_steps=0)
    assert relax.run(potential, Configurations.from_ase(shrunk)).runs[0].reason == "max_steps"
    run = relax.run(potential, left).runs[0]
    assert run.reason == "strayed"
    assert f"{(3.0 / 3.6) ** 3:.3g} times that at the start" in run.message
