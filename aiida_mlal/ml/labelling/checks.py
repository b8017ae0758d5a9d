"""Checks whether a label belongs to its structure and is fit to be learned from."""

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float

from aiida_mlal.ml.configurations import OK, Configurations
from aiida_mlal.ml.neighbours import check_lattice, closest_approach

FAILED, UNCONVERGED, UNPHYSICAL = "failed", "unconverged", "unphysical"


@dataclass(frozen=True)
class Limits:
    """Limits that a label has to keep to be learned from.

    Attributes
    ----------
    max_force
        Largest norm of a force on an atom in eV/Å.
    min_distance
        Smallest distance of two atoms, in units of the sum of their covalent radii.
    max_stress
        Largest size of a component of the stress in eV/Å³ (1 eV/Å³ are 160 GPa).
    max_energy
        Largest size of the energy per atom in eV.
    max_deviation
        How far the energy per atom in eV may be from what other labels let expect of the
        composition, unless these are spread as widely themselves.
    tolerance
        How far an atom may be, in Å, from where it was asked for.
    """

    max_force: float | None = 100.0
    min_distance: float | None = 0.4
    max_stress: float | None = 100.0
    max_energy: float | None = None
    max_deviation: float | None = 200.0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse limits that nothing fulfils."""
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise ValueError(f"expected {name} above 0, got {value}")


def check_geometry(structure: Configurations, limits: Limits) -> tuple[str, str]:
    """Return status ``ok`` or ``unphysical``, and why, of a structure that has no label yet."""
    if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cells).all()):
        return UNPHYSICAL, "positions or cell are not finite"
    if not len(structure.numbers):
        return UNPHYSICAL, "there are no atoms"
    closest, cell, pbc = np.inf, structure.cells[0], structure.pbc[0]
    try:
        check_lattice(cell, pbc)
        if limits.min_distance is not None:
            closest = closest_approach(structure.numbers, structure.positions, cell, pbc)
    except ValueError as error:
        return UNPHYSICAL, str(error)
    if limits.min_distance is not None and closest < limits.min_distance:
        return UNPHYSICAL, (
            f"two atoms are {closest:.2f} times the sum of their covalent radii apart, "
            f"less than {limits.min_distance:g}"
        )
    return OK, ""


def check_label(
    wanted: Configurations, labelled: Configurations, limits: Limits
) -> tuple[str, str]:
    """Return the status of a label and why: ``ok``, ``failed`` or ``unphysical``.

    Parameters
    ----------
    wanted
        The one structure that was to be labelled.
    labelled
        What was labelled, as one structure; its atoms may be in other periodic images.
    """
    problem = mismatch(wanted, labelled, limits.tolerance)
    if problem is not None:
        return FAILED, problem
    energy, forces = labelled.energies[0], labelled.forces
    if not np.isfinite(energy):
        return FAILED, "the energy is missing or not finite"
    if not np.isfinite(forces).all():
        return FAILED, "forces are missing or not finite"
    stress = labelled.stresses[0]
    if not (np.isfinite(stress).all() or np.isnan(stress).all()):
        return FAILED, "the stress is not finite"
    status, reason = check_geometry(wanted, limits)
    if status != OK:
        return status, reason
    bound = _largest_energy(wanted)
    if abs(energy) > bound:
        return (
            UNPHYSICAL,
            f"the energy is {energy:.3g} eV, and these atoms have {bound:.3g} at most",
        )
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(forces, axis=1)
    if limits.max_force is not None and norms.max(initial=0.0) > limits.max_force:
        atom = int(norms.argmax())
        return UNPHYSICAL, (
            f"the force on {_name(wanted, atom)} is {norms[atom]:.1f} eV/Å, more than "
            f"{limits.max_force:g}"
        )
    largest = np.abs(stress).max()
    if limits.max_stress is not None and largest > limits.max_stress:
        return UNPHYSICAL, f"the stress is {largest:.3g} eV/Å³, more than {limits.max_stress:g}"
    per_atom = abs(energy) / max(len(wanted.numbers), 1)
    if limits.max_energy is not None and per_atom > limits.max_energy:
        return UNPHYSICAL, (
            f"the energy is {per_atom:.1f} eV per atom, more than {limits.max_energy:g}"
        )
    return OK, ""


def mismatch(wanted: Configurations, labelled: Configurations, tolerance: float) -> str | None:
    """Say how one structure differs from another, periodic images of atoms aside."""
    if len(labelled.numbers) != len(wanted.numbers):
        return f"asked for {len(wanted.numbers)} atoms, got {len(labelled.numbers)}"
    different = np.flatnonzero(labelled.numbers != wanted.numbers)
    if len(different):
        atom = int(different[0])
        return f"asked for {_name(wanted, atom)}, got {_name(labelled, atom)}"
    if not (labelled.pbc == wanted.pbc).all():
        return f"asked for periodicity {wanted.pbc[0].tolist()}, got {labelled.pbc[0].tolist()}"
    periodic = wanted.pbc[0]
    stretch = np.abs(labelled.cells[0] - wanted.cells[0])[periodic].max(initial=0.0)
    if not stretch <= tolerance:
        return f"a lattice vector differs by {stretch:.2g} Å from what was asked for"
    moved = _nearest(labelled.positions - wanted.positions, wanted.cells[0][periodic])
    distances = np.linalg.norm(moved, axis=1)
    if not distances.max(initial=0.0) <= tolerance:
        atom = int(distances.argmax())  # that of a NaN, if there is one
        return f"{_name(wanted, atom)} is {distances[atom]:.2g} Å from where it was asked for"
    return None


def _largest_energy(structure: Configurations) -> float:
    r"""Return an energy in eV that the atoms of one structure cannot exceed in size.

    It is that of neutral atoms of Thomas and Fermi with all electrons, :math:`0.7687\,Z^{7/3}`
    Hartree each, half as much again for relativity, and at least 1 keV each for repulsion.
    """
    return float(np.maximum(1.5 * 20.92 * structure.numbers ** (7 / 3), 1000.0).sum())


def _nearest(
    vectors: Float[np.ndarray, "atoms 3"], lattice: Float[np.ndarray, "periodic 3"]
) -> Float[np.ndarray, "atoms 3"]:
    """Reduce vectors by the lattice vectors that are nearest to them, if any is near."""
    if not len(lattice):
        return vectors
    return vectors - np.round(vectors @ np.linalg.pinv(lattice)) @ lattice


def _name(structure: Configurations, atom: int) -> str:
    return f"{chemical_symbols[structure.numbers[atom]]} {atom}"
