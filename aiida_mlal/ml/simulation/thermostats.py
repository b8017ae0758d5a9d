"""Thermostats: their action on momenta in a time step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import copysign, exp, sqrt
from typing import Any, ClassVar, Literal

import numpy as np

from aiida_mlal.ml.simulation.momenta import Momenta

ThermostatName = Literal["none", "langevin", "nose_hoover", "bussi", "berendsen"]


class Thermostat(ABC):
    """Brings momenta to a temperature.

    Parameters
    ----------
    momenta
        What it acts on.
    time
        Its time constant, in the units of ASE.
    kT
        At the beginning, in eV.
    rng
        Source of everything random.
    """

    rotates: ClassVar[bool] = False
    """Whether a molecule that does not rotate begins to."""

    canonical: ClassVar[bool] = True
    """Whether it leads to the canonical distribution."""

    def __init__(self, momenta: Momenta, time: float, kT: float, rng: np.random.Generator) -> None:
        self.momenta, self.time, self.rng = momenta, time, rng

    @abstractmethod
    def act(self, kT: float, dt: float) -> None:
        """Change the momenta as in a time ``dt`` at a temperature."""

    def remember(self) -> Mapping[str, Any]:
        """Return its internal state, random numbers aside."""
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:  # noqa: B027
        """Restore the state that ``remember`` returned."""


class Langevin(Thermostat):
    """Friction and noise, solved exactly (Ornstein-Uhlenbeck).

    Between two halves of a drift it is the integrator BAOAB of Leimkuhler and Matthews, J. Chem.
    Phys. 138, 174102 (2013). Where nothing is fixed the centre of mass stays at rest: friction and
    noise act in the space of momenta that sum to zero, which leaves their distribution right. The
    time constant is the inverse of the friction.
    """

    rotates = True

    def act(self, kT: float, dt: float) -> None:
        """Damp the momenta and add noise."""
        kept = exp(-dt / self.time)
        values = self.momenta.values
        values *= kept
        values += sqrt(kT * (1 - kept * kept)) * self.momenta.noise(self.rng)


class Bussi(Thermostat):
    """Canonical sampling by velocity rescaling: Bussi et al., J. Chem. Phys. 126, 014101 (2007)."""

    def act(self, kT: float, dt: float) -> None:
        """Scale the momenta to a kinetic energy drawn as of equation A7."""
        n, kinetic = self.momenta.n, self.momenta.kinetic_energy
        first, others = self.rng.standard_normal(), 2 * self.rng.standard_gamma((n - 1) / 2)
        if not kinetic > 0:
            return
        kept = exp(-dt / self.time)
        share = (1 - kept) * 0.5 * kT / kinetic
        along = sqrt(kept) + first * sqrt(share)  # its sign is that of the factor
        self.momenta.values[:] *= copysign(sqrt(along * along + share * others), along)


class Berendsen(Thermostat):
    """Weak coupling to a bath: Berendsen et al., J. Chem. Phys. 81, 3684 (1984).

    Its temperature fluctuates too little; the distribution is not the canonical one.
    """

    canonical = False
    LIMITS = 0.9, 1.1
    """Of the factor in a step."""

    def act(self, kT: float, dt: float) -> None:
        """Scale the momenta towards the temperature."""
        kinetic = self.momenta.kinetic_energy
        if not kinetic > 0:
            return
        wanted = 0.5 * self.momenta.n * kT / kinetic
        least, most = self.LIMITS
        factor = sqrt(max(0.0, 1 + dt / self.time * (wanted - 1)))
        self.momenta.values[:] *= min(max(factor, least), most)


class NoseHooverChain(Thermostat):
    """A chain of thermostats: Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992).

    Integrated as in Martyna et al., Mol. Phys. 87, 1117 (1996), with the coefficients of fourth
    order of Suzuki and Yoshida.
    """

    LENGTH = 3
    _THIRD = 2 ** (1 / 3)
    WEIGHTS = (1 / (2 - _THIRD), -_THIRD / (2 - _THIRD), 1 / (2 - _THIRD))

    def __init__(self, momenta: Momenta, time: float, kT: float, rng: np.random.Generator) -> None:
        super().__init__(momenta, time, kT, rng)
        heaviest = momenta.n * kT * time**2
        self._masses = [heaviest] + [kT * time**2] * (self.LENGTH - 1)
        self._chain = [0.0] * self.LENGTH

    def act(self, kT: float, dt: float) -> None:
        """Let the chain and the momenta exchange heat."""
        twice, factor = 2 * self.momenta.kinetic_energy, 1.0
        for weight in self.WEIGHTS:
            h = weight * dt
            for j in reversed(range(self.LENGTH)):
                self._push(j, twice, kT, h)
            scale = exp(-h * self._chain[0] / self._masses[0])
            factor *= scale
            twice *= scale * scale
            for j in range(self.LENGTH):
                self._push(j, twice, kT, h)
        self.momenta.values[:] *= factor

    def _push(self, j: int, twice: float, kT: float, h: float) -> None:
        """Change the momentum of a link by half a step, damped by the next link."""
        p, masses = self._chain, self._masses
        damping = exp(-h / 4 * p[j + 1] / masses[j + 1]) if j + 1 < self.LENGTH else 1.0
        drive = p[j - 1] ** 2 / masses[j - 1] - kT if j else twice - self.momenta.n * kT
        p[j] = (p[j] * damping + h / 2 * drive) * damping

    def remember(self) -> Mapping[str, Any]:
        """Return the momenta of the chain."""
        return {"chain": list(self._chain)}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the momenta of the chain."""
        self._chain = list(memory["chain"])


THERMOSTATS: Mapping[ThermostatName, type[Thermostat]] = {
    "langevin": Langevin,
    "nose_hoover": NoseHooverChain,
    "bussi": Bussi,
    "berendsen": Berendsen,
}
"""By name; ``none`` is none."""
