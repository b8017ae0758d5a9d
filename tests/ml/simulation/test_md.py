"""Molecular dynamics against what is known of it."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.constraints import FixAtoms, FixCartesian
from ase.units import fs, kB
from continuing import interrupted

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.simulation.continuation import join
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.md import MolecularDynamics
from aiida_mlal.ml.simulation.state import Checkpoint

MORSE = {"architecture": "morse", "cutoff": 4.5}
SOFT = {**MORSE, "parameters": {"Cu": {"De": 0.3, "re": 2.7, "a": 1.4}}}
UNGUARDED = Guard(min_distance=None, max_force=None, escape=False, max_volume_ratio=None)
ENSEMBLES = {
    "nve": {"thermostat": "none"},
    "langevin": {"thermostat": "langevin"},
    "nose_hoover": {"thermostat": "nose_hoover"},
    "bussi": {"thermostat": "bussi"},
    "berendsen": {"thermostat": "berendsen"},
    "nph": {"thermostat": "none", "cell": "volume", "pressure_GPa": 1.0},
    "npt_volume": {"cell": "volume", "thermostat": "nose_hoover", "pressure_GPa": (0.0, 5.0)},
    "npt_axes": {"cell": "axes", "thermostat": "bussi", "pressure_GPa": 2.0},
    "npt_full": {"cell": "full", "thermostat": "langevin", "temperature": (300.0, 500.0)},
}


def build(model, elements=("Cu",)):
    return ModelOptions.parse(model).build(list(elements), seed=0)


@pytest.fixture(scope="module")
def potential():
    return build(SOFT)


def crystal(n=2):
    """Return a crystal without pressure."""
    return Configurations.from_ase(bulk("Cu", a=3.47, cubic=True) * (n, n, n))


def md(**options):
    usual = {"steps": 60, "timestep": 2.0, "cell_time": 200.0, "guard": UNGUARDED}
    return MolecularDynamics(**{**usual, **options})


def run(potential, structures=None, **options):
    return md(**options).run(potential, crystal() if structures is None else structures)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_run_that_went_on_is_that_without_interruption(potential, name, engine):
    simulation = md(engine=engine, steps=24, every=5, temperature=900.0, **{"seed": 3})
    simulation = replace(simulation, guard=replace(UNGUARDED, every=3), **ENSEMBLES[name])
    start = Configurations.concatenate([crystal(1), crystal(1)])
    whole = simulation.run(potential, start)
    assert [one.reason for one in whole.runs] == ["completed"] * 2
    for at in ((0, 0), (0, 10), (1, 6), (1, 24)):
        left = interrupted(simulation, potential, start, at)
        begun = Checkpoint.from_bytes(left.checkpoint.to_bytes())
        rest = simulation.run(potential, start, checkpoint=begun)
        joined = join(left.trajectory, begun, rest.trajectory)
        assert joined.to_bytes() == whole.trajectory.to_bytes()
        assert rest.runs == whole.runs


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_conserved_quantity_errs_with_the_square_of_the_timestep(potential, name):
    found = []
    for timestep, steps in ((4.0, 100), (2.0, 200)):
        options = {"thermostat_time": 100.0, "temperature": 600.0, **ENSEMBLES[name]}
        if name in ("langevin", "bussi", "npt_axes", "npt_full"):  # noise differs with the timestep
            options["thermostat_time"] = options["cell_time"] = 1e5
        result = run(potential, timestep=timestep, steps=steps, **options)
        found.append(result.runs[0].results["scatter_eV_per_atom"])
    assert 2.5 < found[0] / found[1] < 6
    assert found[1] < 2e-3


MODELS = {
    "bpnn": {"architecture": "bpnn", "hidden": [5], "cutoff": 4.0},
    "mtp": {"architecture": "mtp", "level": 6, "min_dist": 1.8, "cutoff": 4.5},
    "gmnn": {"architecture": "gmnn", "hidden": [8], "cutoff": 4.0},
    "morse": SOFT,
    "sum": {"architecture": "bpnn", "hidden": [5], "cutoff": 4.0, "prior": SOFT, "ensemble": 2},
}


@pytest.mark.parametrize("model", MODELS)
def test_energy_is_conserved_with_each_model(model):
    """The drift is at least a thousand times smaller than the kinetic energy of an atom in 1 ps."""
    potential = build(MODELS[model])
    start = bulk("Cu", cubic=True)
    start.rattle(0.05, seed=1)
    result = run(
        potential, Configurations.from_ase(start), steps=250, timestep=1.0, thermostat="none"
    )
    found = result.runs[0].results
    kinetic = 1.5 * kB * found["temperature_K"]["mean"]
    assert abs(found["drift_eV_per_atom_ps"]) < kinetic / 1000
    assert found["scatter_eV_per_atom"] < kinetic / 1000


@pytest.mark.parametrize("thermostat", ["langevin", "nose_hoover", "bussi", "berendsen"])
def test_the_kinetic_energy_has_the_canonical_mean_and_variance(potential, thermostat):
    """Its mean is n kT / 2; its variance is n kT² / 2, but with Berendsen's thermostat."""
    result = run(
        potential, crystal(1), steps=3200, timestep=5.0, every=4, temperature=400.0,
        thermostat=thermostat, thermostat_time=20.0,
    )  # fmt: skip
    n = result.runs[0].results["degrees_of_freedom"]
    assert n == 9
    found = result.trajectory.info["temperature"][100:] / 400
    assert found.mean() == pytest.approx(1, abs=0.05)
    relative = found.var() * n / 2
    if thermostat == "berendsen":
        assert relative < 0.7
    else:
        assert relative == pytest.approx(1, abs=0.2)


