"""Momenta, their degrees of freedom, and the Maxwell-Boltzmann distribution."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import kB
from jaxtyping import Bool, Float

SMALL = 1e-10
"""Of the largest moment of inertia, below which another one counts as zero."""


@dataclass(frozen=True, eq=False)
class Momenta:
    """Momenta that share a temperature: those of atoms, or those of a cell.

    Attributes
    ----------
    values
        The momenta, changed in place.
    masses
        Of each row of them.
    n
        Number of degrees of freedom.
    project
        Takes from momenta, in place, what is not free to move. It is an orthogonal projection of
        momenta divided by the square roots of masses, so that Gaussian noise stays Gaussian noise
        with the right temperature.
    """

    values: Float[np.ndarray, "rows 3"]
    masses: Float[np.ndarray, "rows 1"]
    n: int
    project: Callable[[np.ndarray], None]

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy in eV."""
        return 0.5 * float(np.vdot(self.values, self.values / self.masses))

    def temperature(self, kinetic_energy: float) -> float:
        """Return the temperature of a kinetic energy in K; NaN where nothing moves."""
        return 2 * kinetic_energy / (self.n * kB) if self.n else np.nan

    def noise(self, rng: np.random.Generator) -> Float[np.ndarray, "rows 3"]:
        """Return momenta drawn from the Maxwell-Boltzmann distribution of kT = 1."""
        noise = rng.standard_normal(self.values.shape) * np.sqrt(self.masses)
        self.project(noise)
        return noise


@dataclass(frozen=True, eq=False)
class Freedom:
    """Degrees of freedom of the momenta of atoms.

    Attributes
    ----------
    free
        Components of atoms that nothing fixes.
    masses
        Of the atoms.
    n_rotations
        Number of rotations of the whole that are absent for good.
    """

    free: Bool[np.ndarray, "atoms 3"]
    masses: Float[np.ndarray, "atoms 1"]
    n_rotations: int = 0

    @property
    def at_rest(self) -> Bool[np.ndarray, " 3"]:
        """Directions along which the centre of mass stays at rest, as nothing is fixed there."""
        return np.asarray(self.free.all(axis=0))

    @property
    def n(self) -> int:
        """Number of degrees of freedom."""
        return max(0, int(self.free.sum()) - int(self.at_rest.sum()) - self.n_rotations)

    def momenta(self, values: Float[np.ndarray, "atoms 3"]) -> Momenta:
        """Return momenta of the atoms with their masses and the projection on free directions."""
        at_rest, all_free = self.at_rest.astype(float), bool(self.free.all())
        shares = self.masses / self.masses.sum()

        def project(momenta: np.ndarray) -> None:
            if not all_free:
                momenta *= self.free
            momenta -= shares * (momenta.sum(axis=0) * at_rest)

        return Momenta(values, self.masses, self.n, project)


def n_rotations(atoms: Atoms) -> int:
    """Return the number of rotations of a molecule: 3, 2 if it is linear, 0 for an atom.

    A structure that is periodic somewhere, or has fixed atoms, keeps none from one step to the
    next: 0.
    """
    if atoms.pbc.any() or atoms.constraints:
        return 0
    moments = np.linalg.eigvalsh(_inertia(_about_centre(atoms), atoms.get_masses()[:, None]))
    return int((moments > SMALL * max(moments.max(), SMALL)).sum()) if len(atoms) > 1 else 0


def without_rotation(
    atoms: Atoms, momenta: Float[np.ndarray, "atoms 3"]
) -> Float[np.ndarray, "atoms 3"]:
    """Return momenta of a molecule without those of its rotation as a rigid body."""
    positions, masses = _about_centre(atoms), atoms.get_masses()[:, None]
    inertia = _inertia(positions, masses)
    angular = np.cross(positions, momenta).sum(axis=0)
    internal: np.ndarray = momenta - masses * np.cross(
        np.linalg.pinv(inertia, rcond=SMALL, hermitian=True) @ angular, positions
    )
    return internal


def _about_centre(atoms: Atoms) -> np.ndarray:
    masses = atoms.get_masses()
    centre = masses @ atoms.positions / masses.sum()
    return np.asarray(atoms.positions - centre)


def _inertia(positions: np.ndarray, masses: np.ndarray) -> np.ndarray:
    weighted = masses * positions
    return np.eye(3) * np.vdot(weighted, positions) - weighted.T @ positions
