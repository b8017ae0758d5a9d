from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.constraints import FixAtoms, FixCartesian
from continuing import check_goes_on

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import IMAGE
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import as_dict
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.neb import Neb
from aiida_mlal.ml.simulation.saddle import Saddle
from aiida_mlal.ml.stops import OracleForce, State


def adatom(displaced=(0.7, 0.1), site="hollow", height=1.7):
    """A copper atom on copper, displaced from a site."""
    slab = fcc100("Cu", (2, 2, 2), vacuum=5)
    add_adsorbate(slab, "Cu", height, site)
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms(range(4)))
    slab.positions[-1, :2] += displaced
    return slab


def start(*atoms):
    return Configurations.from_ase(list(atoms or [adatom()]))


@pytest.fixture(scope="module")
def potential():
    return ModelOptions.parse({"architecture": "ase", "calculator": {"name": "emt"}}).build(
        ["Cu"], 0
    )


@pytest.fixture(scope="module")
def bridge(potential):
    """Energy of the saddle point that a band between two hollow sites has."""
    hollow = adatom((0, 0))
    other = hollow.copy()
    other.positions[-1, 0] += hollow.cell[0, 0] / 2
    result = Neb(fmax=0.02, modes=False).run(potential, start(hollow, other))
    frames = result.trajectory
    top = (frames.info["step"] == result.runs[0].steps) & (IMAGE.of(frames) == 2)
    return float(potential.predict(frames[top]).energies[0])


@pytest.mark.parametrize(
    ("options", "atoms"),
    [
        ({"mode": "softest"}, [adatom()]),
        ({"mode": "softest", "seed": 3}, [adatom((0.3, 0.1))]),
        ({"mode": "softest", "maxstep": 0.2}, [adatom((0.5, 0.2))]),
        ({"mode": "towards"}, [adatom((0, 0)), adatom((0.4, 0.0))]),
        ({"mode": "random", "modes": False}, [adatom()]),
    ],
)
def test_it_ends_at_the_saddle_point_of_the_path(potential, bridge, options, atoms):
    result = Saddle(fmax=0.02, **options).run(potential, start(*atoms))
    (run,) = result.runs
    assert (run.converged, run.reason, run.stationary) == (True, "converged", (0,))
    last = potential.predict(result.trajectory[len(result.trajectory) - 1])
    assert last.max_forces[0] < 0.02
    assert float(last.energies[0]) == pytest.approx(bridge, abs=2e-3)
    assert run.results["curvature"] < -0.2
    if options.get("modes", True):
        along = np.array(run.results["mode"])[-1]
        assert np.abs(along).max() > 0.8
        assert run.results["modes"]["n_imaginary"] == 1
        lowest = run.results["modes"]["lowest_eigenvalue"]
        assert run.results["curvature"] == pytest.approx(lowest, abs=0.02)


def test_it_goes_on_from_a_minimum_and_from_a_summit(potential, bridge):
    """Both are stationary, by symmetry; an atom on top of another one has two imaginary modes."""
    minimum = adatom((0, 0))
    relaxed = plugins.make("simulations", {"name": "relax", "fmax": 1e-3})
    found = relaxed.run(potential, start(minimum)).trajectory
    summit = adatom((0, 0), "ontop", 2.3)
    summit.set_constraint([FixAtoms(range(4)), FixCartesian([4, 5, 6, 7], [True, True, False])])
    for begin, rises in ((found[len(found) - 1].bare, True), (start(summit), False)):
        result = Saddle(fmax=0.02).run(potential, begin)
        (run,) = result.runs
        assert run.converged
        assert run.results["modes"]["n_imaginary"] == 1
        energies = potential.predict(result.trajectory).energies
        assert (energies[-1] > energies[0] + 0.1) == rises
        if not rises:
            assert energies[-1] == pytest.approx(bridge, abs=5e-3)


def test_fixed_components_stay(potential):
    atoms = adatom()
    atoms.set_constraint([FixAtoms(range(4)), FixCartesian([5], [True, False, False])])
    begin = start(atoms)
    frames = Saddle(fmax=0.02).run(potential, begin).trajectory
    moved = np.abs(frames.positions.reshape(-1, 9, 3) - begin.positions).max(axis=0) > 0
    assert not moved[begin.fixed].any()
    assert moved[~begin.fixed].all()


