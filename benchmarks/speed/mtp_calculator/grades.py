"""What grades at every step of a simulation cost, beside the forces.

Velocity Verlet at 300 K, 1 fs, of 432 atoms of bcc Mo, watched by the guard as every simulation is;
a potential that is fitted to a Morse potential, its active set of 60 small cells. Median CPU times
of steps, forces alone and with grades in turns of twenty. ``OMP_NUM_THREADS=1 python grades.py``.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from aiida_mlal.ml.calculator import MLCalculator
from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.factory import single
from aiida_mlal.ml.models.mtp import MTP
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.recorder import Recorder, Store
from aiida_mlal.ml.uncertainty.active_set import ActiveSet
from aiida_mlal.ml.uncertainty.grade import Grade

TURNS, STEPS = 6, 20


def small_cells() -> Configurations:
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        atoms = bulk("Mo", "bcc", 3.16, cubic=True) * (2, 2, 2)
        atoms.rattle(rng.uniform(0.02, 0.25), rng=rng)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.04 * rng.normal(size=(3, 3))), scale_atoms=True)
        found.append(atoms)
    return Configurations.from_ase(found)


def potential(level: int, known: Configurations, mode: str) -> MTP:
    model = fitted(level, known)
    ActiveSet.of(model, known, mode).store(model)
    return model


def fitted(level: int, known: Configurations) -> MTP:
    options = {"architecture": "mtp", "level": level, "cutoff": 5.2, "min_dist": 1.9}
    model = single(options, ["Mo"], 0)
    assert isinstance(model, MTP)
    soft = {"Mo": {"De": 0.5, "re": 2.95, "a": 1.0}}  # under which bcc is stable
    teacher = single({"architecture": "morse", "cutoff": 5.2, "parameters": soft}, ["Mo"], 0)
    prepared = model.prepare(model.graph(known))
    wanted = teacher(teacher.graph(known))
    jacobian = prepared.derivatives(model, [model.species_coeffs, model.moment_coeffs])
    left = torch.cat([jacobian.energies, jacobian.forces.flatten(1)], dim=1).T
    right = torch.cat([wanted.energies, wanted.forces.flatten()])
    found = np.linalg.lstsq(left.numpy(), right.numpy(), rcond=1e-9)[0]
    coefficients = torch.cat([model.radial_coeffs.detach().flatten(), torch.tensor(found)])
    model.set_coefficients(coefficients)
    return model


def steps_of(atoms: Atoms) -> Iterator[bool]:
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(1))
    dynamics = VelocityVerlet(atoms, 1 * units.fs)
    atoms.get_forces()
    while True:
        yield False
        dynamics.run(1)


def timed(steps: Iterator[bool], times: list[float]) -> Iterator[bool]:
    for _ in range(STEPS):
        yield next(steps)
        times.append(time.process_time())


def seconds_of(model: MTP, with_grades: tuple[bool, ...]) -> list[float]:
    found: list[list[float]] = [[] for _ in with_grades]
    runs = []
    for graded, seconds in zip(with_grades, found):
        atoms = bulk("Mo", "bcc", 3.16, cubic=True) * (6, 6, 6)
        measure = Grade() if graded else None
        atoms.calc = MLCalculator(model, measure)
        guard = Guard(select=1e6, break_=1e7) if graded else Guard()
        runs.append((steps_of(atoms), atoms, guard, seconds))
    for _ in range(TURNS):
        for steps, atoms, guard, seconds in runs:
            store = Store()
            record = Recorder(Configurations.from_ase(atoms), store)
            times = [time.process_time()]

            follow(timed(steps, times), atoms, guard, record)
            record.close()
            assert len(store.read()) == STEPS
            seconds += np.diff(times[1:]).tolist()
    return [float(np.median(seconds)) for seconds in found]


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    known = small_cells()
    print("level mode           forces  forces and grades  ratio   (us per atom and step)")
    for level in (8, 16, 20):
        for mode in ("configuration", "neighbourhood"):
            model = potential(level, known, mode)
            plain, graded = (1e6 * s / 432 for s in seconds_of(model, (False, True)))
            row = f"{level:5d} {mode:14s} {plain:6.2f} {graded:18.2f} {graded / plain:6.2f}"
            print(row, flush=True)