def test_a_harmonic_crystal_has_half_of_kt_in_each_potential_degree_of_freedom(potential):
    """At 20 K the crystal is harmonic: equipartition of potential and kinetic energy."""
    at_rest = run(potential, crystal(1), steps=0).trajectory.info["predicted_energy"][0]
    result = run(
        potential, crystal(1), steps=3000, timestep=6.0, temperature=20.0, thermostat_time=25.0
    )
    energies = result.trajectory.info["predicted_energy"][100:] - at_rest
    assert energies.mean() == pytest.approx(0.5 * 9 * kB * 20, rel=0.1)


@pytest.mark.parametrize(("cell", "thermostat"), [("volume", "langevin"), ("axes", "bussi")])
def test_an_ideal_gas_has_the_volume_of_its_pressure(cell, thermostat):
    """Atoms that do not interact: <V> = (N + 1) kT / P but for the momentum at rest."""
    nothing = build({**MORSE, "parameters": {"Cu": {"De": 1e-12, "re": 2.5, "a": 1.4}}})
    rng = np.random.default_rng(0)
    gas = Atoms("Cu8", rng.random((8, 3)) * 20, cell=[20, 20, 20], pbc=True)
    pressure = 8 * kB * 2000 / 20**3
    result = run(
        nothing, Configurations.from_ase(gas), steps=2000, timestep=10.0, temperature=2000.0,
        thermostat=thermostat, thermostat_time=50.0, cell=cell, cell_time=150.0,
        pressure_GPa=pressure / 0.00624150912588, seed=2,
    )  # fmt: skip
    assert result.runs[0].reason == "completed", result.runs[0].message
    found = result.runs[0].results
    assert found["temperature_K"]["mean"] == pytest.approx(2000, rel=0.05)
    assert found["pressure_GPa"]["mean"] == pytest.approx(pressure / 0.00624150912588, rel=0.12)
    volumes = np.abs(np.linalg.det(result.trajectory.cells))[60:]
    assert volumes.mean() == pytest.approx(8000, rel=0.2)


def test_a_crystal_gets_the_volume_that_ase_gives_it(potential):
    """The mean volume at 300 K and no pressure, against ASE's own MTK barostat."""
    pytest.importorskip("ase.md.nose_hoover_chain")
    from ase.md.nose_hoover_chain import IsotropicMTKNPT

    from aiida_mlal.ml.calculator import MLCalculator

    start = bulk("Cu", a=3.4, cubic=True) * (2, 2, 2)
    options = {"temperature": 300.0, "steps": 1500, "timestep": 5.0, "every": 2}
    result = run(potential, Configurations.from_ase(start), cell="volume", **options)
    mine = np.abs(np.linalg.det(result.trajectory.cells))[100:].mean()
    atoms = start.copy()
    atoms.calc = MLCalculator(potential)
    atoms.set_momenta(
        np.sqrt(kB * 300 * atoms.get_masses()[:, None])
        * np.random.default_rng(0).standard_normal((len(atoms), 3))
    )
    dynamics = IsotropicMTKNPT(
        atoms, 5 * fs, temperature_K=300, pressure_au=0.0, tdamp=100 * fs, pdamp=200 * fs
    )
    volumes = []
    for _ in dynamics.irun(1000):
        volumes.append(atoms.get_volume())
    assert mine == pytest.approx(np.mean(volumes[150:]), rel=2e-3)
    assert mine > 1.005 * start.get_volume() or mine < 0.995 * start.get_volume()


