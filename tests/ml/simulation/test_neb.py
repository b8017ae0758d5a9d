from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS
from continuing import check_goes_on

from aiida_mlal.ml import plugins
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import IMAGE, KEPT, PREDICTED_ENERGY, STEP
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import build
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.neb import Band, Neb


def adatom(layers=2):
    """A copper atom that hops from hollow to hollow on copper: ends of the path."""
    slab = fcc100("Cu", (2, 2, layers), vacuum=5)
    add_adsorbate(slab, "Cu", 1.7, "hollow")
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms(range(4 * (layers - 1))))
    other = slab.copy()
    other.positions[-1, 0] += other.cell[0, 0] / 2
    return [slab, other]


def start(*atoms):
    return Configurations.from_ase(list(atoms or adatom()))


@pytest.fixture(scope="module")
def potential():
    return ModelOptions.parse({"architecture": "ase", "calculator": {"name": "emt"}}).build(
        ["Cu"], 0
    )


@pytest.fixture(scope="module")
def result(potential):
    return Neb().run(potential, start())


@pytest.fixture(scope="module")
def direct():
    """The same by ASE alone, with more effort."""
    ends = adatom()
    for atoms in ends:
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.01)
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate(mic=True, apply_constraint=True)
    BFGS(band, logfile=None).run(fmax=0.01, steps=200)
    return np.array([image.get_potential_energy() for image in images])


def test_the_barrier_is_that_of_ase(result, direct):
    (run,) = result.runs
    assert (run.converged, run.reason) == (True, "converged")
    found = run.results
    assert found["saddle"] == 2
    assert found["barrier"] == pytest.approx(direct[2] - direct[0], abs=2e-3)
    assert found["barrier_back"] == pytest.approx(direct[2] - direct[4], abs=2e-3)
    np.testing.assert_allclose(found["energies"], direct - direct[0], atol=5e-3)
    assert run.stationary == (2, 0, 4)


def test_forces_vanish_at_ends_and_saddle(result, potential):
    found, frames = result.runs[0].results, result.trajectory
    last = frames[frames.info["step"] == result.runs[0].steps]
    again = potential.predict(last).max_forces
    assert max(again[[0, 2, 4]]) < 0.05
    assert found["saddle_fmax"] == pytest.approx(again[2])
    assert found["ends_fmax"] == pytest.approx(again[[0, 4]])
    assert max(again) > 0.05 > found["band_fmax"]
    assert found["modes"]["n_imaginary"] == 1


def test_slopes_are_those_of_the_profile(result, potential):
    """The profile that they and the energies give has its minima and maximum at the images."""
    found = Neb(images=9, fmax=0.02).run(potential, start()).runs[0].results
    s, e = np.array(found["coordinates"]), np.array(found["energies"])
    between = np.gradient(e, s)[1:-1]
    np.testing.assert_allclose(found["slopes"][1:-1], between, atol=0.06)
    assert found["saddle"] == 4
    assert abs(found["slopes"][4]) < 1e-3


def test_frames_say_which_image_they_are(result):
    frames, (run,) = result.trajectory, result.runs
    first = frames[frames.info["step"] == 0]
    assert IMAGE.of(first).tolist() == [0]
    last = frames[STEP.of(frames) == run.steps]
    assert IMAGE.of(last).tolist() == [0, 1, 2, 3, 4]
    assert PREDICTED_ENERGY.of(last) - PREDICTED_ENERGY.of(last)[0] == pytest.approx(
        run.results["energies"]
    )


def test_ends_that_are_given_stay(potential):
    structures = start()
    run = Neb(ends="given", max_steps=3).run(potential, structures)
    frames = run.trajectory
    assert frames[IMAGE.of(frames) == 0].keys == [structures.keys[0]] * 4
    assert run.runs[0].reason == "max_steps"
    assert Neb(ends="given").minimised(structures) == [None, None]


