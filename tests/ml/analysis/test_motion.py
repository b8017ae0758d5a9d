from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_mlal.ml.analysis.motion import diffusion, paths, vibrations
from aiida_mlal.ml.analysis.summary import analyse
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.simulation.md import MolecularDynamics


def trajectory(positions, velocities=None, interval=2.0, symbols=None):
    n, n_atoms, _ = positions.shape
    symbols = symbols or f"Cu{n_atoms}"
    frames = Configurations.from_ase([Atoms(symbols, here) for here in positions])
    made = frames.with_info(time=interval * np.arange(n), run=np.zeros(n, int))
    return made if velocities is None else made.with_arrays(velocities=velocities.reshape(-1, 3))


def test_displacements_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(40, 3, 3)).cumsum(axis=0)
    positions -= positions.mean(axis=1, keepdims=True)
    found = diffusion(paths(trajectory(positions))[0])["Cu"]
    for step in (0, 1, 7, 39):
        apart = positions[step:] - positions[: 40 - step]
        assert found.squares[step] == pytest.approx((apart**2).sum(axis=2).mean(), abs=1e-9)
    np.testing.assert_allclose(found.times, 2.0 * np.arange(40))


def test_a_random_walk_has_the_diffusion_coefficient_of_its_steps():
    """D = <step²> / (6 interval): 0.03 Å² in 2 fs are 0.0025 Å²/fs, 2.5e-4 cm²/s."""
    walk = np.random.default_rng(1).normal(0, 0.1, size=(2000, 200, 3)).cumsum(axis=0)
    found = diffusion(paths(trajectory(walk))[0])["Cu"]
    assert found.coefficient == pytest.approx(2.5e-4, rel=0.05)
    assert found.exponent == pytest.approx(1, abs=0.1)
    assert found.is_seen


def test_fixed_atoms_do_not_count_and_do_not_move():
    """Nor do directions that are fixed: a walk in a plane has the coefficient of one in space."""
    walk = np.random.default_rng(1).normal(0, 0.1, size=(2000, 300, 3)).cumsum(axis=0)
    fixed = np.zeros((300, 3), bool)
    fixed[:150], fixed[150:, 2] = True, True
    walk[:, fixed] = 0.0
    frames = trajectory(walk)
    frames = replace(frames, fixed=np.tile(fixed, (len(walk), 1)))
    found = diffusion(paths(frames)[0])["Cu"]
    expected = ((walk[7:, 150:] - walk[:-7, 150:]) ** 2).sum(axis=2).mean()
    assert found.squares[7] == pytest.approx(expected)
    slope = np.polyfit(found.times[200:1001], found.squares[200:1001], 1)[0]
    assert found.coefficient == pytest.approx(0.1 * slope / 4)
    assert found.coefficient == pytest.approx(2.5e-4, abs=3 * found.error)
    assert found.error < 3e-5
    some = trajectory(walk, symbols="Au150Cu150")
    assert list(diffusion(paths(replace(some, fixed=frames.fixed))[0])) == ["Cu"]


def test_the_standard_error_is_the_scatter_of_independent_walks():
    walks = np.random.default_rng(3).normal(0, 0.1, size=(40, 100, 20, 3)).cumsum(axis=1)
    each = [diffusion(paths(trajectory(walk))[0])["Cu"] for walk in walks]
    scatter = np.std([one.coefficient for one in each], ddof=1)
    assert np.mean([one.error for one in each]) == pytest.approx(scatter, rel=0.3)


def test_where_atoms_only_vibrate_it_says_that_no_diffusion_is_seen():
    still = np.random.default_rng(4).normal(0, 0.1, size=(60, 20, 3))
    frames = trajectory(still, np.gradient(still, axis=0))
    (found,) = analyse(frames.with_info(temperature=np.full(60, 300.0)))
    (warning,) = found.numbers["warnings"]
    assert warning.startswith("no diffusion of Cu is seen in 0.118 ps")
    assert found.numbers["diffusion_error_cm2_per_s"]["Cu"] > 0
    alone = diffusion(paths(trajectory(still[:, :1]))[0])["Cu"]
    assert np.isnan(alone.error)
    assert not alone.is_seen


def test_the_exponent_tells_vibrations_and_flights_from_diffusion():
    flight = np.outer(np.arange(100.0), [1, -1]).reshape(100, 2, 1) * [0.01, 0, 0]
    assert diffusion(paths(trajectory(flight))[0])["Cu"].exponent == pytest.approx(2, abs=1e-6)
    shaking = np.random.default_rng(0).normal(0, 0.1, (1000, 20, 3))
    assert diffusion(paths(trajectory(shaking))[0])["Cu"].exponent == pytest.approx(0, abs=0.05)


def test_positions_put_back_into_the_cell_are_refused():
    walk = np.random.default_rng(0).normal(0, 0.3, (50, 4, 3)).cumsum(axis=0)
    made = trajectory(walk)
    made = replace(made, cells=np.tile(3.0 * np.eye(3), (50, 1, 1)), pbc=np.ones((50, 3), bool))
    assert diffusion(paths(made)[0])
    with pytest.raises(ValueError, match="jumps by a lattice vector from frame"):
        diffusion(paths(replace(made, positions=made.positions % 3.0))[0])


def test_elements_have_their_own():
    walk = np.random.default_rng(2).normal(0, 0.1, size=(500, 100, 3))
    walk[:, 50:] = 0
    found = diffusion(paths(trajectory(walk.cumsum(axis=0), symbols="Cu50Pt50"))[0])
    assert found["Cu"].coefficient > 20 * found["Pt"].coefficient