def test_velocities_are_those_of_the_temperature(potential):
    result = run(potential, crystal(4), steps=0, temperature=700.0)
    frame = result.trajectory
    momenta = frame.arrays["velocities"] * 63.546
    np.testing.assert_allclose(momenta.sum(axis=0), 0, atol=1e-10)
    assert frame.info["temperature"][0] == pytest.approx(700, rel=0.15)
    assert result.runs[0].results["degrees_of_freedom"] == 3 * 256 - 3


def angular(frame, masses):
    positions = frame.positions - masses @ frame.positions / masses.sum()
    return np.cross(positions, masses[:, None] * frame.arrays["velocities"]).sum(axis=0)


@pytest.mark.parametrize(
    ("name", "n"), [("H2O", 3), ("CO2", 4), ("CO", 1)], ids=["bent", "linear", "diatomic"]
)
def test_a_molecule_does_not_rotate(name, n):
    atoms = molecule(name)
    weak = build({"architecture": "morse"}, sorted(set(atoms.symbols)))
    result = run(weak, Configurations.from_ase(atoms), steps=30, timestep=0.2, thermostat="bussi")
    assert result.runs[0].results["degrees_of_freedom"] == n
    for frame in result.trajectory:
        np.testing.assert_allclose(angular(frame, atoms.get_masses()), 0, atol=1e-12)
    begins = run(weak, Configurations.from_ase(atoms), steps=30, timestep=0.2)
    assert begins.runs[0].results["degrees_of_freedom"] == 3 * len(atoms) - 3
    assert np.abs(angular(begins.trajectory[-1], atoms.get_masses())).max() > 1e-4


@pytest.mark.parametrize("thermostat", ["none", "langevin", "nose_hoover", "bussi", "berendsen"])
def test_fixed_components_stay_and_are_no_degrees_of_freedom(potential, thermostat):
    slab = fcc100("Cu", (2, 2, 3), vacuum=5)
    slab.set_constraint([FixAtoms(range(4)), FixCartesian([4], [False, False, True])])
    start = Configurations.from_ase(slab)
    result = run(potential, start, steps=40, thermostat=thermostat)
    assert result.runs[0].results["degrees_of_freedom"] == 36 - 13
    last = result.trajectory[-1]
    np.testing.assert_array_equal(last.positions[start.fixed], start.positions[start.fixed])
    assert not last.arrays["velocities"][start.fixed].any()
    assert (np.abs(last.positions - start.positions)[~start.fixed] > 1e-4).all()


def test_where_only_some_directions_are_fixed_the_others_keep_their_momentum(potential):
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixCartesian([0], [False, False, True]))
    result = run(potential, Configurations.from_ase(atoms), steps=50)
    assert result.runs[0].results["degrees_of_freedom"] == 12 - 1 - 2
    total = result.trajectory[-1].arrays["velocities"].sum(axis=0)
    np.testing.assert_allclose(total[:2], 0, atol=1e-12)
    assert abs(total[2]) > 1e-5


def test_given_velocities_are_kept(potential):
    first = run(potential, steps=10, thermostat="none").trajectory[-1]
    frame = first.bare.with_arrays(velocities=first.arrays["velocities"])
    rest = run(potential, frame, steps=10, thermostat="none", velocities="given").trajectory
    whole = run(potential, steps=20, thermostat="none").trajectory
    np.testing.assert_allclose(rest[0].arrays["velocities"], first.arrays["velocities"], atol=1e-15)
    np.testing.assert_allclose(rest[-1].positions, whole[-1].positions, atol=1e-9)


def test_given_velocities_that_are_missing_are_asked_for(potential):
    with pytest.raises(ValueError, match="structure 0 has no velocities"):
        run(potential, velocities="given")


def test_runs_differ_by_seed_structure_and_turn(potential):
    start = Configurations.concatenate([crystal(1), crystal(1)])
    one, other = (run(potential, start, steps=0, seed=seed).trajectory for seed in (0, 1))
    found = [f.arrays["velocities"].tobytes() for f in [*one, *other]]
    assert len(set(found)) == 4


