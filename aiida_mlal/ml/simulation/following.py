"""Following one mode uphill to a saddle point, by forces alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ase import Atoms
from jaxtyping import Bool, Float

from aiida_mlal.ml.simulation.state import Attributes
from aiida_mlal.ml.simulation.vibrations import basis, hessian, unhindered

REMEMBERED = ("hessian", "mode", "curvature", "age", "kick")

GUESS = 70.0
"""Curvature in eV/Å² where nothing is known, as in the BFGS of ASE."""

PROBE = 0.005
"""Displacement in Å, of all atoms together, for differences of forces."""

SOFT = 0.3
"""Largest residual of the softest mode, relative to its eigenvalue."""

MOST_PROBES = 30
"""For one measurement of the softest mode."""

OLD = 5
"""Steps after which the mode is measured again."""


class ModeFollowing:
    """Moves atoms uphill along one mode and downhill in all others, by quasi-Newton steps.

    Eigenvector following: C. J. Cerjan and W. H. Miller, J. Chem. Phys. 75, 2800 (1981). As in
    E. D. Hermes et al., J. Chem. Theory Comput. 15, 6536 (2019), the softest mode comes from an
    iterative diagonalisation by differences of forces, and the Hessian in between from updates
    by the TS-BFGS formula (J. M. Bofill, Int. J. Quantum Chem. 94, 324 (2003)), which keeps
    negative eigenvalues. Where the energy is convex along the mode the atoms are pushed along it.

    Parameters
    ----------
    atoms
        With a calculator.
    probe
        A calculator for the differences of forces, whose results depend on nothing but the atoms.
    fixed
        Which components do not move.
    mode
        The first one, whose length is of no importance.
    keeps
        Whether that mode is followed until the energy is concave in some direction, rather than the
        softest one.
    maxstep
        Largest movement of an atom in a step in Å.
    exact
        Whether the whole Hessian is computed where forces vanish, which is to have one negative
        eigenvalue.

    Attributes
    ----------
    hessian
        Of the free components, in eV/Å²; an approximation.
    mode
        Unit vector of the mode that is followed, among the free components.
    curvature
        Along the mode, where it was measured at these positions; else None.
    age
        Steps since it was measured.
    kick
        Displacement by which the atoms leave a stationary point that is no saddle point; None
        elsewhere.
    """

    def __init__(
        self,
        atoms: Atoms,
        probe: Any,
        fixed: Bool[np.ndarray, "atoms 3"],
        mode: Float[np.ndarray, "atoms 3"],
        keeps: bool,
        maxstep: float,
        exact: bool,
    ) -> None:
        self._atoms, self._probe = atoms, atoms.copy()
        self._probe.calc = probe
        self._fixed, self._free = fixed, ~fixed
        self._keeps, self._maxstep, self._exact = keeps, maxstep, exact
        self.hessian = GUESS * np.eye(int(self._free.sum()))
        self.mode = _unit(mode[self._free])
        self.curvature: float | None = None
        self.age = OLD
        self.kick: np.ndarray | None = None

    def steps(self, n: int, fmax: float) -> Iterator[bool]:
        """Take steps, and say before the first one and after each whether it is a saddle point.

        Parameters
        ----------
        fmax
            Largest force on an atom that counts as none, in eV/Å.
        """
        yield self._is_saddle(fmax)
        for _ in range(n):
            self._step()
            yield self._is_saddle(fmax)

    @property
    def displacements(self) -> Float[np.ndarray, "atoms 3"]:
        """Of all atoms along the mode: a unit vector of all components together."""
        displaced = np.zeros(self._free.shape)
        displaced[self._free] = self.mode
        return displaced

    def remember(self) -> Mapping[str, Any]:
        """Return copies of the attributes that steps change."""
        return Attributes(self, REMEMBERED).remember()

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Set the attributes."""
        Attributes(self, ()).recall(memory)

    def renew(self) -> None:
        """Measure the mode anew, since curvatures are those of another potential."""
        self.curvature, self.kick, self.age = None, None, OLD

    def _is_saddle(self, fmax: float) -> bool:
        """Measure the curvature where forces vanish, and find the way out of other such points."""
        forces = self._atoms.get_forces()
        if not np.linalg.norm(forces, axis=1).max(initial=0.0) < fmax or not len(self.mode):
            return False
        if self.curvature is None:
            self._measure()
            if self._is_concave and self._exact:
                self._count()
        return self._is_concave and self.kick is None

    @property
    def _is_concave(self) -> bool:
        return self.curvature is not None and self.curvature < 0

    def _count(self) -> None:
        """Compute the Hessian, and the way out along its second mode if that is negative too."""
        self._probe.positions[:] = self._atoms.positions
        self.hessian = hessian(self._probe, self._fixed)
        space = self._space()
        values, vectors = np.linalg.eigh(space.T @ self.hessian @ space)
        self.mode, self.curvature = self._along(space @ vectors[:, 0]), float(values[0])
        if len(values) > 1 and values[1] < 0:
            self.kick = _unit(space @ vectors[:, 1])

    def _step(self) -> None:
        if self.curvature is None and self.age >= OLD:
            self._measure()
        forces = self._atoms.get_forces()[self._free]
        space = self._space()
        way = space @ (space.T @ (self._way(forces, space) if self.kick is None else self.kick))
        displacement = np.zeros(self._free.shape)
        displacement[self._free] = way
        longest = np.linalg.norm(displacement, axis=1).max(initial=0.0)
        if longest > self._maxstep or self.kick is not None:
            displacement *= self._maxstep / max(longest, 1e-12)
        self._atoms.positions += displacement
        apart = forces - self._atoms.get_forces()[self._free]
        self.curvature, self.kick, self.age = None, None, self.age + 1
        self._learn(displacement[self._free][:, None], apart[:, None])
        self._follow(self._space())

    def _way(self, forces: np.ndarray, space: np.ndarray) -> np.ndarray:
        """Return the step: uphill along the mode, downhill in what is orthogonal to it."""
        mode = self.mode
        slope, curvature = -float(forces @ mode), float(mode @ self.hessian @ mode)
        convex = np.inf if slope >= 0 or self._keeps else -np.inf
        up = slope / -curvature if curvature < 0 else convex
        along = mode * np.clip(up, -self._maxstep, self._maxstep)
        others = basis(np.column_stack([mode, _complement(space)]))
        values, vectors = np.linalg.eigh(others.T @ self.hessian @ others)
        across, sizes = others @ vectors, np.maximum(np.abs(values), 1e-3)
        way: np.ndarray = along + across @ ((across.T @ forces) / sizes)
        return way

    def _follow(self, space: np.ndarray) -> None:
        """Let the mode follow the Hessian, where that has a negative eigenvalue."""
        values, vectors = np.linalg.eigh(space.T @ self.hessian @ space)
        downhill = space @ vectors[:, values < 0]
        if downhill.shape[1]:
            self.mode = self._along(downhill[:, np.abs(self.mode @ downhill).argmax()])
        elif self.age and not self._keeps:
            self.age = OLD

    def _measure(self) -> None:
        """Find the softest mode and its curvature: Rayleigh-Ritz in a Krylov space (Davidson)."""
        self._probe.positions[:] = self._atoms.positions
        forces = self._probe.get_forces(apply_constraint=False)
        space = self._space()
        vectors: list[np.ndarray] = []
        products: list[np.ndarray] = []
        value, mode = np.inf, np.zeros(0)
        vector = space.T @ self.mode
        while len(vectors) < min(MOST_PROBES, space.shape[1]):
            vector = _orthogonal(_unit(vector), vectors)
            if np.linalg.norm(vector) < 1e-8:
                break
            vector = _unit(_orthogonal(_unit(vector), vectors))
            vectors.append(vector)
            products.append(space.T @ self._product(space @ vector, forces))
            v, w = np.array(vectors).T, np.array(products).T
            values, mixtures = np.linalg.eigh((v.T @ w + w.T @ v) / 2)
            value, mixture = float(values[0]), mixtures[:, 0]
            mode = v @ mixture
            residual = w @ mixture - value * mode
            if np.linalg.norm(residual) < SOFT * abs(value):
                break
            vector = self._improved(residual, value, mode, space)
        if not vectors:
            return
        self._learn(space @ np.array(vectors).T, space @ np.array(products).T)
        self.age = 0
        if value < 0 or not self._keeps:
            self.mode, self.curvature = self._along(space @ mode), value
        else:
            self.curvature = float(vectors[0] @ products[0])

    def _improved(
        self, residual: np.ndarray, value: float, mode: np.ndarray, space: np.ndarray
    ) -> np.ndarray:
        """Return the correction of a mode by E. R. Davidson, J. Comput. Phys. 17, 87 (1975)."""
        values, vectors = np.linalg.eigh(space.T @ self.hessian @ space)
        gaps = values - value
        gaps = np.where(np.abs(gaps) < 1e-2, 1e-2, gaps)
        one, other = ((vectors / gaps) @ (vectors.T @ x) for x in (residual, mode))
        step = one - other * float(mode @ one) / float(mode @ other)
        return step if np.isfinite(step).all() else residual

    def _product(self, vector: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Return the Hessian times a vector, by a difference of forces."""
        displacement = np.zeros(self._free.shape)
        displacement[self._free] = vector
        self._probe.positions[:] = self._atoms.positions + PROBE * displacement
        there = self._probe.get_forces(apply_constraint=False)
        product: np.ndarray = (forces - there)[self._free] / PROBE
        return product

    def _learn(self, ways: np.ndarray, products: np.ndarray) -> None:
        """Update the Hessian by its products with some ways (columns): TS-BFGS."""
        if not np.linalg.norm(ways):
            return
        values, vectors = np.linalg.eigh(self.hessian)
        size = vectors @ (np.abs(values)[:, None] * (vectors.T @ ways))
        weights = products @ (products.T @ ways) + size @ (ways.T @ size)
        u = np.linalg.lstsq((ways.T @ weights).T, weights.T, rcond=1e-10)[0].T
        apart = products - self.hessian @ ways
        change = apart @ u.T
        new = self.hessian + change + change.T - u @ (ways.T @ apart) @ u.T
        self.hessian = (new + new.T) / 2

    def _space(self) -> np.ndarray:
        """Return unit vectors (columns) of all motions that cost energy."""
        return basis(unhindered(self._atoms, self._fixed)[self._free.ravel()])

    def _along(self, mode: np.ndarray) -> np.ndarray:
        """Return a mode with the sign of the one that is followed."""
        return _unit(mode) * (1.0 if mode @ self.mode >= 0 else -1.0)


def _complement(space: np.ndarray) -> np.ndarray:
    """Return unit vectors of all that is orthogonal to some orthonormal ones (columns)."""
    return basis(space) if space.shape[1] < len(space) else np.zeros((len(space), 0))


def _orthogonal(vector: np.ndarray, vectors: list[np.ndarray]) -> np.ndarray:
    for other in vectors:
        vector = vector - other * float(other @ vector)
    return vector


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
