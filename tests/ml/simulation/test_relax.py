import subprocess
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixCartesian
from ase.optimize import BFGS
from ase.units import GPa

from aiida_mlal.ml import plugins
from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.frames import KEPT, PREDICTED_ENERGY
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.ensemble import Ensemble
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.morse import morse_table
from aiida_mlal.ml.plugins import PluginError
from aiida_mlal.ml.simulation.base import Run, Simulation
from aiida_mlal.ml.simulation.cell import MovingCell
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.relax import Relax

ANY_VOLUME = Guard(max_volume_ratio=None)


def morse(elements, **options):
    return single({"architecture": "morse", "cutoff": 5.0, **options}, elements, seed=0)


def committee(spread=0.1):
    depths = (3.0, 3.0 * (1 + spread))
    return Ensemble(
        [morse(["Cu"], parameters={"Cu": {"De": d, "re": 2.3, "a": 1.5}}) for d in depths]
    )


class Strange(Potential):
    """Fails or gives nonsense below some distance."""

    def __init__(self, act, limit):
        super().__init__(["Cu"], 6.0)
        self.act, self.limit = act, limit

    def atomic_energies(self, graph):
        energies = graph.sum_over_neighbours(graph.distances**2)
        if bool((graph.distances < self.limit).any()):
            return self.act(energies)
        return energies

    def config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError


def fail(error):
    def act(energies):
        raise error

    return act


def slab(seed=0):
    atoms = fcc100("Cu", (2, 2, 3), vacuum=6)
    atoms.append("C")
    atoms.positions[-1] = atoms.positions[-2] + [1.3, 1.1, 1.5]
    atoms.rattle(0.1, seed=seed)
    return atoms


def dimer(distance):
    return Atoms("Cu2", [[0, 0, 0], [0, 0, distance]])


@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs", "fire"])
def test_finds_the_minimum_of_a_dimer(optimizer):
    simulation = Relax(optimizer=optimizer, fmax=1e-4, max_steps=500)
    result = simulation.run(morse(["Cu"]), Configurations.from_ase(dimer(2.5)))
    (run,) = result.runs
    assert run.converged
    assert run.reason == "converged"
    assert run.fmax < 1e-4
    last = result.trajectory.positions[-2:]
    assert np.linalg.norm(last[1] - last[0]) == pytest.approx(morse_table()["Cu"].re, abs=1e-4)