def test_a_ramp_leads_from_one_temperature_to_the_other(potential):
    result = run(
        potential, steps=1000, temperature=(100.0, 900.0), thermostat_time=40.0, every=5
    )  # fmt: skip
    found = result.trajectory.info["temperature"]
    assert found[-30:].mean() == pytest.approx(850, rel=0.15)
    assert found[40:70].mean() < 350


def test_a_ramp_of_the_pressure_makes_the_cell_smaller(potential):
    result = run(
        potential, steps=600, cell="volume", pressure_GPa=(0.0, 20.0), temperature=50.0, every=4
    )
    assert result.runs[0].cell.pressure_GPa == 20.0
    volumes = np.abs(np.linalg.det(result.trajectory.cells))
    assert volumes[-10:].mean() < 0.93 * volumes[:30].mean()


def test_means_leave_out_what_comes_before_equilibrium(potential):
    """From rest in a crystal the temperature is half of that drawn at once, its cell too small."""
    start = Configurations.from_ase(bulk("Cu", a=3.3, cubic=True) * (2, 2, 2))
    options = {"cell": "volume", "temperature": 300.0, "steps": 800, "every": 1}
    result = run(potential, start, **options, thermostat_time=50.0)
    found, frames = result.runs[0].results, result.trajectory
    span = found["averaged"]
    assert span["equilibrated"]
    assert 0.04 < span["from_ps"] < 0.8
    assert span["to_ps"] == found["time_ps"] == pytest.approx(1.6)
    mine = frames.info["time"] > 1000 * span["from_ps"] - 1
    volumes = np.abs(np.linalg.det(frames.cells))
    assert found["volume_A3"]["mean"] == pytest.approx(volumes[mine].mean(), rel=1e-9)
    assert found["volume_A3"]["last"] == pytest.approx(volumes[-1], rel=1e-12)
    error = found["volume_A3"]["standard_error"]
    assert 0 < error < 0.02 * volumes.mean()
    assert volumes.mean() < found["volume_A3"]["mean"] - 2 * error
    for key, column in (("temperature_K", "temperature"), ("potential_eV", "predicted_energy")):
        assert found[key]["mean"] == pytest.approx(frames.info[column][mine].mean(), rel=1e-9)
    density = 32 * 63.546 / 6.02214076e23 / (found["volume_A3"]["mean"] * 1e-24)
    assert found["density_g_cm3"]["mean"] == pytest.approx(density, rel=1e-6)


def test_the_time_of_equilibration_can_be_given(potential):
    result = run(potential, steps=50, timestep=2.0, every=1, equilibration=41.0)
    found, frames = result.runs[0].results, result.trajectory
    assert found["averaged"] == {
        "from_ps": pytest.approx(0.042), "to_ps": pytest.approx(0.1), "equilibrated": None
    }  # fmt: skip
    assert found["temperature_K"]["mean"] == pytest.approx(
        frames.info["temperature"][21:].mean(), rel=1e-12
    )
    assert "volume_A3" not in found


def test_a_run_that_ends_before_has_no_means(potential):
    guard = replace(UNGUARDED, pause=5)
    found = run(potential, steps=50, equilibration=50.0, guard=guard).runs[0].results
    assert found["averaged"]["from_ps"] is None
    assert found["temperature_K"]["mean"] is None
    assert found["temperature_K"]["last"] > 0


@pytest.mark.parametrize(
    "ramp", [{"temperature": (300.0, 500.0)}, {"cell": "volume", "pressure_GPa": (0.0, 1.0)}]
)
def test_nothing_of_a_ramp_is_left_out(potential, ramp):
    span = run(potential, steps=100, **ramp).runs[0].results["averaged"]
    assert span == {"from_ps": 0.0, "to_ps": pytest.approx(0.2), "equilibrated": None}


def test_each_structure_has_a_run_for_each_scenario(potential):
    start = Configurations.concatenate([crystal(1), crystal(1)])
    scenarios = ({"temperature": 100.0}, {"temperature": 900.0, "steps": 5})
    result = run(potential, start, steps=10, scenarios=scenarios, every=1)
    assert [one.steps for one in result.runs] == [10, 5, 10, 5]
    found = [one.results["temperature_K"]["mean"] for one in result.runs]
    assert max(found[::2]) < min(found[1::2])


