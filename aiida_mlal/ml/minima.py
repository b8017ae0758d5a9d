"""Whether relaxed structures are of one minimum."""

from ase.build.rotate import rotation_matrix_from_points
from ase.geometry import find_mic

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell

NOISE = 1e-3
"""Differences of energies in eV that say nothing."""


def is_same_minimum(one: Configurations, other: Configurations, cell: MovingCell = FIXED) -> bool:
    r"""Whether two labels of the same atoms, both nearly relaxed, are of one minimum.

    Where the energy is convex on the way :math:`d` from one to the other, it lies above its
    tangents at both ends,

    .. math::  g_1 \cdot d \le E_2 - E_1 \le g_2 \cdot d

    with the gradients :math:`g` (S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge
    University Press (2004), section 3.1.3). Labels that are not like this, to 1 meV, are of
    different minima. Shifts of atoms that are free to shift, rotations of molecules and lattice
    vectors are taken off the way; the same atoms in another order are not found, but their minimum
    has the same energy.

    Parameters
    ----------
    cell
        What of the cell was relaxed; energies are enthalpies then.
    """
    atoms = one.to_ase()[0]
    energy, place, slope = cell.coordinates(atoms, atoms)
    its_energy, there, its_slope = cell.coordinates(other.to_ase()[0], atoms)
    way, n = there - place, len(atoms)
    way[:n] = find_mic(way[:n], atoms.cell, atoms.pbc)[0]
    if not one.fixed.any():
        way[:n] -= way[:n].mean(axis=0)
        if not atoms.pbc.any() and n > 1:
            centre = place.mean(axis=0)
            ends = place - centre + way
            turn = rotation_matrix_from_points(ends.T, (place - centre).T)
            way, its_slope = ends @ turn.T - (place - centre), its_slope @ turn.T
    rise = its_energy - energy
    return bool((slope * way).sum() - NOISE <= rise <= (its_slope * way).sum() + NOISE)