def test_ends_that_are_known_to_be_relaxed_stay(potential):
    structures = start().with_columns({KEPT: [True, False]})
    frames = Neb().run(potential, structures).trajectory
    assert set(frames[IMAGE.of(frames) == 0].keys) == {structures.keys[0]}
    assert len(set(frames[IMAGE.of(frames) == 4].keys)) > 3


def test_images_between_may_be_given(potential):
    """Here they lead to the hollow site in the other direction, and on from there."""
    slab, other = adatom()
    corner, end = slab.copy(), other.copy()
    corner.positions[-1, 1] += slab.cell[1, 1] / 2
    end.positions[-1, 1] += slab.cell[1, 1] / 2
    simulation = Neb(given=3, images=7, max_steps=100)
    (run,) = simulation.run(potential, start(slab, corner, end)).runs
    assert run.converged
    assert run.results["energies"][3] == pytest.approx(0.0, abs=0.02)
    assert simulation.minimised(start(slab, corner, end)) == [(0, 0), None, (0, 6)]
    with pytest.raises(ValueError, match=r"a path takes 3 structures .*, and there are 2"):
        simulation.run(potential, start())


@pytest.mark.parametrize(
    "options",
    [
        {"interpolation": "idpp"},
        {"optimizer": "fire"},
        {"weakest_spring": 0.02, "images": 6},
        {"climb": False, "images": 4},
    ],
)
def test_other_ways_come_to_a_path(potential, options, direct):
    (run,) = build(Neb, options).run(potential, start()).runs
    assert run.converged
    if options.get("climb", True):
        assert run.results["barrier"] == pytest.approx(direct[2] - direct[0], abs=2e-3)


def test_springs_are_strongest_at_the_top():
    slab, other = adatom()
    images = [slab, *(slab.copy() for _ in range(3)), other]
    for i, image in enumerate(images):
        image.positions[-1] = slab.positions[-1] + i / 4 * (
            other.positions[-1] - slab.positions[-1]
        )
        image.calc = EMT()
    band = Band(images, 0.4, 0.1)
    band.get_forces()
    assert band.k[1] == band.k[2] == pytest.approx(0.4)
    assert 0.1 < band.k[0] < 0.4


@pytest.mark.parametrize("simulation", [Neb(fmax=0.02), Neb(fmax=0.02, optimizer="fire", every=4)])
def test_a_path_that_went_on_is_that_without_interruption(simulation):
    """Whether it was stopped while it relaxed an end, or the band, or while an image climbed."""
    model = {"architecture": "morse", "cutoff": 4.0}
    potential = ModelOptions.parse(model).build(["Cu"], seed=0)
    structures = start()
    whole = simulation.run(potential, structures)
    assert whole.runs[0].converged
    n = whole.runs[0].steps
    images, steps = IMAGE.of(whole.trajectory), STEP.of(whole.trajectory)
    second, band = int(steps[images == 4].min()), int(steps[images == 2].min())
    for at in {0, 1, second - 1, second, second + 1, band - 1, band, band + 1, n - 2, n}:
        check_goes_on(simulation, potential, structures, whole, at)


def test_last_frames_of_ends_are_kept_whatever_the_stride(potential):
    frames = Neb(every=1000).run(potential, start()).trajectory
    ends = frames[IMAGE.of(frames) == 0]
    assert len(set(ends.keys)) == 2


def test_a_run_is_over_where_an_end_strays(potential):
    result = Neb(guard=Guard(trust=0.02)).run(potential, start())
    (run,) = result.runs
    assert (run.reason, run.converged, run.results) == ("strayed", False, {})
    assert run.message.startswith("image 0: it is 0.0")
    assert run.stationary == (0, 4)
    assert set(IMAGE.of(result.trajectory)) == {0}


def test_trust_is_not_for_the_band(potential):
    assert Neb(guard=Guard(trust=0.3)).run(potential, start()).runs[0].converged