def test_time_is_kept_with_frames(potential):
    frames = run(potential, steps=20, timestep=2.0, every=10).trajectory
    np.testing.assert_allclose(frames.info["time"], [0, 20, 40])


def test_a_timestep_that_blows_up_is_an_end_with_a_reason(potential):
    result = run(potential, timestep=60.0, temperature=900.0, steps=200, guard=Guard(), every=1)
    assert result.runs[0].reason == "unphysical"
    assert result.runs[0].message
    assert not result.runs[0].converged


def test_an_atom_that_flies_away_is_an_end_with_a_reason():
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    moving = Configurations.from_ase(pair).with_arrays(
        velocities=np.array([[0.0, 0, -0.1], [0, 0, 0.1]])
    )
    result = run(build(SOFT), moving, guard=Guard(), velocities="given", thermostat="none")
    assert result.runs[0].reason == "unphysical"
    assert "flew away" in result.runs[0].message


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_numbers_that_are_none_are_an_end_with_a_reason(potential):
    fast = 1e200 * np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, -1.0, 0]])
    moving = crystal(1).with_arrays(velocities=fast)
    result = run(potential, moving, velocities="given", timestep=50.0)
    assert result.runs[0].reason == "unphysical"
    assert "finite" in result.runs[0].message


COMMITTEE = {"architecture": "bpnn", "hidden": [5], "cutoff": 4.0, "ensemble": 2}


@pytest.mark.parametrize("break_", [None, 1e-9])
def test_the_guard_looks_at_every_nth_step_and_at_those_that_are_kept(break_):
    committee = build(COMMITTEE)
    guard = replace(UNGUARDED, every=4, break_=break_, uncertainty={"name": "force_std"})
    result = run(committee, crystal(1), steps=10, every=5, guard=guard)
    known = np.isfinite(result.trajectory.info["uncertainty"])
    assert known.all()
    if break_ is None:
        assert result.trajectory.info["step"].tolist() == [0, 5, 10]
    else:
        assert result.runs[0].reason == "uncertain"
        assert result.runs[0].steps == 0 or result.runs[0].steps % 4 == 0


def test_the_stride_of_the_guard_changes_no_step():
    committee = build(COMMITTEE)
    one, other = (
        run(committee, crystal(1), steps=30, every=30, guard=replace(UNGUARDED, every=n))
        for n in (1, 7)
    )
    np.testing.assert_array_equal(one.trajectory.positions, other.trajectory.positions)
    np.testing.assert_array_equal(
        one.trajectory.info["uncertainty"], other.trajectory.info["uncertainty"]
    )


def test_a_last_step_that_was_not_watched_is_looked_at_after_all():
    committee = build(COMMITTEE)
    guard = replace(UNGUARDED, every=4)
    result = run(committee, crystal(1), steps=11, every=100, guard=guard)
    assert result.runs[0].steps == 11
    assert result.runs[0].uncertainty is not None
    assert np.isfinite(result.trajectory.info["uncertainty"]).all()


def test_a_bias_leads_to_where_a_committee_differs():
    """Its force is the derivative of the spread, and frames know nothing of it."""
    committee = build(COMMITTEE)
    options = {"steps": 300, "every": 1, "temperature": 100.0, "thermostat_time": 50.0}
    plain, biased = (run(committee, crystal(1), bias=bias, **options) for bias in (0.0, 1.0))
    before, after = slice(0, 101), slice(150, None)
    for name, same in (("positions", before), ("positions", after)):
        one, other = (getattr(r.trajectory, name).reshape(301, -1)[same] for r in (plain, biased))
        assert np.array_equal(one, other) == (same is before)
    last = biased.trajectory[-1]
    np.testing.assert_allclose(
        last.arrays["predicted_forces"], committee.predict(last).forces, atol=1e-9
    )
    spread = [
        np.std([m.predict(r.trajectory[200:]).energies for m in committee.members], axis=0).mean()
        for r in (plain, biased)
    ]
    assert spread[1] > spread[0]


def test_energy_with_a_bias_is_conserved():
    committee = build({**COMMITTEE, "prior": SOFT})
    result = run(
        committee, crystal(1), steps=400, thermostat="none", bias=0.5, temperature=300.0,
        timestep=1.0,
    )  # fmt: skip
    assert result.runs[0].results["scatter_eV_per_atom"] < 1e-3 * 1.5 * kB * 300