@pytest.mark.parametrize("cell", ["full", "volume"])
@pytest.mark.parametrize("optimizer", ["bfgs", "lbfgs"])
def test_goes_downhill_where_the_energy_is_concave(optimizer, cell):
    """Dimers pull the crystal together so much that curvatures are negative on the way."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.15, seed=1)
    guard = Guard(max_volume_ratio=None, min_distance=None, max_force=None)
    simulation = Relax(
        optimizer=optimizer, cell=cell, fmax=1e-3, smax_GPa=0.01, max_steps=300, guard=guard
    )
    result = simulation.run(morse(["Cu"]), Configurations.from_ase(atoms))
    assert result.runs[0].converged
    energies = PREDICTED_ENERGY.of(result.trajectory)
    assert energies[-1] == pytest.approx(energies.min(), abs=1e-4)


def test_takes_the_path_that_ase_takes():
    atoms = slab()
    atoms.set_constraint(FixAtoms(range(4)))
    potential = morse(["C", "Cu"])
    start = Configurations.from_ase(atoms)
    result = Relax(fmax=0.02, max_steps=60).run(potential, start)
    atoms.calc = MLCalculator(potential)
    path = []
    optimizer = BFGS(atoms, logfile=None)
    optimizer.attach(lambda: path.append(atoms.positions.copy()))
    converged = optimizer.run(fmax=0.02, steps=60)
    assert result.runs[0].converged == converged
    assert len(result.trajectory) == len(path)
    np.testing.assert_allclose(result.trajectory.positions, np.concatenate(path), atol=1e-9)


def test_a_simulation_that_does_not_say_how_it_ended_is_named():
    class Mute(Relax):
        def simulate(self, *_):
            return None

    with pytest.raises(plugins.PluginError, match="'simulate' returned None, expected an Ending"):
        Mute().run(morse(["Cu"]), Configurations.from_ase(dimer(2.5)))


def test_fixed_components_stay_and_do_not_count():
    atoms = slab()
    atoms.set_constraint([FixAtoms(range(4)), FixCartesian([5, 6], [True, False, True])])
    start = Configurations.from_ase(atoms)
    result = Relax(fmax=0.05, max_steps=300).run(morse(["C", "Cu"]), start)
    n = len(atoms)
    path = result.trajectory.positions.reshape(-1, n, 3)
    fixed = start.fixed
    assert fixed.sum() == 4 * 3 + 2 * 2
    np.testing.assert_array_equal(path[:, fixed], np.tile(path[0][fixed], (len(path), 1)))
    assert (np.ptp(path, axis=0)[~fixed] > 0).all()
    np.testing.assert_array_equal(result.trajectory[-1].fixed, fixed)
    assert result.runs[0].converged
    forces = result.trajectory[-1].arrays["predicted_forces"]
    assert np.abs(forces[fixed]).max() > 0.05
    assert np.linalg.norm(np.where(fixed, 0, forces), axis=1).max() == result.runs[0].fmax < 0.05


def strained():
    atoms = bulk("Cu", cubic=True)
    strain = [[1.02, 0.01, 0], [0, 1.0, 0], [0.03, 0, 0.98]]
    atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_cell_relaxes_to_no_stress_or_to_the_pressure():
    start, potential = Configurations.from_ase(strained()), morse(["Cu"])
    volumes = []
    for pressure in (0.0, 10.0):
        simulation = Relax(
            cell="full",
            fmax=1e-4,
            smax_GPa=0.01,
            max_steps=300,
            pressure_GPa=pressure,
            guard=ANY_VOLUME,
        )
        result = simulation.run(potential, start)
        assert result.runs[0].converged
        last = result.trajectory[-1]
        assert potential.predict(last).stresses[0] == pytest.approx(
            -pressure * GPa * np.eye(3), abs=1e-4
        )
        assert last.info["predicted_stress"][0] == pytest.approx(
            potential.predict(last).stresses[0], abs=1e-12
        )
        volumes.append(np.linalg.det(last.cells[0]))
    assert volumes[1] < volumes[0]


@pytest.mark.parametrize("cell", ["full", "shape", "volume"])
@pytest.mark.parametrize("smax", [1.0, 0.01])
def test_the_stress_that_moves_the_cell_counts_as_well_as_forces(cell, smax):
    """The run ends at the first frame where both are small."""
    start, potential = Configurations.from_ase(strained()), morse(["Cu"])
    simulation = Relax(cell=cell, fmax=0.02, smax_GPa=smax, max_steps=300, guard=ANY_VOLUME)
    result = simulation.run(potential, start)
    assert result.runs[0].converged
    found = potential.predict(result.trajectory)
    small = []
    for stress, fmax in zip(found.stresses / GPa, found.max_forces):
        pressure = np.trace(stress) / 3 * np.eye(3)
        moves = {"full": stress, "shape": stress - pressure, "volume": pressure}[cell]
        small.append(fmax < 0.02 and np.abs(moves).max() < smax)
    assert small[-1]
    assert not any(small[:-1])


@pytest.mark.parametrize("cell", ["full", "volume"])
def test_a_volume_that_strays_from_that_at_the_start_ends_the_run(cell):
    """The Morse potential of a pair of atoms pulls the crystal together, far beyond its own."""
    start, potential = Configurations.from_ase(strained()), morse(["Cu"])
    result = Relax(cell=cell, max_steps=300).run(potential, start)
    (run,) = result.runs
    volumes = np.abs(np.linalg.det(result.trajectory.cells)) / np.linalg.det(start.cells[0])
    assert run.reason == "strayed"
    assert f"the volume is {volumes[-1]:.3g} times that at the start" in run.message
    assert volumes[-1] < 1 / 1.5
    assert (volumes[:-1] >= 1 / 1.5).all()
    assert result.trajectory.info["candidate"][-1]


def test_how_a_run_ended_says_what_of_the_cell_moved_and_how_far_it_came():
    start, potential = Configurations.from_ase(strained()), morse(["Cu"])
    simulation = Relax(cell="volume", pressure_GPa=2.0, max_steps=1)
    result = simulation.run(potential, start)
    (run,) = result.runs
    assert run.cell == simulation.moving_cell == MovingCell("volume", 2.0)
    pressure = np.trace(result.trajectory.info["predicted_stress"][-1]) / 3 / GPa
    assert run.smax_GPa == pytest.approx(abs(pressure + 2.0))
    assert Relax(max_steps=1).run(potential, start).runs[0].smax_GPa == 0.0


@dataclass(frozen=True)
class Swell(Simulation):
    """Makes the cell larger in each step; whether it says so is an option."""

    says_so: bool = True
    guard: Guard = field(default_factory=Guard)

    @property
    def moving_cell(self):
        return MovingCell("volume" if self.says_so else "fixed")

    def simulate(self, potential, structure, measure, record):
        atoms = structure.to_ase()[0]
        atoms.calc = MLCalculator(potential, measure)

        def steps():
            for _ in range(3):
                atoms.get_forces()
                yield False
                atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)

        return follow(steps(), atoms, self.guard, record)


def test_a_simulation_that_moves_a_cell_has_to_say_so():
    start, potential = Configurations.from_ase(strained()), morse(["Cu"])
    assert Swell().run(potential, start).runs[0].cell == MovingCell("volume")
    with pytest.raises(ValueError, match="moved the cell in step 1, but its 'moving_cell' says"):
        Swell(says_so=False).run(potential, start)


def test_shape_and_volume_move_alone():
    start, potential = Configurations.from_ase(strained()), morse(["Cu"])
    shape = Relax(cell="shape", fmax=1e-3).run(potential, start).trajectory[-1]
    assert np.linalg.det(shape.cells[0]) == pytest.approx(np.linalg.det(start.cells[0]))
    assert np.abs(shape.cells - start.cells).max() > 0.01
    volume = Relax(cell="volume", fmax=1e-3, guard=ANY_VOLUME).run(potential, start).trajectory[-1]
    growth = np.linalg.solve(start.cells[0], volume.cells[0])
    assert growth == pytest.approx(growth[0, 0] * np.eye(3), abs=1e-9)
    assert abs(growth[0, 0] - 1) > 0.01


def test_a_cell_needs_to_be_there_and_free_to_move():
    with pytest.raises(ValueError, match="structure 1 is not"):
        Relax(cell="full").run(morse(["Cu"]), Configurations.from_ase([strained(), dimer(2.5)]))
    held = strained()
    held.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="structure 0 has fixed ones"):
        Relax(cell="full").run(morse(["Cu"]), Configurations.from_ase(held))


def test_every_frame_keeps_what_was_predicted_and_no_label():
    potential = committee()
    start = Configurations.from_ase([dimer(2.8), bulk("Cu", cubic=True)])
    result = Relax(fmax=1e-3, max_steps=4).run(potential, start)
    frames = result.trajectory
    assert frames.info["run"].tolist() == [0] * 5 + [1] * (len(frames) - 5)
    assert frames.info["step"][:5].tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(frames.energies).all()
    assert np.isnan(frames.forces).all()
    assert set(frames.status) == {"unlabelled"}
    again = potential.predict(frames)
    assert frames.info["predicted_energy"] == pytest.approx(again.energies)
    assert frames.arrays["predicted_forces"] == pytest.approx(again.forces, abs=1e-10)
    stresses = frames.info["predicted_stress"]
    np.testing.assert_allclose(stresses, again.stresses, atol=1e-12)
    largest = [frame.arrays["uncertainties"].max() for frame in frames]
    assert frames.info["uncertainty"] == pytest.approx(largest)
    assert result.runs[0].uncertainty == pytest.approx(largest[4])
    assert result.runs[0].max_uncertainty == pytest.approx(max(largest[:5]))


def test_trajectory_survives_a_file(tmp_path):
    frames = Relax(max_steps=2).run(committee(), Configurations.from_ase(dimer(2.8))).trajectory
    frames.save(tmp_path / "trajectory.safetensors")
    again = Configurations.load(tmp_path / "trajectory.safetensors")
    assert again.to_bytes() == frames.to_bytes()


def test_stops_after_the_last_step_allowed():
    result = Relax(max_steps=3).run(morse(["Cu"]), Configurations.from_ase(dimer(3.5)))
    (run,) = result.runs
    assert (run.reason, run.converged, run.steps) == ("max_steps", False, 3)
    assert len(result.trajectory) == 4


def test_no_steps_allowed_looks_once():
    result = Relax(max_steps=0).run(morse(["Cu"]), Configurations.from_ase(dimer(3.5)))
    assert (result.runs[0].steps, len(result.trajectory)) == (0, 1)


def test_a_relaxed_structure_is_converged_at_once():
    start = Configurations.from_ase(Atoms("Cu"))
    result = Relax().run(morse(["Cu"]), start)
    assert (result.runs[0].reason, result.runs[0].steps) == ("converged", 0)


def test_breaks_at_the_first_uncertain_frame_and_keeps_it():
    potential, start = committee(), Configurations.from_ase(dimer(3.6))
    free = Relax(fmax=1e-3).run(potential, start).trajectory.info["uncertainty"]
    threshold = 0.5 * (free[0] + free.max())
    first = int(np.argmax(free >= threshold))
    assert first > 0
    guard = Guard(break_=float(threshold), select=float(free[0] * 1.001))
    result = Relax(fmax=1e-3, guard=guard).run(potential, start)
    (run,) = result.runs
    assert (run.reason, run.converged, run.steps) == ("uncertain", False, first)
    assert len(result.trajectory) == first + 1
    candidates = result.trajectory.info["candidate"]
    assert candidates.tolist() == (free[: first + 1] >= guard.select).tolist()
    assert run.n_candidates == candidates.sum() > 0
    assert not candidates[0]


def test_a_run_that_breaks_does_not_stop_the_next_one():
    start = Configurations.from_ase([dimer(0.5), dimer(2.4)])
    result = Relax(fmax=0.01).run(morse(["Cu"]), start)
    assert [run.reason for run in result.runs] == ["unphysical", "converged"]
    assert "times the sum of their covalent radii" in result.runs[0].message
    assert not result.trajectory.info["candidate"][0]


def test_an_atom_that_flies_away_ends_the_run():
    long = {"De": 1.0, "re": 8.0, "a": 0.5}
    repulsive = morse(["Cu"], smoothing="hard", parameters={"Cu": long})
    result = Relax().run(repulsive, Configurations.from_ase(dimer(4.0)))
    assert result.runs[0].reason == "unphysical"
    assert "flew away" in result.runs[0].message


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (fail(RuntimeError("no neighbours for you")), "RuntimeError: no neighbours for you"),
        (fail(FloatingPointError("overflow")), "FloatingPointError: overflow"),
        (lambda energies: energies * torch.nan, "not finite"),
    ],
)
def test_a_failing_step_ends_the_run_and_keeps_the_frames(act, message):
    result = Relax().run(Strange(act, 3.0), Configurations.from_ase([dimer(3.5)] * 2))
    run = result.runs[0]
    assert run.reason == "unphysical"
    assert message in run.message
    assert run.steps == len(result.trajectory) // 2 - 1 > 0
    assert np.isfinite(result.trajectory.positions).all()
    energies = result.trajectory.info["predicted_energy"][: run.steps + 1]
    assert np.isnan(energies).tolist() == [False] * run.steps + [True]
    assert not result.trajectory.info["candidate"][run.steps]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt("stop"), KeyboardInterrupt),
        (MemoryError("full"), MemoryError),
        (TypeError("bug"), PluginError),
    ],
)
def test_what_ends_everything_carries_what_was_computed(error, raised):
    """A mistake in a model comes with its name."""
    start = Configurations.from_ase([Atoms("Cu"), dimer(3.5)])
    words = "^model 'Strange' failed: TypeError: bug$" if raised is PluginError else str(error)
    with pytest.raises(raised, match=words) as caught:
        Relax().run(Strange(fail(error), 3.0), start)
    computed = caught.value.computed
    assert [run.reason for run in computed.runs] == ["converged", "interrupted"]
    assert len(computed.trajectory) == computed.runs[1].steps + 2


def test_a_mistake_of_a_user_is_not_unphysical():
    """As the part of a user's raises it for an option that it does not know."""
    act = fail(ValueError("unknown functional 'PBW'"))
    with pytest.raises(ValueError, match=r"step \d+ failed, though nothing is wrong .* 'PBW'$"):
        Relax().run(Strange(act, 3.0), Configurations.from_ase(dimer(3.5)))


