"""Force constants by finite displacements, with phonopy."""

from typing import Any

import numpy as np
from ase import Atoms

from aiida_mlal.ml.properties.crystal import multiples
from aiida_mlal.ml.properties.evaluator import Evaluator

MEV_PER_KJ_MOL = 1e6 / 96485.33212
"""1 kJ/mol in meV."""

IMAGINARY_THz = 0.05
"""Imaginary frequencies above this are no noise."""

ZERO_THz = 0.01
"""Frequency from which a mode has a part in sums: at Γ three have none."""


def harmonic(
    cell: Atoms,
    centring: Any,
    evaluator: Evaluator,
    length: float,
    displacement: float,
    purpose: str,
) -> Any:
    """Return the ``Phonopy`` of a crystal with its force constants, symmetrised.

    Parameters
    ----------
    cell
        A conventional cell, at equilibrium but for a pressure.
    centring
        Its letter, from which phonopy knows the primitive cell.
    length
        Distance in Å of opposite faces of the supercell, at least.
    displacement
        Of the atoms, in Å.

    Raises
    ------
    ValueError
        If phonopy is not installed.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise ValueError(
            f"phonons want phonopy, which cannot be imported ({error}): pip install "
            "'aiida-mlal[phonons]'"
        ) from error
    unit = PhonopyAtoms(
        symbols=list(cell.symbols),
        cell=cell.cell.array,
        scaled_positions=cell.get_scaled_positions(),
        masses=cell.get_masses(),
    )
    phonons: Any = Phonopy(
        unit, np.diag(multiples(cell, length)), primitive_matrix=centring, symprec=1e-4
    )
    phonons.generate_displacements(distance=displacement)
    at_rest = evaluator.evaluate(_atoms(phonons.supercell), purpose).forces
    phonons.forces = np.array(
        [
            evaluator.evaluate(_atoms(displaced), purpose).forces - at_rest
            for displaced in phonons.supercells_with_displacements
        ]
    )
    phonons.produce_force_constants(show_drift=False)
    phonons.symmetrize_force_constants(show_drift=False)
    return phonons


def _atoms(cell: Any) -> Atoms:
    return Atoms(
        cell.symbols, scaled_positions=cell.scaled_positions, cell=np.array(cell.cell), pbc=True
    )
