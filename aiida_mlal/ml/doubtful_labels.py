"""What cannot be right about labels, as far as they tell by themselves."""

from itertools import pairwise

import numpy as np

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.consistency import inconsistencies

UNBALANCED, PUSH = 0.3, 0.1
"""Sum of the forces of a structure from which on it isn't noise: in units of what it would be if
they had nothing to do with each other, and in eV/Å."""

LOPSIDED = 0.01
"""Asymmetry of a stress, in units of its largest component, that is not rounding."""

SAME = 1e-3, 1e-2
"""Differences in eV/atom and eV/Å that labels of one structure may have."""


def doubtful_labels(labelled: Configurations) -> list[str]:
    """Say, in a sentence each, what cannot be right about forces, stresses and energies."""
    checks = (inconsistencies, unbalanced, constrained, asymmetric, repeated, contradictory)
    return [said for check in checks for said in check(labelled)]


def unbalanced(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if forces on the atoms of structures don't add up to zero.

    An energy that depends on distances alone, or on any positions relative to each other, has none
    that do not. It is said where more than half of the structures have some.
    """
    owners, n = labelled.owner, len(labelled)
    totals = np.zeros((n, 3))
    np.add.at(totals, owners, labelled.forces)
    sums = np.linalg.norm(totals, axis=1)
    sizes = np.sqrt(np.bincount(owners, (labelled.forces**2).sum(axis=1), n))
    known = np.isfinite(sums) & (labelled.counts > 1)
    far = known & (sums > UNBALANCED * sizes) & (sums > PUSH)
    if not far.sum() > known.sum() / 2:
        return []
    worst = int(np.argmax(np.where(far, sums, 0)))
    return [
        f"forces on the atoms of {far.sum()} of {len(labelled)} structures do not add up to zero: "
        f"number {worst} is pushed by {sums[worst]:.2g} eV/Å. Are forces on some atoms left out, "
        "as on fixed ones, or is there something that is not among the atoms?"
    ]


def constrained(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if forces are those that fixed atoms seem to have."""
    fixed = labelled.fixed.all(axis=1)
    if not fixed.any() or np.any(labelled.forces[fixed]) or not np.any(labelled.forces[~fixed]):
        return []
    return [
        f"forces on all {fixed.sum()} fixed atoms are exactly zero, as with the constraints taken "
        "into account: labels are forces without them, as get_forces(apply_constraint=False) of "
        "ASE gives; what is learned from these is wrong for the free atoms, too"
    ]


def asymmetric(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if stresses are no symmetric matrices."""
    apart = np.abs(labelled.stresses - labelled.stresses.swapaxes(1, 2)).max(axis=(1, 2), initial=0)
    sizes = np.abs(labelled.stresses).max(axis=(1, 2), initial=0)
    wrong = np.flatnonzero(apart > LOPSIDED * sizes)
    if not len(wrong):
        return []
    worst = int(wrong[np.argmax(apart[wrong])])
    return [
        f"the stresses of {len(wrong)} of {len(labelled)} structures are not symmetric, that of "
        f"number {worst} by {apart[worst]:.2g} eV/Å³: without a torque on a crystal they are"
    ]


def contradictory(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if one structure has different labels."""
    first: dict[str, int] = {}
    found, worst = 0, (0.0, 0, 0)
    for i, key in enumerate(labelled.keys):
        if (j := first.setdefault(key, i)) == i:
            continue
        one, other = labelled[j], labelled[i]
        by_energy = abs(float(other.energies[0] - one.energies[0])) / max(1, len(one.numbers))
        by_force = float(np.abs(other.forces - one.forces).max(initial=0.0))
        if by_energy > SAME[0] or by_force > SAME[1]:
            found, worst = found + 1, max(worst, (by_energy, j, i))
    if not found:
        return []
    return [
        f"{found} structures are there twice with other labels, as number {worst[1]} and "
        f"{worst[2]}, whose energies differ by {worst[0]:.2g} eV/atom: what is learned is between "
        "these"
    ]


def repeated(labelled: Configurations) -> list[str]:
    """Say, in one sentence or none, if different structures have the very same label."""
    starts: dict[bytes, int] = {}
    same: dict[int, list[int]] = {}
    for i, (begin, end) in enumerate(pairwise(labelled.offsets)):
        forces = labelled.forces[begin:end]
        if not (np.isfinite(labelled.energies[i]) and np.any(forces)):
            continue  # forces that vanish by symmetry may well be the same
        first = starts.setdefault(labelled.energies[i].tobytes() + forces.tobytes(), i)
        if first != i and not _is_shifted(labelled[first], labelled[i]):
            same.setdefault(first, [first]).append(i)
    if not same:
        return []
    of = max(same.values(), key=len)
    which = ", ".join(map(str, of[:5])) + (", ..." if len(of) > 5 else "")
    return [
        f"energies and forces of the structures number {which} are the same to the last digit, "
        "though these differ: were they computed, or is a result of another one read again?"
    ]


def _is_shifted(one: Configurations, other: Configurations) -> bool:
    """Tell if a structure is another one, all of it moved alike."""
    alike = np.array_equal(one.numbers, other.numbers) and np.array_equal(one.cells, other.cells)
    if not alike:
        return False
    apart = other.positions - one.positions
    return bool(np.abs(apart - apart[0]).max() < 1e-6)
