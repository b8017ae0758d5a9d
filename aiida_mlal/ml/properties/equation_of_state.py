"""The equation of state: equilibrium volume and bulk modulus from energies."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.eos import EquationOfState as Fit
from ase.units import GPa

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.elastic import strained
from aiida_mlal.ml.properties.evaluator import Evaluated

MISFIT = 0.01
"""Part of the range of energies that the fit may miss."""

Form = Literal["birchmurnaghan", "vinet", "murnaghan", "birch", "pouriertarantola"]


@dataclass(frozen=True)
class EquationOfState(CrystalProperty):
    """Equation of state, fitted to energies at several volumes (by ASE).

    Attributes
    ----------
    form
        Of the equation, as ASE calls it.
    volumes
        Largest relative change of the volume.
    n
        Number of volumes.
    relax
        What is relaxed at each volume: ``atoms``, the ``shape`` of the cell with them, or
        ``nothing``.
    """

    form: Form = "birchmurnaghan"
    volumes: float = 0.06
    n: int = 9
    relax: Literal["nothing", "atoms", "shape"] = "atoms"

    def __post_init__(self) -> None:
        """Refuse too few volumes for the four parameters, and those that are none."""
        check_positive(self, "volumes")
        if self.n < 5:
            raise ValueError(f"expected 5 volumes or more, got {self.n}")
        if self.volumes >= 0.5:
            raise ValueError(f"expected volumes below 0.5, got {self.volumes:g}")

    def of(self, crystal: Crystal) -> Found:
        """Compute energies, fit them, and say if the fit is none."""
        atoms, n_atoms = crystal.atoms, len(crystal.atoms)
        if not atoms.pbc.all():
            raise ValueError(f"expected a crystal, {atoms.symbols} is not periodic everywhere")
        volumes, energies, said = [], [], []
        for change in np.linspace(-self.volumes, self.volumes, self.n):
            compressed = strained(atoms, ((1 + change) ** (1 / 3) - 1) * np.eye(3))
            evaluated = self._compute(crystal, compressed)
            volumes.append(evaluated.atoms.get_volume() / n_atoms)
            energies.append(evaluated.energy / n_atoms)
            if not evaluated.converged:
                said.append(f"at {volumes[-1]:.4g} Å³/atom the structure is not relaxed")
        fit = Fit(volumes, energies, eos=self.form)
        try:
            volume, energy, bulk = fit.fit(warn=False)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"energies and volumes make no equation of state: {error}") from error
        parameters = fit.eos_parameters
        misfit = np.sqrt(np.mean((fit.func(np.array(volumes), *parameters) - energies) ** 2))
        if not min(volumes) < volume < max(volumes):
            said.append(f"the minimum, at {volume:.4g} Å³/atom, is outside of the volumes")
        if misfit > MISFIT * np.ptp(energies):
            said.append(f"the fit misses the energies by {1e3 * misfit:.3g} meV/atom")
        return Found(
            {
                "volume_A3_per_atom": float(volume),
                "energy_eV_per_atom": float(energy),
                "bulk_modulus_GPa": float(bulk / GPa),
                "bulk_modulus_derivative": float(parameters[2]),
                "misfit_meV_per_atom": float(1e3 * misfit),
            },
            {
                "volume_A3_per_atom": np.array(volumes),
                "energy_eV_per_atom": np.array(energies),
                "fitted_energy_eV_per_atom": fit.func(np.array(volumes), *parameters),
            },
            said,
        )

    def _compute(self, crystal: Crystal, atoms: Atoms) -> Evaluated:
        evaluator, purpose = crystal.evaluator, "equation_of_state"
        if self.relax == "shape":
            return evaluator.relax(atoms, purpose, "shape")
        if self.relax == "atoms" and len(atoms) > 1:
            return evaluator.relax(atoms, purpose)
        return evaluator.evaluate(atoms, purpose)
