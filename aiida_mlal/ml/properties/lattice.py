"""Lattice constants, density and energy at equilibrium."""

from dataclasses import dataclass

from ase.units import kg, m

from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal


@dataclass(frozen=True)
class Lattice(CrystalProperty):
    """Lattice constants of the conventional cell (of spglib) at equilibrium, and its energy.

    They are the same from a primitive cell as from a supercell, or one in another orientation.
    """

    def of(self, crystal: Crystal) -> Found:
        """Read them from the relaxed structure."""
        lengths = crystal.conventional.cell.cellpar()
        atoms = crystal.atoms
        numbers = dict(zip(("a_A", "b_A", "c_A"), map(float, lengths)))
        numbers |= dict(zip(("alpha_deg", "beta_deg", "gamma_deg"), map(float, lengths[3:])))
        numbers |= {
            "volume_A3_per_atom": atoms.get_volume() / len(atoms),
            "density_g_per_cm3": atoms.get_masses().sum() / atoms.get_volume() / _G_PER_CM3,
            "energy_eV_per_atom": crystal.energy_per_atom,
            "residual_force_eV_per_A": crystal.relaxed.fmax,
            "residual_stress_GPa": crystal.relaxed.smax_GPa,
        }
        return Found({name: float(value) for name, value in numbers.items()})


_G_PER_CM3 = 1e-3 * kg / (1e-2 * m) ** 3
"""In amu/Å³."""