def test_a_value_error_of_numbers_beyond_bounds_is_unphysical():
    near = fail(ValueError("array must not contain infs or NaNs"))
    start = Configurations.from_ase(dimer(3.5))
    result = Relax(guard=Guard(min_distance=1.0, every=99), every=99).run(Strange(near, 2.5), start)
    assert result.runs[0].reason == "unphysical"
    assert "infs or NaNs" in result.runs[0].message


def test_no_memory_is_not_unphysical():
    error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes")
    with pytest.raises(MemoryError, match="can't allocate"):
        Relax().run(Strange(fail(error), 3.0), Configurations.from_ase(dimer(3.5)))


def test_reports_progress():
    seen = []
    start = Configurations.from_ase([dimer(2.5), dimer(2.6)])
    result = Relax(fmax=0.01).run(committee(), start, lambda **values: seen.append(values))
    assert len(seen) == len(result.trajectory)
    assert seen[-1]["run"] == 1
    assert seen[-1]["n_runs"] == 2
    assert seen[-1]["fmax"] == result.runs[1].fmax


def test_the_same_input_gives_the_same_bytes():
    start = Configurations.from_ase(slab())
    one, two = (Relax(max_steps=20).run(morse(["C", "Cu"]), start) for _ in range(2))
    assert one.trajectory.to_bytes() == two.trajectory.to_bytes()
    assert one.runs == two.runs


