"""What takes the steps of molecular dynamics: the integrators of this package, or LAMMPS."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.units import fs

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.engines.base import EngineName
from aiida_mlal.ml.simulation.bias import Bias
from aiida_mlal.ml.simulation.integrator import CellIntegrator, Integrator
from aiida_mlal.ml.simulation.momenta import Freedom, Momenta
from aiida_mlal.ml.simulation.thermostats import THERMOSTATS, Thermostat

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.md import MolecularDynamics


@dataclass(frozen=True)
class Mover(ABC):
    """Takes the steps of molecular dynamics. A subclass is its own options.

    Attributes
    ----------
    computes
        What computes the forces: ``numba``, ``torch`` or ``auto``.
    """

    computes: EngineName = "auto"

    NAME: ClassVar[str]

    @property
    def identity(self) -> Mapping[str, Any]:
        """What has to be the same when a run goes on from a state, as JSON values."""
        return {"engine": self.NAME}

    def check(self, options: "MolecularDynamics") -> None:  # noqa: B027
        """Raise ``ValueError`` for options that it cannot follow; by default it follows all."""

    def check_structures(self, structures: Configurations) -> None:  # noqa: B027
        """Raise ``ValueError`` for structures that it cannot move; by default it moves all."""

    @abstractmethod
    def integrator(
        self,
        options: "MolecularDynamics",
        atoms: Atoms,
        freedom: Freedom,
        kT: float,
        pressure: float,
        rng: np.random.Generator,
    ) -> Integrator:
        """Return what moves atoms that have an ``MLCalculator`` and momenta.

        Parameters
        ----------
        kT, pressure
            Of the first step, in eV and eV/Å³.
        rng
            Source of everything random.
        """


@dataclass(frozen=True)
class Own(Mover):
    """The integrators of this package, for atoms of ASE."""

    NAME: ClassVar[str] = "ase"

    def integrator(
        self,
        options: "MolecularDynamics",
        atoms: Atoms,
        freedom: Freedom,
        kT: float,
        pressure: float,
        rng: np.random.Generator,
    ) -> Integrator:
        """Return the integrator of a fixed or of a moving cell."""
        kind = THERMOSTATS.get(options.thermostat)

        def thermostat(time: float, momenta: Momenta) -> Thermostat:
            assert kind is not None
            return kind(momenta, time * fs, kT, rng)

        of_atoms = kind and partial(thermostat, options.thermostat_time)
        dt = options.timestep * fs
        if options.cell == "fixed":
            bias = Bias(options.bias, len(atoms)) if options.bias else None
            return Integrator(atoms, freedom, dt, of_atoms, bias)
        return CellIntegrator(
            atoms,
            freedom,
            dt,
            options.cell,
            options.cell_time * fs,
            kT,
            pressure,
            of_atoms,
            kind and partial(thermostat, options.cell_time),
        )
