"""Molecular dynamics at constant energy, temperature or pressure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from ase.units import GPa, fs, kB

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import EngineName
from aiida_mlal.ml.frames import TEMPERATURE, TIME, VELOCITIES, Column
from aiida_mlal.ml.options import as_dict, build, check_not_negative, check_seed, suggest
from aiida_mlal.ml.simulation.averages import Averages, Sample
from aiida_mlal.ml.simulation.base import COMPLETED, CONVERGED, Ending, Simulation, check_pace
from aiida_mlal.ml.simulation.cell import MovingCell, volume_of
from aiida_mlal.ml.simulation.follow import follow
from aiida_mlal.ml.simulation.guard import Guard
from aiida_mlal.ml.simulation.lammps import Lammps
from aiida_mlal.ml.simulation.momenta import Freedom, n_rotations, without_rotation
from aiida_mlal.ml.simulation.mover import Mover, Own
from aiida_mlal.ml.simulation.recorder import Recorder
from aiida_mlal.ml.simulation.thermostats import THERMOSTATS, ThermostatName

if TYPE_CHECKING:
    from ase import Atoms

    from aiida_mlal.ml.models.base import Potential
    from aiida_mlal.ml.models.factory import ModelOptions
    from aiida_mlal.ml.uncertainty.base import Uncertainty

Ramp = float | tuple[float, float]
"""A constant, or the values at the beginning and at the end, between which it is linear."""

SHORTEST, LONGEST = 0.005, 100.0
"""Timesteps, in fs, beyond which one is meant in other units."""

MOVERS: Mapping[str, type[Mover]] = {mover.NAME: mover for mover in (Own, Lammps)}
"""What takes the steps, by the name among the options."""

REPLICA, SCENARIO = "replica", "scenario"
"""Names in ``info`` of what tells runs from the same structure apart."""


@dataclass(frozen=True)
class MolecularDynamics(Simulation):
    """Moves atoms by Newton's equations, with a thermostat and a moving cell if wanted.

    Without both the energy is constant (NVE); with a thermostat it is NVT, with a cell that moves
    too NPT. A run that did all its steps has reached its aim.

    Attributes
    ----------
    steps
        Number of time steps.
    timestep
        In fs.
    temperature
        In K, or its values at the beginning and at the end. Velocities are drawn for the first.
    thermostat
        ``langevin`` (BAOAB), ``nose_hoover`` (a chain of three), ``bussi`` (stochastic velocity
        rescaling), ``berendsen`` (weak coupling, not canonical), or ``none``.
    thermostat_time
        Time constant of the thermostat in fs; of ``langevin`` the inverse of the friction.
    cell
        What of the cell moves: nothing, its ``volume`` at constant shape (isotropic), strains along
        the ``axes`` x, y and z, or all of it (``full``).
    pressure_GPa
        External pressure on a cell that moves, or its values at the beginning and at the end.
    cell_time
        Time constant of a cell that moves, in fs.
    bias
        Strength of a force, in units of the others, that draws the atoms to where the members of a
        committee differ; 0.25 is usual. Frames have energies and forces without it.
    velocities
        Whether they are ``drawn`` from the Maxwell-Boltzmann distribution or ``given`` with the
        structures.
    seed
        Of all that is random. Runs from different structures, and from the same one, differ.
    scenarios
        Options that take the place of these, such as ``{"temperature": 900}``: each structure has
        a run for each of them.
    equilibration
        Time in fs at the beginning that the means of temperature, pressure, potential energy and
        volume leave out. By default it is found by the marginal standard error rule of White,
        Simulation 69, 323 (1997), up to half of the run; where temperature or pressure has a ramp
        nothing is left out. The results say from when to when means are.
    every
        Stride of the steps whose frames are kept; the first, the last, and from the uncertainty
        ``guard.select`` on all that are watched are kept anyway.
    engine
        What computes: kernels in ``numba``, ``torch``, or ``auto``: kernels on the CPU where the
        potential has them and they find what the measure of the guard needs, else torch. Or what
        moves the atoms, with its options: ``{"name": "lammps", "commands": ["dump ..."]}`` for
        LAMMPS, ``{"name": "ase"}`` for the integrators here, which take all steps else; what
        computes is their option ``computes``.
    threads
        Cores for a potential that has kernels; worth it from some hundred atoms on. Results are
        the same with any number.
    guard
        What ends a run early.
    """

    steps: int = 1000
    timestep: float = 1.0
    temperature: Ramp = 300.0
    thermostat: ThermostatName = "langevin"
    thermostat_time: float = 100.0
    cell: Literal["fixed", "volume", "axes", "full"] = "fixed"
    pressure_GPa: Ramp = 0.0
    cell_time: float = 1000.0
    bias: float = 0.0
    velocities: Literal["drawn", "given"] = "drawn"
    seed: int = 0
    scenarios: tuple[Mapping[str, Any], ...] = ()
    equilibration: float | None = None
    every: int = 10
    engine: Mapping[str, Any] | EngineName = "auto"
    threads: int = 1
    guard: Guard = field(default_factory=Guard)

    relaxes: ClassVar[bool] = False
    IDENTITY: ClassVar[tuple[str, ...]] = (
        "timestep", "temperature", "thermostat", "thermostat_time", "cell", "pressure_GPa",
        "cell_time", "bias", "velocities", "seed", "scenarios", "equilibration",
    )  # fmt: skip
    VARIED: ClassVar[tuple[str, ...]] = (
        "steps", "timestep", "temperature", "thermostat", "thermostat_time", "cell_time",
        "pressure_GPa", "bias", "seed", "equilibration",
    )  # fmt: skip
    """Options that scenarios may have."""

    def __post_init__(self) -> None:
        """Refuse what cannot be integrated."""
        for name in ("timestep", "thermostat_time", "cell_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected {name} above 0 fs, got {getattr(self, name)}")
        if not SHORTEST <= self.timestep <= LONGEST:
            raise ValueError(
                f"timestep: expected femtoseconds, from {SHORTEST:g} to {LONGEST:g} fs, got "
                f"{self.timestep:g}"
            )
        for name in ("thermostat_time", "cell_time"):
            if getattr(self, name) < self.timestep:
                raise ValueError(
                    f"expected {name} of the timestep ({self.timestep:g} fs) or more, got "
                    f"{getattr(self, name):g} fs"
                )
        check_not_negative(self, "steps")
        if self.equilibration is not None and not (
            0 <= self.equilibration < max(self.steps, 1) * self.timestep
        ):
            raise ValueError(
                f"equilibration: expected a time from 0 to less than the {self.steps} steps of "
                f"{self.timestep:g} fs, got {self.equilibration:g} fs"
            )
        check_seed(self.seed)
        check_pace(self.every, self.threads)
        if not self.bias >= 0:
            raise ValueError(f"expected a bias of 0 or more, got {self.bias}")
        if self.bias and self.cell != "fixed":
            raise ValueError("the bias has no stress, and a cell cannot move with it")
        self._check_ensemble()
        self.mover.check(self)
        for i, scenario in enumerate(self.scenarios):
            for name in scenario:
                if name not in self.VARIED:
                    raise ValueError(
                        f"scenarios[{i}]: unknown option {name!r}{suggest(name, self.VARIED)}"
                    )
            self._scenario(i)

    def _check_ensemble(self) -> None:
        coldest = min(_ends(self.temperature))
        needs = "a thermostat" if self.thermostat != "none" else "a cell that moves"
        if self.thermostat != "none" or self.cell != "fixed":
            if not coldest > 0:
                raise ValueError(f"{needs} wants a temperature above 0 K, got {coldest:g}")
        elif not coldest >= 0:
            raise ValueError(f"expected a temperature of 0 K or more, got {coldest:g}")
        if self.thermostat == "none" and isinstance(self.temperature, tuple):
            raise ValueError("without a thermostat nothing follows a ramp of the temperature")
        if self.thermostat == "berendsen" and self.cell != "fixed":
            raise ValueError(
                "the distribution of thermostat 'berendsen' is not canonical, and a cell cannot "
                f"move with it: choose from {[*THERMOSTATS][:-1]}, or cell 'fixed'"
            )
        for pressure in _ends(self.pressure_GPa):
            MovingCell(self.cell, pressure)

    @property
    def mover(self) -> Mover:
        """What takes the steps."""
        if not isinstance(self.engine, Mapping):
            return Own(self.engine)
        options = dict(self.engine)
        name = options.pop("name", None)
        if name not in MOVERS:
            raise ValueError(f"engine: unknown name {name!r}{suggest(str(name), MOVERS)}")
        return build(MOVERS[name], options, "engine")

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, options in ``IDENTITY``, what takes the steps, and how many a ramp is over."""
        ramp = {"steps": self.steps} if self.has_ramp else {}
        return {**super().identity, **self.mover.identity, **ramp}

    @property
    def has_ramp(self) -> bool:
        """Whether temperature or pressure change along a run."""
        ramps = map(_ends, (self.temperature, self.pressure_GPa))
        return any(begin != end for begin, end in ramps) or any(
            self._scenario(i).has_ramp for i in range(len(self.scenarios))
        )

    @property
    def most_steps(self) -> int:
        """All steps."""
        return self.steps

    @property
    def temperatures(self) -> tuple[float, float]:
        """At the beginning and at the end, in K."""
        return _ends(self.temperature)

    @property
    def moving_cell(self) -> MovingCell:
        """Degrees of freedom of the cell, and the pressure at the end of a ramp."""
        return MovingCell(self.cell, _ends(self.pressure_GPa)[1])

    def groups(self, structures: Configurations) -> list[Configurations]:
        """Split structures into runs: one for each structure and scenario.

        Structures that were grouped before, one by one, are the same runs again.
        """
        if {REPLICA, SCENARIO} <= structures.info.keys():
            return list(structures)
        met: Counter[str] = Counter()
        groups = []
        for one, key in zip(structures, structures.keys):
            for scenario in range(max(1, len(self.scenarios))):
                names = {REPLICA: [met[key]], SCENARIO: [scenario]}
                groups.append(one.with_info(**names))
            met[key] += 1
        return groups

    def of(self, start: Configurations) -> "MolecularDynamics":
        """Return the options of a run, those of its scenario."""
        return self._scenario(int(start.info[SCENARIO][0])) if self.scenarios else self

    def _scenario(self, i: int) -> "MolecularDynamics":
        return build(
            type(self), {**as_dict(self), "scenarios": [], **self.scenarios[i]}, f"scenarios[{i}]"
        )

    def check(self, structures: Configurations) -> None:
        """Raise ``ValueError`` for a cell that cannot be moved, and velocities that are missing."""
        super().check(structures)
        self.mover.check_structures(structures)
        if self.velocities == "given":
            known = np.isfinite(VELOCITIES.of(structures)).all(axis=1)
            if not known.all():
                raise ValueError(
                    f"structure {int(structures.owner[~known][0])} has no velocities: expected "
                    "them with the structures, or velocities 'drawn'"
                )

    def can_move(self, start: Configurations) -> bool:
        """Whether there are degrees of freedom beside the centre of mass."""
        return bool(self.moving_cell) or Freedom(~start.fixed, np.ones((len(start.fixed), 1))).n > 0

    def check_model(self, model: "ModelOptions") -> None:
        """Want a committee where there is a bias."""
        self._check_committee(model.ensemble)

    def check_potential(self, potential: "Potential") -> None:
        """Want a committee where there is a bias."""
        self._check_committee(max(len(term.members) for term in potential.terms))

    def _check_committee(self, n: int) -> None:
        biased = self.bias or any(one.get("bias") for one in self.scenarios)
        if biased and n < 2:
            raise ValueError(
                "the bias of 'md' is how far the members of a committee differ: expected an "
                f"ensemble of 2 potentials or more, got {n}"
            )

    def simulate(
        self,
        potential: "Potential",
        start: Configurations,
        measure: "Uncertainty | None",
        record: Recorder,
    ) -> Ending:
        """Run from one structure."""
        from aiida_mlal.ml.calculator import MLCalculator

        atoms = start.to_ase()[0]
        atoms.calc = MLCalculator(
            potential, measure, engine=self.mover.computes, threads=self.threads
        )
        run = _Trajectory(self, atoms, start)
        ending = follow(
            run.steps(record.first_step), atoms, self.guard, record, run, columns=run.columns
        )
        reason = COMPLETED if ending.reason == CONVERGED else ending.reason
        return replace(ending, reason=reason, results=run.results())