def test_labels_and_calculators_of_the_start_are_not_used():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    atoms.get_stress()
    start = Configurations.from_ase(atoms)
    result = Relax(max_steps=1).run(morse(["Cu"]), start)
    assert np.isnan(result.trajectory.energies).all()
    expected = morse(["Cu"]).predict(start).energies[0]
    assert result.trajectory.info["predicted_energy"][0] == pytest.approx(expected)


def test_nothing_in_gives_nothing_out():
    result = Relax().run(morse(["Cu"]), Configurations.empty())
    assert len(result.trajectory) == len(result.runs) == 0


def test_an_unknown_element_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match=r"knows \['Cu'\], the structures have \['C', 'H', 'O'\]"):
        Relax().run(morse(["Cu"]), Configurations.from_ase(molecule("CH3CH2OH")))


def test_thresholds_need_something_to_compare_with():
    with pytest.raises(ValueError, match="'ensemble' of 2 or more"):
        Relax(guard=Guard(break_=1.0)).run(morse(["Cu"]), Configurations.from_ase(dimer(2.5)))
    with pytest.raises(ValueError, match="has one member"):
        Relax(guard=Guard(uncertainty={"name": "force_std"})).run(
            morse(["Cu"]), Configurations.from_ase(dimer(2.5))
        )