def test_molecules_have_saddle_points_too():
    """A tetrahedron becomes its mirror image by way of a flat rhombus, and may turn freely."""
    potential = ModelOptions.parse({"architecture": "morse", "cutoff": 9.0}).build(["Cu"], 0)
    atoms = Atoms("Cu4", [[1.3, 0, 0.3], [-1.3, 0, 0.3], [0, 2.2, 0], [0, -2.1, 0]])
    result = Saddle(fmax=0.005).run(potential, start(atoms))
    (run,) = result.runs
    assert run.converged
    assert run.results["modes"]["n_imaginary"] == 1
    last = result.trajectory[len(result.trajectory) - 1].positions
    assert np.linalg.svd(last - last.mean(axis=0))[1][2] < 0.1


@pytest.mark.parametrize("options", [{}, {"mode": "random"}, {"every": 4, "modes": False}])
def test_a_search_that_went_on_is_that_without_interruption(options):
    model = {"architecture": "morse", "cutoff": 4.0}
    potential = ModelOptions.parse(model).build(["Cu"], seed=0)
    simulation, structures = Saddle(fmax=0.02, **options), start()
    whole = simulation.run(potential, structures)
    assert whole.runs[0].converged
    n = whole.runs[0].steps
    for at in {0, 1, 5, 6, n - 1, n}:
        check_goes_on(simulation, potential, structures, whole, at)


def test_another_potential_goes_on_with_curvatures_of_its_own():
    first, second = (
        ModelOptions.parse(
            {
                "architecture": "morse",
                "cutoff": 4.0,
                "parameters": {"Cu": {"De": depth, "re": 2.6, "a": 1.4}},
            }
        ).build(["Cu"], 0)
        for depth in (0.3, 0.4)
    )
    begun = Saddle(guard=Guard(pause=4)).run(first, start())
    assert begun.runs[0].reason == "due"
    whole = Saddle(fmax=0.01).run(second, start())
    rest = Saddle(fmax=0.01).run(second, start(), checkpoint=begun.checkpoint)
    assert rest.runs[0].converged
    one, other = (r.runs[0].results["curvature"] for r in (whole, rest))
    assert one == pytest.approx(other, rel=0.02)


def test_a_random_direction_is_that_of_the_seed(potential):
    short = Saddle(mode="random", max_steps=2)
    one, same, other = (
        replace(short, seed=seed).run(potential, start(adatom((0, 0)))).trajectory.to_bytes()
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_guard_ends_it_and_no_label_at_a_minimum_is_taken_for_a_saddle_point(potential):
    result = Saddle(guard=Guard(trust=0.05)).run(potential, start(adatom((0, 0))))
    (run,) = result.runs
    assert (run.reason, run.results, run.stationary) == ("strayed", {}, (0,))
    steps = np.linalg.norm(np.diff(result.trajectory.positions.reshape(-1, 9, 3), axis=0), axis=-1)
    assert steps.max() < 0.05 / 3 + 1e-9
    frames = result.trajectory
    state = State.ahead(runs=[as_dict(run)], trajectory=frames, dataset=potential_labels(frames))
    assert OracleForce(fmax=9.0).judge(state).outcome == "go on"


def potential_labels(frames):
    """Return frames with labels, all of which say that forces vanish."""
    forces = np.zeros_like(frames.positions)
    return frames.bare.with_labels(np.zeros(len(frames)), forces).with_own_status()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"fmax": 0.0}, "fmax above 0"),
        ({"maxstep": -1.0}, "maxstep above 0"),
        ({"seed": -1}, "seed of 0 or more, got -1"),
        ({"mode": "stiffest"}, "unknown choice 'stiffest'"),
    ],
)
def test_wrong_options_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        plugins.make("simulations", {"name": "saddle", **options})


def test_a_direction_takes_two_structures(potential):
    towards = Saddle(mode="towards")
    with pytest.raises(ValueError, match=r"takes 2 structures, .* and there are 1"):
        towards.run(potential, start())
    with pytest.raises(ValueError, match="the same structure"):
        towards.check(start(adatom(), adatom()))


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "bpnn", "hidden": [5], "prior": {"architecture": "morse"}, "ensemble": 2},
        {"architecture": "mtp", "level": 4},
        {"architecture": "gp"},
    ],
)
def test_every_model_is_followed(model):
    """Untrained ones too, on whatever they predict."""
    potential = ModelOptions.parse(model).build(["Cu"], 0, start())
    simulation = Saddle(max_steps=4, guard=Guard(max_force=None))
    one, other = (simulation.run(potential, start()) for _ in range(2))
    assert one.trajectory.to_bytes() == other.trajectory.to_bytes()
    assert one.runs[0].reason in ("converged", "max_steps")