def test_oscillators_vibrate_at_their_frequencies():
    times = 2.0 * np.arange(4000)
    velocities = np.zeros((4000, 2, 3))
    for atom, frequency in enumerate((5.0, 12.0)):
        velocities[:, atom, 0] = np.cos(2 * np.pi * frequency * times / 1000)
    found = vibrations(paths(trajectory(np.zeros((4000, 2, 3)), velocities))[0])
    density = found.density
    peaks = found.frequencies[1:-1][
        (density[1:-1] > density[2:]) & (density[1:-1] > density[:-2])
        & (density[1:-1] > 0.1 * density.max())
    ]  # fmt: skip
    np.testing.assert_allclose(peaks, [5, 12], atol=0.5)
    assert np.trapezoid(density, found.frequencies) == pytest.approx(1)
    low = found.frequencies < 8.5
    assert np.trapezoid(density[low], found.frequencies[low]) == pytest.approx(0.5, abs=0.02)


def test_a_dimer_vibrates_as_its_spring_says():
    """The Morse potential has the force constant 2 D a²; the reduced mass is half that of Cu."""
    morse = {"De": 0.5, "re": 2.5, "a": 1.4}
    model = {"architecture": "morse", "cutoff": 8.0, "parameters": {"Cu": morse}}
    potential = ModelOptions.parse(model).build(["Cu"], seed=0)
    pair = Configurations.from_ase(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]))
    simulation = MolecularDynamics(3000, timestep=2.0, temperature=5.0, thermostat="none", every=2)
    frames = simulation.run(potential, pair).trajectory
    found = vibrations(paths(frames)[0], longest=4000.0)
    constant = 2 * 0.5 * 1.4**2 * 1.602176634e-19 / 1e-20
    mass = 63.546 / 2 * 1.66053906660e-27
    wanted = np.sqrt(constant / mass) / 2 / np.pi / 1e12
    assert found.frequencies[found.density.argmax()] == pytest.approx(wanted, abs=0.15)


def test_frames_out_of_step_and_at_the_beginning_are_left_out():
    positions = np.zeros((10, 1, 3))
    made = trajectory(positions).with_info(time=[0, 2, 4, 5, 6, 8, 10, 12, 13, 14])
    (path,) = paths(made, skip=2.0)
    assert path.interval == 2.0
    assert path.frames.info["time"].tolist() == [2, 4, 6, 8, 10, 12, 14]


def test_an_end_with_longer_intervals_is_left_out_with_a_warning():
    """It was left out without a word."""
    rng = np.random.default_rng(0)
    made = trajectory(rng.normal(size=(12, 3, 3)).cumsum(axis=0), rng.normal(size=(12, 3, 3)))
    made = made.with_info(temperature=np.full(12, 300.0))
    (even,) = analyse(made)
    assert "are left out" not in str(even.numbers.get("warnings"))
    late = np.array([0, 2, 4, 6, 8, 10, 12, 14, 24, 34, 44, 54.0])
    (found,) = analyse(made.with_info(time=late))
    assert found.numbers["frames"] == 8
    assert "the last 40 fs are left out" in found.numbers["warnings"][-1]


def test_an_end_with_shorter_intervals_is_reached_by_leaving_out_the_beginning():
    made = trajectory(np.zeros((8, 1, 3))).with_info(time=[0.0, 10, 20, 23, 25, 27, 29, 31])
    with pytest.raises(ValueError, match=r"begins with 1 frames 2 fs apart.*'skip'"):
        paths(made)
    (path,) = paths(made, skip=21.0)
    assert path.left_out == 0
    assert len(path.frames) == 5


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0, 1, 2, 0, 1, 2], "time goes from 2 fs in frame 2 to 0 fs in frame 3, both of run 0"),
        ([0, 1, 2, 2, 3, 4], "time goes from 2 fs in frame 2 to 2 fs in frame 3"),
    ],
)
def test_runs_one_after_the_other_are_told_so(times, words):
    """The reason was that there are fewer than three frames."""
    made = trajectory(np.zeros((6, 1, 3))).with_info(time=np.array(times, float))
    with pytest.raises(ValueError, match=f"{words}.*--append` numbers them"):
        paths(made)
    assert len(paths(made.with_info(run=[0, 0, 0, 1, 1, 1]))) == 2


def test_what_has_no_time_or_velocities_is_refused():
    made = trajectory(np.zeros((5, 1, 3)))
    with pytest.raises(ValueError, match="have a 'time'"):
        paths(Configurations.from_ase([bulk("Cu")] * 3))
    with pytest.raises(ValueError, match="run 0 has 1 frames, expected 3 or more"):
        paths(made[:1])
    with pytest.raises(ValueError, match="run 0 has 2 frames from 5 fs on, expected 3 or more"):
        paths(made, skip=5.0)
    with pytest.raises(ValueError, match="a time of 0 fs or more to skip, got nan"):
        paths(made, skip=np.nan)
    others = replace(made, numbers=[29, 29, 28, 29, 29])
    with pytest.raises(ValueError, match="run 0 has frames of other atoms"):
        paths(others)
    for longest in (np.nan, -5.0):
        with pytest.raises(ValueError, match="a longest time above 0 fs"):
            vibrations(paths(made)[0], longest)
    with pytest.raises(ValueError, match="have 'velocities'"):
        vibrations(paths(made)[0])
