"""What holds for every simulation that is installed."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.constraints import FixAtoms, FixCartesian

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import IMAGE, RUN
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.simulation.base import REACHED, Simulation

REASONS = {"converged", "completed", "max_steps", "uncertain", "unphysical"}
SHORT = {"md": {"steps": 20, "every": 1}}
"""Options of simulations that would take long, or keep few frames."""


@pytest.fixture(scope="module", params=plugins.names("simulations"))
def simulation(request):
    return plugins.make("simulations", {"name": request.param, **SHORT.get(request.param, {})})


@pytest.fixture(scope="module")
def potential():
    model = {"architecture": "bpnn", "hidden": [5], "prior": {"architecture": "morse"}}
    return ModelOptions.parse({**model, "ensemble": 2}).build(["C", "Cu"], seed=0)


@pytest.fixture(scope="module")
def structures(simulation, begins):
    """Where runs begin: for a simulation that takes several images, each with one beside it."""
    return beginnings(simulation, begins)


def beginnings(simulation, begins):
    per_run = getattr(simulation, "given", 1)
    found = []
    for one in begins:
        for image in range(per_run):
            other = one.copy()
            other.set_constraint()
            other.positions[-1] += [0.3 * image, 0, 0]
            other.set_constraint(one.constraints)
            found.append(other)
    return Configurations.from_ase(found)


@pytest.fixture(scope="module")
def begins():
    slab = fcc100("Cu", (1, 1, 3), vacuum=5)
    slab.rattle(0.1, seed=1)
    slab.set_constraint([FixAtoms([0]), FixCartesian([1], [True, True, False])])
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=2)
    return [slab, crystal, Atoms("C")]


@pytest.fixture(scope="module")
def result(simulation, potential, structures):
    """What a simulation comes to; tests only read it."""
    return simulation.run(potential, structures)


def test_is_its_own_options(simulation):
    assert isinstance(simulation, Simulation)
    assert build(type(simulation), as_dict(simulation)) == simulation


def test_every_run_ends_for_a_known_reason(result):
    assert {run.reason for run in result.runs} <= REASONS
    for run in result.runs:
        assert run.converged == (run.reason in REACHED)


def test_every_run_begins_where_it_was_told_to(simulation, result, structures):
    frames = result.trajectory
    first = frames[frames.info["step"] == 0]
    groups = simulation.groups(structures)
    assert first.keys == [group.keys[0] for group in groups]
    assert first.info["run"].tolist() == list(range(len(groups)))


def test_every_step_has_a_frame(result):
    for index, run in enumerate(result.runs):
        steps = result.trajectory.info["step"][result.trajectory.info["run"] == index]
        assert np.unique(steps).tolist() == list(range(run.steps + 1))


def test_what_goes_to_a_minimum_is_an_image_of_a_run(simulation, structures, result):
    images = simulation.minimised(structures)
    assert len(images) == len(structures)
    found = {(int(r), int(i)) for r, i in zip(*_runs_and_images(result.trajectory))}
    assert {one for one in images if one is not None} <= {*found, *_ends(simulation, result)}


def _runs_and_images(frames):
    return RUN.of(frames), IMAGE.of(frames)


def _ends(simulation, result):
    """Images that a run has not come to, since it was over before."""
    last = getattr(simulation, "images", 1) - 1
    return {(run, last) for run in range(len(result.runs))}


def test_predictions_are_never_labels(result):
    assert set(result.trajectory.status) == {"unlabelled"}
    assert np.isnan(result.trajectory.energies).all()
    assert np.isnan(result.trajectory.forces).all()
    assert np.isnan(result.trajectory.stresses).all()


def test_predictions_are_those_of_the_potential(result, potential):
    again = potential.predict(result.trajectory)
    found = result.trajectory
    assert found.info["predicted_energy"] == pytest.approx(again.energies, abs=1e-9)
    assert found.arrays["predicted_forces"] == pytest.approx(again.forces, abs=1e-9)


def test_a_committee_is_watched_without_being_asked(result):
    assert np.isfinite(result.trajectory.info["uncertainty"]).all()
    assert np.isfinite(result.trajectory.arrays["uncertainties"]).all()
    assert all(run.uncertainty is not None for run in result.runs)


def test_fixed_components_do_not_move(simulation, result, structures):
    for index, (start, *_) in enumerate(simulation.groups(structures)):
        frames = result.trajectory[result.trajectory.info["run"] == index]
        path = frames.positions.reshape(len(frames), -1, 3)
        np.testing.assert_array_equal(
            path[:, start.fixed], np.tile(start.positions[start.fixed], (len(path), 1))
        )


def test_the_same_input_gives_the_same_bytes(result, simulation, potential, structures):
    again = simulation.run(potential, structures)
    assert again.trajectory.to_bytes() == result.trajectory.to_bytes()
    assert again.runs == result.runs


def test_runs_do_not_know_of_each_other(result, simulation, potential, structures):
    alone = simulation.run(potential, simulation.groups(structures)[1])
    frames = result.trajectory[result.trajectory.info["run"] == 1]
    np.testing.assert_array_equal(alone.trajectory.positions, frames.positions)
    assert alone.runs == result.runs[1:2]


def test_moments_and_tags_stay_with_the_atoms(simulation, potential):
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.1, seed=2)
    crystal.set_initial_magnetic_moments([1.0, -1.0, 2.0, 0.0])
    crystal.set_tags([1, 2, 3, 4])
    start = beginnings(simulation, [crystal, bulk("Cu")])
    frames = simulation.run(potential, start).trajectory
    mine = frames[frames.info["run"] == 0]
    for name in ("initial_magmoms", "tags"):
        np.testing.assert_array_equal(mine[-1].arrays[name], start[0].arrays[name])
    assert not frames[frames.info["run"] == 1].sites


def test_a_run_in_which_nothing_can_move_says_so(simulation, potential, begins):
    """All atoms are fixed; for dynamics one atom is enough, whose centre of mass is at rest."""
    slab = begins[0].copy()
    slab.set_constraint()
    structures = beginnings(simulation, [slab])
    fixed = replace(structures, fixed=np.ones_like(structures.fixed))
    if getattr(simulation, "given", 1) == 1:  # a path whose atoms are all fixed is refused
        (run,) = simulation.run(potential, fixed).runs
        assert run.message.startswith("nothing moves")
    if not simulation.relaxes:
        (run,) = simulation.run(potential, Configurations.from_ase(Atoms("C"))).runs
        assert run.message.startswith("nothing moves")
    assert not simulation.run(potential, structures).runs[0].message.startswith("nothing")
