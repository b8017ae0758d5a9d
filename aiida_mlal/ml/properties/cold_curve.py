"""Energies of a crystal far from equilibrium, without relaxation."""

from dataclasses import dataclass

import numpy as np

from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.elastic import strained

WIGGLE_eV = 1e-3
"""By less the energy may go up and down."""


@dataclass(frozen=True)
class ColdCurve(CrystalProperty):
    """Energy of a crystal under large compression and dilatation, to see if it makes sense there.

    As figure 4 of Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), and beyond. A sound
    potential has one minimum; one that falls into a hole under compression fails at high
    temperature.

    Attributes
    ----------
    shortest, longest
        Lengths, as parts of those at equilibrium.
    n
        Number of lengths.
    """

    shortest: float = 0.8
    longest: float = 1.3
    n: int = 26

    def __post_init__(self) -> None:
        """Refuse lengths that are no range around equilibrium."""
        if not 0 < self.shortest < 1 < self.longest:
            raise ValueError(
                f"expected shortest below and longest above 1, got {self.shortest:g} and "
                f"{self.longest:g}"
            )
        if self.n < 3:
            raise ValueError(f"expected 3 lengths or more, got {self.n}")

    def of(self, crystal: Crystal) -> Found:
        """Scale the cell, and count the minima."""
        atoms = crystal.atoms
        if not atoms.pbc.all():
            raise ValueError(f"expected a crystal, {atoms.symbols} is not periodic everywhere")
        scales = np.linspace(self.shortest, self.longest, self.n)
        evaluated = [
            crystal.evaluator.evaluate(strained(atoms, (s - 1) * np.eye(3)), "cold_curve")
            for s in scales
        ]
        energies = np.array([one.energy for one in evaluated]) / len(atoms)
        volumes = scales**3 * atoms.get_volume() / len(atoms)
        at_equilibrium = int(np.abs(scales - 1).argmin())
        return Found(
            {
                "energy_at_shortest_eV_per_atom": float(energies[0] - crystal.energy_per_atom),
                "energy_at_longest_eV_per_atom": float(energies[-1] - crystal.energy_per_atom),
            },
            {"volume_A3_per_atom": volumes, "energy_eV_per_atom": energies},
            holes(volumes, energies, at_equilibrium, "compression", "Å³/atom"),
        )


def holes(x: np.ndarray, energies: np.ndarray, best: int, towards: str, unit: str) -> list[str]:
    """Say where energies go below that of the minimum, or fall from there towards small ``x``.

    Parameters
    ----------
    best
        Which one is the minimum.
    """
    said, lowest = [], energies[best]
    if energies.min() < lowest - WIGGLE_eV:
        said.append(
            f"the energy goes {lowest - energies.min():.3g} eV below that of the minimum, at "
            f"{x[energies.argmin()]:.3g} {unit}"
        )
    falling = np.flatnonzero(energies[:best] < energies[1 : best + 1] - WIGGLE_eV)
    if len(falling):
        said.append(
            f"a hole: the energy falls under {towards}, below {x[falling[-1] + 1]:.3g} {unit}"
        )
    return said
