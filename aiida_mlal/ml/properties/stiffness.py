"""The stiffness tensor: Voigt's notation, rotations, invariants, averages over polycrystals."""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Components xx, yy, zz, yz, xz, xy."""

_PLACE = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Voigt's index of each component of a matrix."""

_ORDER = (
    (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (3, 3), (4, 4), (5, 5),
    (0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5),
    (3, 4), (3, 5), (4, 5),
)  # fmt: skip
"""In which constants are looked for that determine all others: C11, C12, ... as in tables."""

Matrix = Float[np.ndarray, "3 3"]
Stiffness = Float[np.ndarray, "6 6"]


def strain_of(voigt: Float[np.ndarray, " 6"]) -> Matrix:
    """Return the matrix of a strain in Voigt's notation, whose shears are twice the components."""
    factors = np.where(np.eye(3, dtype=bool), 1.0, 0.5)
    return np.asarray(voigt)[_PLACE] * factors


def voigt_of_strain(strain: Matrix) -> Float[np.ndarray, " 6"]:
    """Return a strain in Voigt's notation, its shears doubled."""
    return np.array([strain[i, j] * (1 if i == j else 2) for i, j in VOIGT])


def voigt_of_stress(stress: Matrix) -> Float[np.ndarray, " 6"]:
    """Return a stress in Voigt's notation."""
    return np.array([stress[i, j] for i, j in VOIGT])


def rotated(stiffness: Stiffness, rotation: Matrix) -> Stiffness:
    """Return a stiffness in axes that are rotated: its value for vectors ``rotation @ v``."""
    return symmetrised(stiffness, rotation[None])


def symmetrised(stiffness: Stiffness, rotations: Float[np.ndarray, "operations 3 3"]) -> Stiffness:
    """Return the mean over the operations of a point group."""
    turns = _turns(rotations)
    turned: np.ndarray = turns @ stiffness @ turns.transpose(0, 2, 1)
    return turned.mean(axis=0)


def _turns(
    rotations: Float[np.ndarray, "operations 3 3"],
) -> Float[np.ndarray, "operations 6 6"]:
    """Return by which matrix each rotation acts on stresses in Voigt's notation (Bond)."""
    units = np.array([np.eye(6)[k][_PLACE] for k in range(6)])
    r = rotations[:, None]
    images = r @ units @ r.transpose(0, 1, 3, 2)
    rows, columns = np.array(VOIGT).T
    return images[:, :, rows, columns].transpose(0, 2, 1)


def independent(rotations: Float[np.ndarray, "operations 3 3"]) -> list[tuple[int, int]]:
    """Return places of the constants that determine all others in a point group.

    They are three for a cubic crystal, (0, 0), (0, 1), (3, 3): C11, C12, C44.
    """
    upper = list(combinations_with_replacement(range(6), 2))
    invariant = []
    for i, j in upper:
        unit = np.zeros((6, 6))
        unit[i, j] = unit[j, i] = 1.0
        invariant.append(symmetrised(unit, rotations))
    pairs: list[tuple[int, int]] = []
    rows: list[list[float]] = []
    for i, j in _ORDER:
        row = [one[i, j] for one in invariant]
        if np.linalg.matrix_rank([*rows, row], tol=1e-6) > len(rows):
            pairs.append((i, j))
            rows.append(row)
    return pairs


@dataclass(frozen=True)
class Averages:
    """Moduli of an isotropic polycrystal, in the unit of the stiffness.

    Bounds of Voigt (uniform strain) and Reuss (uniform stress), and their mean (Hill, Proc. Phys.
    Soc. A 65, 349 (1952)), from which Young's modulus and Poisson's ratio follow. Reuss's and what
    follows from it are NaN for a crystal that is not stable.

    Attributes
    ----------
    anisotropy
        Universal index, 0 for an isotropic crystal (Ranganathan and Ostoja-Starzewski, Phys. Rev.
        Lett. 101, 055504 (2008)).
    """

    bulk_voigt: float
    bulk_reuss: float
    bulk: float
    shear_voigt: float
    shear_reuss: float
    shear: float
    young: float
    poisson: float
    anisotropy: float

    @classmethod
    def of(cls, c: Stiffness) -> "Averages":
        """Average a stiffness over all orientations."""
        s = np.linalg.inv(c) if smallest_eigenvalue(c) > 0 else np.full((6, 6), np.nan)
        axial, mixed, shears = (
            lambda m: m[0, 0] + m[1, 1] + m[2, 2],
            lambda m: m[0, 1] + m[0, 2] + m[1, 2],
            lambda m: m[3, 3] + m[4, 4] + m[5, 5],
        )
        k_v = (axial(c) + 2 * mixed(c)) / 9
        g_v = (axial(c) - mixed(c) + 3 * shears(c)) / 15
        k_r = 1 / (axial(s) + 2 * mixed(s))
        g_r = 15 / (4 * axial(s) - 4 * mixed(s) + 3 * shears(s))
        k, g = (k_v + k_r) / 2, (g_v + g_r) / 2
        young, poisson = 9 * k * g / (3 * k + g), (3 * k - 2 * g) / (6 * k + 2 * g)
        values = (k_v, k_r, k, g_v, g_r, g, young, poisson, 5 * g_v / g_r + k_v / k_r - 6)
        return cls(*map(float, values))


def smallest_eigenvalue(stiffness: Stiffness) -> float:
    """Return the smallest eigenvalue of the tensor: Born's criterion wants it above 0.

    Shears have the weights that make the eigenvalues those of the tensor of rank four (Mouhat and
    Coudert, Phys. Rev. B 90, 224104 (2014)): of a cubic crystal they are C11 - C12, 2 C44 and
    C11 + 2 C12.
    """
    weights = np.array([1, 1, 1, *[np.sqrt(2)] * 3])
    return float(np.linalg.eigvalsh(stiffness * np.outer(weights, weights)).min())
