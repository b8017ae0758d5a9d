"""Time steps of molecular dynamics, at constant or changing cell."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Float
from scipy.special import exprel

from aiida_mlal.ml.simulation.bias import Bias
from aiida_mlal.ml.simulation.cell import volume_of
from aiida_mlal.ml.simulation.momenta import Freedom, Momenta
from aiida_mlal.ml.simulation.thermostats import Thermostat


class Integrator:
    """Takes time steps of atoms.

    A step is half a kick by forces, half a drift, what the thermostat does in a whole step, the
    other half of the drift, and of the kick: without a thermostat velocity Verlet, with friction
    and noise BAOAB, and for any other one the middle scheme of Z. Zhang, X. Liu, K. Yan, M. E.
    Tuckerman and J. Liu, J. Phys. Chem. A 123, 6056 (2019). Energy and forces are computed once.

    Parameters
    ----------
    atoms
        With an ``MLCalculator`` and momenta.
    freedom
        What of the momenta is free.
    timestep
        In the units of ASE.
    thermostat
        Makes that of the atoms; None for none.
    bias
        Adds to energy and forces; None for none.

    Attributes
    ----------
    heat
        Energy that the atoms got from thermostats and from changes of pressure and bias, in eV.
    """

    def __init__(
        self,
        atoms: Atoms,
        freedom: Freedom,
        timestep: float,
        thermostat: Callable[[Momenta], Thermostat] | None = None,
        bias: Bias | None = None,
    ) -> None:
        self.atoms, self.dt, self._bias = atoms, timestep, bias
        self.masses = freedom.masses
        self.momenta = freedom.momenta(atoms.arrays["momenta"])
        self._free = None if freedom.free.all() else freedom.free.astype(float)
        self._thermostat = thermostat(self.momenta) if thermostat and self.momenta.n else None
        self.heat = 0.0

    def begin(self) -> None:
        """Compute the forces of the first kick, and what else it needs."""
        self.atoms.calc.calculate(self.atoms)
        if self._bias is not None:
            self._bias.resume(self.atoms.calc.members)

    def step(self, kT: float, pressure: float) -> None:
        """Take a step at a temperature (eV), and a pressure (eV/Å³) where the cell moves."""
        half = self.dt / 2
        self._kick(half)
        self._drift(half)
        self._bathe(kT)
        self._drift(half)
        self._compute()
        self._kick(half)

    def conserved(self, kinetic: float) -> float:
        """Return the conserved quantity: total energy less the heat of the thermostat, in eV.

        ``kinetic`` is that of the atoms. For a chain of thermostats it is the energy of the
        extended system, for the others the effective energy of Bussi et al., J. Chem. Phys. 126,
        014101 (2007), section II.D.
        """
        energy: float = self.atoms.calc.results["energy"]
        biased = energy if self._bias is None else energy + self._bias.energy
        return biased + kinetic - self.heat

    def remember(self) -> Mapping[str, Any]:
        """Return the state of integrator and thermostat, without atoms and random numbers."""
        bias = {} if self._bias is None else self._bias.remember()
        return {"heat": self.heat, "thermostat": _memory(self._thermostat), "bias": bias}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned."""
        self.heat = memory["heat"]
        if self._thermostat is not None:
            self._thermostat.recall(memory["thermostat"])
        if self._bias is not None:
            self._bias.recall(memory["bias"])

    def _compute(self) -> None:
        calculator = self.atoms.calc
        calculator.calculate(self.atoms)
        if self._bias is not None:
            self.heat += self._bias.update(calculator.members, calculator.results["forces"])

    def _forces(self) -> Float[np.ndarray, "atoms 3"]:
        forces: np.ndarray = self.atoms.calc.results["forces"]
        if self._bias is not None:
            forces = forces + self._bias.forces
        return forces if self._free is None else forces * self._free

    def _kick(self, t: float) -> None:
        self.momenta.values[:] += t * self._forces()

    def _drift(self, t: float) -> None:
        self.atoms.positions += t * self.momenta.values / self.masses

    def _bathe(self, kT: float) -> None:
        if self._thermostat is not None:
            self.heat += _acting(self._thermostat, kT, self.dt)