class _Trajectory:
    """One run: its atoms, its integrator and the averages until now.

    Parameters
    ----------
    start
        What it begins from, which decides what is random.
    """

    def __init__(self, options: MolecularDynamics, atoms: "Atoms", start: Configurations) -> None:
        self._options, self._atoms = options, atoms
        words = [options.seed, int(start.info[REPLICA][0]), int(start.keys[0][:16], 16)]
        self._rng = np.random.default_rng(words)
        self._averages = Averages(options.timestep / 1000, self._equilibration())
        self._step = 0
        self._freedom = self._begin(start)
        self._integrator = options.mover.integrator(
            options, atoms, self._freedom, kB * self._temperature(0), self._pressure(0), self._rng
        )

    def _equilibration(self) -> float | None:
        """Return the time in ps that means leave out; None if it is to be found."""
        options = self._options
        if options.equilibration is not None:
            return options.equilibration / 1000
        return 0.0 if options.has_ramp else None

    def _begin(self, start: Configurations) -> Freedom:
        """Set the momenta, and return which of them are free."""
        options, atoms = self._options, self._atoms
        masses = atoms.get_masses()[:, None]
        free = ~start.fixed
        drawn = options.velocities == "drawn"
        kind = THERMOSTATS.get(options.thermostat)
        turns = n_rotations(atoms) if drawn else 0
        stays = turns if kind is None or not kind.rotates else 0
        freedom = Freedom(free, masses, stays)
        momenta = freedom.momenta(np.zeros((len(atoms), 3)))
        if drawn:
            values = np.sqrt(kB * self._temperature(0)) * momenta.noise(self._rng)
            values = without_rotation(atoms, values) if stays else values
        else:
            values = VELOCITIES.of(start) / fs * masses
            momenta.project(values)
        atoms.set_momenta(values, apply_constraint=False)
        return freedom

    def steps(self, first: int) -> Iterator[bool]:
        """Take steps from the first on, and say after each whether it was the last."""
        n = self._options.steps
        self._integrator.begin()
        if not self._averages.n:  # at a step that it goes on from they have been taken
            self._take()
        yield first >= n
        for step in range(first + 1, n + 1):
            self._step = step
            self._integrator.step(kB * self._temperature(step), self._pressure(step))
            self._take()
            yield step == n

    def columns(self) -> Mapping[Column, Any]:
        """Return time, temperature and so on of the present step, the columns of its frame."""
        momenta = self._integrator.momenta
        return {
            TIME: self._step * self._options.timestep,
            TEMPERATURE: self._averages.last.temperature,
            VELOCITIES: momenta.values / momenta.masses * fs,
        }

    def results(self) -> Mapping[str, Any]:
        """Return averages and last values, see ``Averages.results``."""
        return {
            **self._averages.results(self._atoms.get_masses(), self._options.cell != "fixed"),
            "degrees_of_freedom": self._freedom.n,
        }

    def remember(self) -> Mapping[str, Any]:
        """Return the state of integrator, thermostat and averages."""
        return {
            "rng": self._rng.bit_generator.state,
            "integrator": self._integrator.remember(),
            "averages": self._averages.remember(),
            "step": self._step,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned."""
        self._rng.bit_generator.state = memory["rng"]
        self._integrator.recall(memory["integrator"])
        self._averages.recall(memory["averages"])
        self._step = memory["step"]

    def renew(self) -> None:
        """Count the change of the energy with the new potential as heat, so that it is no drift.

        Means are those of the new potential.
        """
        integrator = self._integrator
        integrator.begin()
        now = integrator.conserved(integrator.momenta.kinetic_energy)
        integrator.heat += now - self._averages.conserved
        self._averages.restart()

    def _take(self) -> None:
        """Add the present step to the averages."""
        integrator = self._integrator
        kinetic = integrator.momenta.kinetic_energy
        atoms, potential = self._atoms, self._atoms.calc.results["energy"]
        stress, pressure = atoms.calc.results.get("stress"), np.nan
        volume = volume_of(atoms.cell.array)
        if stress is not None:
            x, y, z = stress[:3].tolist()
            pressure = (2 * kinetic / volume - x - y - z) / 3 / GPa
        temperature = integrator.momenta.temperature(kinetic)
        sample = Sample(temperature, pressure, potential, volume if atoms.pbc.all() else np.nan)
        self._averages.add(self._step, sample, integrator.conserved(kinetic))

    def _temperature(self, step: int) -> float:
        return _at(self._options.temperature, step, self._options.steps)

    def _pressure(self, step: int) -> float:
        return _at(self._options.pressure_GPa, step, self._options.steps) * GPa


def _ends(ramp: Ramp) -> tuple[float, float]:
    return ramp if isinstance(ramp, tuple) else (ramp, ramp)


def _at(ramp: Ramp, step: int, steps: int) -> float:
    """Return the value of a ramp at a step."""
    begin, end = _ends(ramp)
    return begin + (end - begin) * step / steps if steps and begin != end else begin