def test_a_biased_run_that_went_on_is_that_without_interruption():
    committee, simulation = build(COMMITTEE), md(steps=130, every=10, bias=0.5)
    whole = simulation.run(committee, crystal(1))
    for step in (50, 120):
        left = interrupted(simulation, committee, crystal(1), (0, step))
        begun = Checkpoint.from_bytes(left.checkpoint.to_bytes())
        rest = simulation.run(committee, crystal(1), checkpoint=begun)
        assert join(left.trajectory, begun, rest.trajectory).to_bytes() == (
            whole.trajectory.to_bytes()
        )
        assert rest.runs == whole.runs


def test_a_bias_wants_a_committee(potential):
    with pytest.raises(ValueError, match="ensemble of 2 potentials or more, got 1"):
        run(potential, bias=0.1)
    with pytest.raises(ValueError, match="ensemble of 2 potentials or more, got 1"):
        md(bias=0.1).check_model(ModelOptions.parse(SOFT))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": -1.0}, "bias of 0 or more"),
        ({"bias": 1.0, "cell": "volume"}, "the bias has no stress"),
        ({"timestep": -1.0}, "timestep above 0 fs, got -1"),
        ({"thermostat_time": 0.0}, "thermostat_time above 0 fs"),
        ({"thermostat_time": 1.0}, "thermostat_time of the timestep"),
        ({"temperature": -300.0}, "temperature above 0 K, got -300"),
        ({"temperature": (300.0, 0.0)}, "temperature above 0 K, got 0"),
        ({"temperature": -1.0, "thermostat": "none"}, "temperature of 0 K or more"),
        ({"temperature": (1.0, 2.0), "thermostat": "none"}, "nothing follows a ramp"),
        ({"pressure_GPa": 1.0}, "a pressure has no effect with cell 'fixed'"),
        ({"cell": "volume", "thermostat": "berendsen"}, "not canonical"),
        ({"steps": -1}, "steps of 0 or more"),
        ({"equilibration": -1.0}, "equilibration: expected a time from 0"),
        ({"steps": 10, "equilibration": 20.0}, "less than the 10 steps of 2 fs, got 20 fs"),
        ({"seed": -1}, "seed of 0 or more"),
        ({"every": 0}, "every as 1 step or more"),
        ({"scenarios": ({"temprature": 1.0},)}, r"scenarios\[0\].*did you mean 'temperature'"),
        ({"scenarios": ({"timestep": -1.0},)}, r"scenarios\[0\].*timestep above 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        md(**options)


@pytest.mark.parametrize(
    ("structure", "options", "message"),
    [
        (fcc100("Cu", (1, 1, 3), vacuum=5), {"cell": "volume"}, "needs structures periodic"),
        (bulk("Al"), {}, "Al"),
    ],
)
def test_structures_that_do_not_fit_are_refused(potential, structure, options, message):
    with pytest.raises(ValueError, match=message):
        run(potential, Configurations.from_ase(structure), **options)


def test_the_state_of_another_system_is_refused(potential):
    simulation = md(steps=10)
    left = interrupted(simulation, potential, crystal(1), (0, 5))
    with pytest.raises(ValueError, match="simulations from other structures"):
        simulation.run(potential, crystal(2), checkpoint=left.checkpoint)


def test_a_damaged_state_is_refused_in_words(potential):
    simulation = md(steps=10)
    left = interrupted(simulation, potential, crystal(1), (0, 5))
    motion = left.checkpoint.state.memory["motion"]
    for damaged in (motion | {"averages": {"n": []}}, {"averages": motion["averages"]}):
        left.checkpoint.state.memory["motion"] = damaged
        with pytest.raises(ValueError, match="the state is damaged, or that of another simulation"):
            simulation.run(potential, crystal(1), checkpoint=left.checkpoint)


def test_a_bias_without_a_committee_is_refused_before_a_step():
    begun = []
    for options in ({"bias": 0.3}, {"scenarios": [{"bias": 0.3}]}):
        with pytest.raises(ValueError, match="expected an ensemble of 2") as caught:
            md(**options).run(build(SOFT), crystal(1), lambda **_: begun.append(1))
        assert not hasattr(caught.value, "computed")
    assert not begun


@pytest.mark.parametrize("timestep", [0.001, 1000.0])
def test_a_timestep_in_other_units_is_refused(timestep):
    with pytest.raises(ValueError, match="timestep: expected femtoseconds"):
        md(timestep=timestep)