def test_a_path_each_runs_by_itself(potential):
    slab, other = adatom()
    both = start(slab, other, other, slab)
    result = Neb().run(potential, both)
    assert [run.converged for run in result.runs] == [True, True]
    barriers = [run.results["barrier"] for run in result.runs]
    assert barriers[0] == pytest.approx(barriers[1], abs=1e-3)
    assert Neb().minimised(both) == [(0, 0), (0, 4), (1, 0), (1, 4)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"images": 2}, "images of 3 or more, the ends among them, got 2"),
        ({"given": 6}, "from 2, the ends, to 5, all images, got 6"),
        ({"fmax": 0.0}, "fmax above 0"),
        ({"weakest_spring": 0.5}, r"weakest_spring above 0 and up to spring, 0\.1"),
        ({"interpolation": "cubic"}, "unknown choice 'cubic'"),
    ],
)
def test_options_that_make_no_path_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        plugins.make("simulations", {"name": "neb", **options})


def test_structures_that_make_no_path_are_refused_before_anything_runs(potential):
    slab, other = adatom()
    for structures, problem in (
        (start(slab), "takes 2 structures .*, its ends, and there are 1"),
        (start(slab, slab), "the ends of a path are the same structure"),
        (start(slab, other, slab, slab), "path 1: the ends of a path are the same structure"),
    ):
        with pytest.raises(ValueError, match=problem):
            Neb().check(structures)
        with pytest.raises(ValueError, match=problem):
            Neb().run(potential, structures)
    gold = [atoms.copy() for atoms in (slab, other)]
    for atoms in gold:
        atoms.numbers[-1] = 79
    with pytest.raises(ValueError, match="Au"):
        Neb().run(potential, start(*gold))


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "bpnn", "hidden": [5], "prior": {"architecture": "morse"}, "ensemble": 2},
        {"architecture": "mtp", "level": 4},
        {"architecture": "gmnn", "hidden": [4]},
        {"architecture": "gp"},
    ],
)
def test_every_model_moves_a_band(model):
    """Untrained ones too, whose paths are arbitrary: steps, frames and results fit together."""
    potential = ModelOptions.parse(model).build(["Cu"], 0, start())
    simulation = Neb(ends="given", max_steps=4, climb_below=1e6, guard=Guard(max_force=None))
    result = simulation.run(potential, start())
    (run,) = result.runs
    frames = result.trajectory
    assert run.reason in ("converged", "max_steps")
    assert run.results["barrier"] == pytest.approx(
        run.results["energies"][run.results["saddle"]], abs=1e-9
    )
    again = potential.predict(frames)
    np.testing.assert_allclose(PREDICTED_ENERGY.of(frames), again.energies, atol=1e-8)
    repeated = replace(simulation).run(potential, start())
    assert repeated.trajectory.to_bytes() == frames.to_bytes()


def test_molecules_have_paths_too():
    """Ammonia-like inversion: a copper atom through the plane of three others."""
    atoms = Atoms("Cu4", [[1.6, 0, 0], [-0.8, 1.386, 0], [-0.8, -1.386, 0], [0, 0, 1.7]])
    other = atoms.copy()
    other.positions[-1, 2] *= -1
    potential = ModelOptions.parse({"architecture": "ase", "calculator": {"name": "emt"}}).build(
        ["Cu"], 0
    )
    (run,) = Neb(max_steps=100).run(potential, start(atoms, other)).runs
    assert run.converged
    assert run.results["barrier"] > 0.3
    n = run.results["modes"]["n_imaginary"]
    assert n > 1
    assert run.message == (
        f"image 2 is no saddle point of first order: {n} modes are imaginary there, expected 1"
    )


def test_a_path_whose_ends_are_highest_says_so(potential):
    slab = fcc100("Cu", (2, 2, 2), vacuum=5)
    add_adsorbate(slab, "Cu", 2.1, "bridge")
    slab.pbc = (True, True, False)
    slab.set_constraint(FixAtoms(range(8)))
    other = slab.copy()
    other.positions[-1, 1] += slab.cell[1, 1] / 2
    simulation = Neb(ends="given", climb=False, images=3, fmax=5.0)
    (run,) = simulation.run(potential, start(slab, other)).runs
    assert run.converged
    assert run.results["barrier"] < 0
    assert "no image between the ends is higher than both of them" in run.message