class CellIntegrator(Integrator):
    """Takes time steps of atoms and cell.

    The equations of motion of Martyna, Tobias and Klein, J. Chem. Phys. 101, 4177 (1994), for a
    strain rate that is symmetric: of all components, of those along the axes x, y and z, or of the
    volume alone. Strain rate and velocities have a thermostat of the same kind each.

    Parameters
    ----------
    moves
        What of the cell moves.
    time
        Time constant of the cell in the units of ASE: it gives the cell its mass.
    kT, pressure
        Temperature (eV) and pressure (eV/Å³) at the beginning.
    thermostat_of_cell
        Makes that of the cell; None for none.
    """

    def __init__(
        self,
        atoms: Atoms,
        freedom: Freedom,
        timestep: float,
        moves: Literal["full", "axes", "volume"],
        time: float,
        kT: float,
        pressure: float,
        thermostat: Callable[[Momenta], Thermostat] | None = None,
        thermostat_of_cell: Callable[[Momenta], Thermostat] | None = None,
    ) -> None:
        super().__init__(atoms, freedom, timestep, thermostat)
        n = max(1, freedom.n)
        self._n, self._mass = n, (n + 3) * kT * time**2 / 3
        self._project, n_cell = PROJECTIONS[moves]
        masses = np.full((3, 1), self._mass)
        self.cell = Momenta(np.zeros((3, 3)), masses, n_cell, self._project)
        self._of_cell = thermostat_of_cell(self.cell) if thermostat_of_cell else None
        self.pressure = pressure

    def step(self, kT: float, pressure: float) -> None:
        """Take a step at a temperature (eV) and a pressure (eV/Å³)."""
        self.heat += (pressure - self.pressure) * self._volume
        self.pressure = pressure
        half = self.dt / 2
        self._push(half)
        super().step(kT, pressure)
        self._push(half)

    def conserved(self, kinetic: float) -> float:
        """Return the conserved quantity: enthalpy and kinetic energies less heat, in eV."""
        return super().conserved(kinetic) + self.cell.kinetic_energy + self.pressure * self._volume

    def remember(self) -> Mapping[str, Any]:
        """Return the state of integrator and thermostat, without atoms and random numbers."""
        cell = {"momenta": self.cell.values.copy(), "thermostat": _memory(self._of_cell)}
        return {**super().remember(), "pressure": self.pressure, "cell": cell}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned."""
        super().recall(memory)
        self.pressure = memory["pressure"]
        self.cell.values[:] = memory["cell"]["momenta"]
        if self._of_cell is not None:
            self._of_cell.recall(memory["cell"]["thermostat"])

    @property
    def _volume(self) -> float:
        return volume_of(self.atoms.cell.array)

    def _push(self, t: float) -> None:
        """Kick the momenta of the cell by the difference of internal and external pressure."""
        p = self.momenta.values
        kinetic = p.T @ (p / self.masses)
        stress = voigt_6_to_full_3x3_stress(self.atoms.calc.results["stress"])
        drive = kinetic - self._volume * (stress + self.pressure * np.eye(3))
        drive += np.trace(kinetic) / self._n * np.eye(3)
        self._project(drive)
        self.cell.values[:] += t * drive

    def _kick(self, t: float) -> None:
        rates, axes = np.linalg.eigh(self.cell.values / self._mass)
        damping = t * (rates + rates.sum() / self._n)
        p = self.momenta.values @ axes * np.exp(-damping)
        p += t * (self._forces() @ axes) * exprel(-damping)
        self.momenta.values[:] = p @ axes.T

    def _drift(self, t: float) -> None:
        rates, axes = np.linalg.eigh(self.cell.values / self._mass)
        growth, p = np.exp(t * rates), self.momenta.values / self.masses
        moved = self.atoms.positions @ axes * growth + t * (p @ axes) * exprel(t * rates)
        self.atoms.positions[:] = moved @ axes.T
        self.atoms.cell[:] = self.atoms.cell.array @ axes * growth @ axes.T

    def _bathe(self, kT: float) -> None:
        super()._bathe(kT)
        if self._of_cell is not None:
            self.heat += _acting(self._of_cell, kT, self.dt)


def _full(strain: np.ndarray) -> None:
    strain[:] = (strain + strain.T) / 2


def _axes(strain: np.ndarray) -> None:
    strain[:] = np.diag(np.diag(strain))


def _volume_alone(strain: np.ndarray) -> None:
    strain[:] = np.trace(strain) / 3 * np.eye(3)


PROJECTIONS: Mapping[str, tuple[Callable[[np.ndarray], None], int]] = {
    "full": (_full, 6),
    "axes": (_axes, 3),
    "volume": (_volume_alone, 1),
}
"""What is left of a strain where only some of the cell moves, and in how many components."""


def _acting(thermostat: Thermostat, kT: float, dt: float) -> float:
    """Let a thermostat act, and return the energy that it gave."""
    before = thermostat.momenta.kinetic_energy
    thermostat.act(kT, dt)
    return thermostat.momenta.kinetic_energy - before


def _memory(thermostat: Thermostat | None) -> Mapping[str, Any]:
    return {} if thermostat is None else thermostat.remember()
