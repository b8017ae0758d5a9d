"""Phonons: frequencies, density of states, harmonic free energy."""

from dataclasses import dataclass

import numpy as np
from ase.cell import Cell

from aiida_mlal.ml.options import check_not_negative, check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.harmonic import MEV_PER_KJ_MOL, IMAGINARY_THz, ZERO_THz, harmonic

N_PATH = 101
"""Points on the path through the Brillouin zone."""


@dataclass(frozen=True)
class Phonons(CrystalProperty):
    """Phonons in the harmonic approximation, by phonopy.

    Without the long-range field of charges: the splitting of optical modes at Γ of polar crystals
    is not in them. Imaginary frequencies are negative. The integral of the density of states is the
    number of modes, three for each atom of the primitive cell.

    Attributes
    ----------
    length
        Distance of opposite faces of the supercell in Å, at least.
    displacement
        Of the atoms in Å.
    mesh
        Length in Å that decides how many points of the Brillouin zone are summed over: along each
        reciprocal lattice vector, its length (without 2π) times this.
    temperature
        In K, of free energy, entropy and heat capacity.
    """

    length: float = 10.0
    displacement: float = 0.01
    mesh: float = 40.0
    temperature: float = 300.0

    def __post_init__(self) -> None:
        """Refuse lengths that are none."""
        check_positive(self, "length", "displacement", "mesh")
        check_not_negative(self, "temperature")

    def of(self, crystal: Crystal) -> Found:
        """Displace atoms, and diagonalise on a mesh and along a path."""
        phonons = harmonic(
            crystal.conventional,
            crystal.symmetry.centring,
            crystal.evaluator,
            self.length,
            self.displacement,
            "phonons",
        )
        n_atoms = len(phonons.primitive)
        phonons.run_mesh(self.mesh)
        mesh = phonons.mesh
        phonons.run_total_dos()
        phonons.run_thermal_properties(
            temperatures=[0.0, self.temperature], cutoff_frequency=ZERO_THz
        )
        thermal, dos = phonons.thermal_properties, phonons.total_dos
        path = Cell(np.array(phonons.primitive.cell)).bandpath(npoints=N_PATH)
        phonons.run_band_structure([path.kpts])
        bands = np.array(phonons.band_structure.frequencies[0])

        said, lowest = [], float(mesh.frequencies.min())
        if lowest < -IMAGINARY_THz:
            q = mesh.qpoints[np.unravel_index(mesh.frequencies.argmin(), mesh.frequencies.shape)[0]]
            said.append(
                f"dynamically unstable: imaginary frequencies up to {-lowest:.3g} THz, at q = "
                f"({', '.join(f'{x:.3g}' for x in q)}) of the primitive cell; free energies leave "
                "these modes out"
            )
        at = f"{self.temperature:g}K"
        numbers: dict[str, float | np.ndarray] = {
            "lowest_frequency_THz": lowest,
            "highest_frequency_THz": float(mesh.frequencies.max()),
            "zero_point_energy_meV_per_atom": thermal.free_energy[0] * MEV_PER_KJ_MOL / n_atoms,
            f"free_energy_{at}_meV_per_atom": thermal.free_energy[1] * MEV_PER_KJ_MOL / n_atoms,
            f"entropy_{at}_J_per_K_mol": thermal.entropy[1] / n_atoms,
            f"heat_capacity_{at}_J_per_K_mol": thermal.heat_capacity[1] / n_atoms,
        }
        for label, point in path.special_points.items():
            if label != "G":
                phonons.run_qpoints([point])
                numbers[f"{label}_THz"] = np.sort(phonons.qpoints.frequencies[0])
        distances = path.get_linear_kpoint_axis()[0]
        return Found(
            {name: value if np.ndim(value) else float(value) for name, value in numbers.items()},
            {
                "path_per_A": np.asarray(distances),
                "bands_THz": bands,
                "frequency_THz": np.array(dos.frequency_points),
                "density_per_THz": np.array(dos.dos),
            },
            said,
        )
