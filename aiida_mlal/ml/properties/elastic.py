"""Elastic constants from stresses of strained cells."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import GPa
from jaxtyping import Float

from aiida_mlal.ml.options import check_positive
from aiida_mlal.ml.properties.base import CrystalProperty, Found
from aiida_mlal.ml.properties.crystal import Crystal
from aiida_mlal.ml.properties.stiffness import (
    Averages,
    Matrix,
    Stiffness,
    independent,
    smallest_eigenvalue,
    strain_of,
    symmetrised,
    voigt_of_strain,
    voigt_of_stress,
)

ASYMMETRIC = 0.02
"""Part of the largest constant by which others may be at odds with the symmetry."""


@dataclass(frozen=True)
class Elastic(CrystalProperty):
    """Elastic constants, their averages over polycrystals, and Born's stability.

    Derivatives of the stress by the strain, by central differences, in the axes of the conventional
    cell of spglib: of a cubic crystal the edges of the cube, of a hexagonal one a along x and c
    along z. The smallest eigenvalue is that of the tensor of rank four (Kelvin's notation), in
    which shears count twice: of a cubic crystal the smallest of C11 - C12, 2 C44 and C11 + 2 C12.

    Attributes
    ----------
    strain
        Size of the strains, in both directions.
    relax_atoms
        Whether atoms move to where forces vanish in the strained cells; without it the constants
        are those of clamped ions.
    use_symmetry
        Whether only those strains are computed whose images under the point group give all others:
        two for a cubic crystal. Otherwise all six are, and it is said if the constants are at odds
        with the symmetry.
    """

    strain: float = 0.005
    relax_atoms: bool = True
    use_symmetry: bool = True

    def __post_init__(self) -> None:
        """Refuse strains that are none, or tear the crystal apart."""
        check_positive(self, "strain")
        if self.strain > 0.1:
            raise ValueError(f"expected a strain of 0.1 or less, got {self.strain:g}")

    def of(self, crystal: Crystal) -> Found:
        """Strain the cell, and solve for the constants."""
        group = crystal.symmetry.rotations
        images = group if self.use_symmetry else np.eye(3)[None]
        strains, stresses, said = [], [], []
        for voigt in generating(images):
            strain = strain_of(voigt)
            slope, unsettled = self._slope(crystal, strain)
            said += unsettled
            for r in images:
                strains.append(voigt_of_strain(r @ strain @ r.T))
                stresses.append(voigt_of_stress(r @ slope @ r.T))
        solved = np.linalg.lstsq(np.array(strains), np.array(stresses), rcond=None)[0].T / GPa
        stiffness = symmetrised((solved + solved.T) / 2, group)
        odd = np.abs(np.array(strains) @ stiffness - np.array(stresses) / GPa).max()
        if odd > ASYMMETRIC * np.abs(stiffness).max():
            said.append(
                f"stresses are at odds with the symmetry of the crystal by {odd:.3g} GPa for a "
                "strain of 1: what computes them, or the relaxation, does not have it"
            )
        return self._told(stiffness, odd, independent(group), said)

    def _slope(self, crystal: Crystal, strain: Matrix) -> tuple[Matrix, list[str]]:
        """Return the derivative of the stress by the size of a strain, in eV/Å³.

        Both are in the axes of the conventional cell.
        """
        r, evaluator = crystal.symmetry.frame, crystal.evaluator
        ends, said = [], []
        for size in (self.strain, -self.strain):
            atoms = strained(crystal.atoms, size * r.T @ strain @ r)
            moved = self.relax_atoms and len(atoms) > 1
            deformed = (evaluator.relax if moved else evaluator.evaluate)(atoms, "elastic")
            if not deformed.converged:
                said.append(
                    f"atoms of a strained cell are not relaxed: forces of {deformed.fmax:.2g} eV/Å "
                    "are left"
                )
            if not np.isfinite(deformed.stress).all():
                raise ValueError("the calculator gives no stress")
            ends.append(deformed.stress)
        return r @ (ends[0] - ends[1]) @ r.T / (2 * self.strain), said

    def _told(
        self, c: Stiffness, odd: float, constants: list[tuple[int, int]], said: list[str]
    ) -> Found:
        mean, lowest = Averages.of(c), smallest_eigenvalue(c)
        if not lowest > 0:
            said.append(
                f"elastically unstable by Born's criterion: the smallest eigenvalue of the "
                f"stiffness is {lowest:.4g} GPa"
            )
        numbers: dict[str, float | np.ndarray] = {
            f"C{i + 1}{j + 1}_GPa": float(c[i, j]) for i, j in constants
        }
        numbers |= {
            "stiffness_GPa": c,
            "smallest_eigenvalue_GPa": lowest,
            "asymmetry_GPa": float(odd),
            "bulk_modulus_voigt_GPa": mean.bulk_voigt,
            "bulk_modulus_reuss_GPa": mean.bulk_reuss,
            "bulk_modulus_GPa": mean.bulk,
            "shear_modulus_voigt_GPa": mean.shear_voigt,
            "shear_modulus_reuss_GPa": mean.shear_reuss,
            "shear_modulus_GPa": mean.shear,
            "young_modulus_GPa": mean.young,
            "poisson_ratio": mean.poisson,
            "universal_anisotropy": mean.anisotropy,
        }
        return Found(numbers, warnings=list(dict.fromkeys(said)))


def generating(
    rotations: Float[np.ndarray, "operations 3 3"],
) -> list[Float[np.ndarray, " 6"]]:
    """Return as few of the six strains as have, with their images, all strains among their sums."""
    chosen: list[np.ndarray] = []
    spanned = np.zeros((0, 6))
    for voigt in np.eye(6):
        images = np.array([voigt_of_strain(r @ strain_of(voigt) @ r.T) for r in rotations])
        more = np.concatenate([spanned, images])
        if np.linalg.matrix_rank(more, tol=1e-6) > np.linalg.matrix_rank(spanned, tol=1e-6):
            chosen.append(voigt)
            spanned = more
    return chosen


def strained(atoms: Atoms, strain: Matrix) -> Atoms:
    """Return atoms whose cell and positions are strained together."""
    deformed = atoms.copy()
    deformed.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return deformed
