"""Thermal expansion in the quasi-harmonic approximation."""

from dataclasses import dataclass

import numpy as np
from ase.eos import EquationOfState as Fit
from ase.units import GPa

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.elastic import strained
from aiida_mlal.ml.properties.harmonic import MEV_PER_KJ_MOL, IMAGINARY_THz, ZERO_THz, harmonic


@dataclass(frozen=True)
class ThermalExpansion(CrystalProperty):
    """Volume and bulk modulus at temperatures, by phonons at several volumes.

    At each temperature an equation of state is fitted to energies and vibrational free energies;
    the shape of the cell is kept.

    Attributes
    ----------
    temperature
        In K, of the numbers; curves go from 0 K to a bit above it.
    compressed, expanded
        Relative changes of the volume, from the smallest to the largest one.
    n
        Number of volumes.
    length, displacement, mesh
        Of the phonons, as for ``phonons``.
    """

    temperature: float = 300.0
    compressed: float = 0.02
    expanded: float = 0.06
    n: int = 7
    length: float = 10.0
    displacement: float = 0.01
    mesh: float = 40.0

    def __post_init__(self) -> None:
        """Refuse too few volumes for the four parameters, and those that are none."""
        check_positive(
            self, "temperature", "compressed", "expanded", "length", "displacement", "mesh"
        )
        if self.n < 5:
            raise ValueError(f"expected 5 volumes or more, got {self.n}")

    def of(self, crystal: Crystal) -> Found:
        """Compute phonons at each volume, and minimise the free energy at each temperature."""
        temperatures = np.linspace(0, 1.1 * self.temperature, 56)
        volumes, energies, free, said = [], [], [], []
        for change in np.linspace(-self.compressed, self.expanded, self.n):
            scaled = strained(crystal.conventional, ((1 + change) ** (1 / 3) - 1) * np.eye(3))
            cell = crystal.evaluator.relax(scaled, "thermal_expansion")
            phonons = harmonic(
                cell.atoms,
                crystal.symmetry.centring,
                crystal.evaluator,
                self.length,
                self.displacement,
                "thermal_expansion",
            )
            phonons.run_mesh(self.mesh)
            phonons.run_thermal_properties(temperatures=temperatures, cutoff_frequency=ZERO_THz)
            lowest, n_primitive = phonons.mesh.frequencies.min(), len(phonons.primitive)
            volumes.append(scaled.get_volume() / len(scaled))
            energies.append(cell.energy / len(scaled))
            free.append(phonons.thermal_properties.free_energy * MEV_PER_KJ_MOL / 1e3 / n_primitive)
            if lowest < -IMAGINARY_THz:
                said.append(
                    f"at {volumes[-1]:.4g} Å³/atom there are imaginary frequencies up to "
                    f"{-lowest:.3g} THz, which the free energy leaves out"
                )
        fitted = [self._fit(volumes, energies + one) for one in np.array(free).T]
        volume, bulk = np.array(fitted).T
        expansion = np.gradient(np.log(volume), temperatures)
        here = temperatures <= self.temperature * (1 + 1e-9)
        if not (min(volumes) < volume[here].min() and volume[here].max() < max(volumes)):
            said.append("the volume leaves the range of volumes: give a wider one")

        def at(values: np.ndarray) -> float:
            return float(np.interp(self.temperature, temperatures, values))

        name = f"{self.temperature:g}K"
        return Found(
            {
                "volume_0K_A3_per_atom": float(volume[0]),
                f"volume_{name}_A3_per_atom": at(volume),
                f"linear_expansion_{name}_1e-6_per_K": at(expansion) * 1e6 / 3,
                f"bulk_modulus_{name}_GPa": at(bulk) / GPa,
            },
            {
                "temperature_K": temperatures,
                "volume_A3_per_atom": volume,
                "linear_expansion_1e-6_per_K": expansion * 1e6 / 3,
                "bulk_modulus_GPa": bulk / GPa,
            },
            said,
        )

    def _fit(self, volumes: list[float], energies: np.ndarray) -> tuple[float, float]:
        """Return equilibrium volume and bulk modulus, in Å³ and eV/Å³."""
        try:
            volume, _, bulk = Fit(volumes, energies, eos="vinet").fit(warn=False)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"free energies make no equation of state: {error}") from error
        return float(volume), float(bulk)