def test_a_single_potential_has_no_uncertainty():
    result = Relax().run(morse(["Cu"]), Configurations.from_ase(dimer(2.5)))
    assert isinstance(result.runs[0], Run)
    assert result.runs[0].uncertainty is None
    assert np.isnan(result.trajectory.info["uncertainty"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "bgfs"}, "did you mean 'bfgs'"),
        ({"fmax": 0.0}, "fmax above 0"),
        ({"max_steps": -1}, "max_steps of 0 or more"),
        ({"pressure_GPa": 1.0}, "no effect with cell 'fixed'"),
        ({"smax_GPa": 0.0}, "smax_GPa above 0"),
        ({"guard": {"break": "high"}}, r"simulation\.guard\.break: expected float, got 'high'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plugins.make("simulations", {"name": "relax", **options}, "simulation")


def test_options_are_built_without_torch():
    """But for those of a measure of uncertainty."""
    code = (
        "import sys; from aiida_mlal.ml import plugins; "
        "plugins.make('simulations', {'name': 'relax', 'guard': {'break': 1.0}}); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_goes_no_farther_than_it_is_trusted():
    atoms = Atoms("Cu2", [[0, 0, 0], [3.4, 0, 0]])
    potential, structures = morse(["Cu"]), Configurations.from_ase(atoms)
    free = Relax(fmax=1e-3).run(potential, structures)
    assert free.runs[0].converged
    near = Relax(fmax=1e-3, guard=Guard(trust=0.15)).run(potential, structures)
    moved = np.linalg.norm(near.trajectory.positions.reshape(-1, 2, 3) - atoms.positions, axis=2)
    assert near.runs[0].reason == "strayed"
    assert "Å from where it began" in near.runs[0].message
    assert 0.15 <= moved[-1].max() <= 0.2 + 1e-9
    assert (moved[:-1] < 0.15).all()
    assert np.diff(moved.max(axis=1)).max() <= 0.05 + 1e-9  # steps of a third of it
    assert near.runs[0].n_candidates == len(moved)


def test_a_cell_is_strained_no_farther_than_it_is_trusted():
    atoms = bulk("Cu", a=3.9, cubic=True) * 2
    structures = Configurations.from_ase(atoms)
    guard = Guard(max_volume_ratio=None, trust=0.1)
    found = Relax(cell="full", max_steps=50, guard=guard).run(morse(["Cu"]), structures)
    assert found.runs[0].reason == "strayed"
    last = found.trajectory[len(found.trajectory) - 1]
    strain = np.abs(last.cells[0].diagonal() / atoms.cell.lengths() - 1).max()
    assert 0.1 <= strain * 3.9 / 4 ** (1 / 3) < 0.15
    assert np.abs(last.positions - atoms.positions).max() > 0.2  # with the cell, which is free


def test_a_structure_that_is_to_stay_is_predicted_and_no_more():
    start = Configurations.from_ase(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.9]], cell=[9, 9, 9]))
    kept = start.with_columns({KEPT: [True]})
    result = Relax(fmax=0.01).run(morse(["Cu"]), Configurations.concatenate([kept, start]))
    stays, moves = result.runs
    assert (stays.steps, stays.converged) == (0, False)
    assert stays.message == "it was to stay as it is"
    assert moves.converged
    np.testing.assert_array_equal(result.trajectory[0].positions, start.positions)
    assert stays.fmax > 0.1
