"""The equations that a potential is determined by, and how far others are from them."""

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.uncertainty.extras import to_tensor
from aiida_mlal.ml.uncertainty.maxvol import START, SWAP, Volume, maxvol
from aiida_mlal.ml.uncertainty.reduction import largest
from aiida_mlal.ml.uncertainty.rows import (
    Rows,
    SelectionWeights,
    batches,
    n_parameters,
)

Mode = Literal["configuration", "neighbourhood"]
WEIGHTS: dict[str, SelectionWeights] = {
    "configuration": SelectionWeights(),
    "neighbourhood": SelectionWeights(energy_weight=0.0, site_en_weight=1.0),
}
PREFIX = "active_set."
"""Before the names of its tensors, among the extras of a potential."""

SAME = 1e-5
"""Relative difference of rows, in units of the largest number, that is rounding in a file."""

EQUATIONS = 2**32
"""More than a structure has."""


@dataclass(frozen=True, eq=False)
class Grades:
    r"""Extrapolation grades: above 1 a potential extrapolates.

    Attributes
    ----------
    values
        Of each structure, the largest of its equations.
    outside
        Whether a structure has a part along a row of the start, which no structure of the active
        set has: its grade then depends on the size of the start and is no measure.
    per_atom
        Of each atom, in the neighbourhood mode.
    rank, n_parameters
        How many rows of the active set are filled, of how many.
    """

    values: Float[np.ndarray, " structures"]
    outside: Bool[np.ndarray, " structures"]
    per_atom: Float[np.ndarray, " atoms"] | None
    rank: int
    n_parameters: int

    @property
    def message(self) -> str:
        """What must be known beside the numbers; empty if nothing."""
        if self.outside.any():
            return (
                f"{self.rank} of {self.n_parameters} rows of the active set are filled, and "
                f"{int(self.outside.sum())} of {len(self.outside)} structures lie outside of what "
                "they span: nothing bounds what the potential says of these, and their grades "
                "only depend on the start of the active set"
            )
        return ""


@dataclass(frozen=True, eq=False)
class ActiveSet:
    r"""The most independent equations of a training set, as many as there are parameters.

    For the derivatives b of an energy by all parameters and the square matrix A of the active
    set, the extrapolation grade is :math:`\gamma = \max_j |(b A^{-1})_j|`: to first order in the
    parameters an energy is a sum of those of the active set with factors up to the grade.
    I. S. Novikov et al., Mach. Learn.: Sci. Technol. 2, 025002 (2021), section 2.3.

    Directions of the parameters that no structure reaches keep small rows of the start. Some
    exist in every moment tensor potential: the radial functions may be mixed among each other
    while the other coefficients make up for it.

    Attributes
    ----------
    volume
        Matrix and inverse; the owners number ``configurations``.
    equations
        For each row, which of the equations of its structure it is; -1 for the start.
    weights
        What the rows are.
    configurations
        The structures that own rows.
    fingerprint
        Of the potential whose derivatives these are.
    """

    volume: Volume
    equations: Int[np.ndarray, " parameters"]
    weights: SelectionWeights
    configurations: Configurations
    fingerprint: str

    @classmethod
    def empty(
        cls, potential: Potential, weights: SelectionWeights | Mode, start: float = START
    ) -> "ActiveSet":
        """Return the active set of nothing."""
        if isinstance(weights, str):
            if weights not in WEIGHTS:
                raise ValueError(f"unknown mode {weights!r}, choose from {list(WEIGHTS)}")
            weights = WEIGHTS[weights]
        n = n_parameters(potential)
        nobody = np.full(n, -1)
        return cls(
            Volume.start(n, start), nobody, weights, Configurations.empty(), fingerprint(potential)
        )

    @classmethod
    def of(
        cls,
        potential: Potential,
        configurations: Configurations,
        weights: SelectionWeights | Mode = "configuration",
        threshold: float = SWAP,
        start: float = START,
    ) -> "ActiveSet":
        """Return the active set of a training set."""
        return cls.empty(potential, weights, start).extended(potential, configurations, threshold)

    @staticmethod
    def is_in(potential: Potential) -> bool:
        """Tell if a potential carries an active set."""
        return f"{PREFIX}matrix" in potential.extras

    @classmethod
    def stored(cls, potential: Potential) -> "ActiveSet":
        """Return the active set that a potential carries.

        Raises
        ------
        ValueError
            If it carries none, or that of other weights.
        """
        extras = potential.extras
        if not cls.is_in(potential):
            raise ValueError(
                "the potential carries no active set: make one from its training set, as "
                "`mlal grade --train` and `mlal train` do"
            )
        values = {
            key.removeprefix(PREFIX): value.cpu().numpy()
            for key, value in extras.items()
            if key.startswith(PREFIX)
        }
        energy, force, stress, site, scaling = values["weights"].tolist()
        one = cls(
            Volume(values["matrix"], values["inverse"], values["owners"]),
            values["equations"],
            SelectionWeights(energy, force, stress, site, int(scaling)),
            Configurations.from_bytes(values["configurations"].tobytes()),
            values["fingerprint"].tobytes().decode(),
        )
        one.check(potential)
        return one

    def store(self, potential: Potential) -> None:
        """Let a potential carry this active set, in its file too."""
        self.check(potential)
        potential.extras = {**potential.extras, **self.tensors}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of it, as the extras of a potential."""
        weights = self.weights
        numbers = [weights.energy_weight, weights.force_weight, weights.stress_weight]
        numbers += [weights.site_en_weight, weights.weight_scaling]
        tensors = {
            "matrix": torch.tensor(self.volume.matrix),
            "inverse": torch.tensor(self.volume.inverse),
            "owners": torch.tensor(self.volume.owners),
            "equations": torch.tensor(self.equations),
            "weights": torch.tensor(numbers, dtype=torch.float64),
            "configurations": to_tensor(self.configurations.to_bytes()),
            "fingerprint": to_tensor(self.fingerprint),
        }
        return {PREFIX + name: tensor for name, tensor in tensors.items()}

    @property
    def rank(self) -> int:
        """How many rows are filled."""
        return self.volume.rank

    @property
    def mode(self) -> str:
        """``configuration`` or ``neighbourhood``."""
        return self.weights.mode

    def check(self, potential: Potential) -> None:
        """Raise ``ValueError`` if this is not the active set of a potential."""
        if self.fingerprint != fingerprint(potential):
            raise ValueError(
                "the active set is that of another potential, or of other weights: make it again "
                "from the training set"
            )

    def verify(self, potential: Potential, n_atoms: int = 2000) -> None:
        """Compute rows again: those of the first structures, ``n_atoms`` in all or a little more.

        For an active set of which only its file says whose it is.

        Raises
        ------
        ValueError
            If they are others: the active set is that of another potential.
        """
        counts = self.configurations.counts
        some = self.configurations[: int(np.searchsorted(counts.cumsum(), n_atoms)) + 1]
        (mine,) = np.nonzero((self.volume.owners >= 0) & (self.volume.owners < len(some)))
        keys = _keys(self.volume.owners, self.equations)
        for rows in batches(potential, some, self.weights):
            there = dict(zip(_keys(rows.owners, rows.equations).tolist(), rows.values))
            for row in mine[np.isin(keys[mine], list(there))]:
                known = self.volume.matrix[row]
                if np.abs(there[int(keys[row])] - known).max() > SAME * np.abs(known).max():
                    raise ValueError(
                        "the active set is that of another potential, or of other coefficients: "
                        f"row {row} is not what its structure {self.volume.owners[row]} gives"
                    )

    def extended(
        self,
        potential: Potential,
        configurations: Configurations,
        threshold: float = SWAP,
        limit: int | None = None,
        exact: bool | None = None,
    ) -> "ActiveSet":
        """Return the active set after MaxVol with more structures, which stand behind the old.

        Structures come in batches, again and again until none is worth a swap.

        Parameters
        ----------
        threshold
            Grade from which an equation replaces another.
        limit
            The largest number of swaps.
        exact
            As in ``maxvol``.

        Raises
        ------
        ValueError
            If it is the active set of another potential, or derivatives are not finite.
        """
        self.check(potential)
        n_old = len(self.configurations)
        volume = replace(self.volume, owners=_keys(self.volume.owners, self.equations))
        start = volume.swaps
        while True:
            before, n_batches = volume.swaps, 0
            for rows in batches(potential, configurations, self.weights):
                lost = rows.owners[~np.isfinite(rows.values).all(axis=1)]
                if len(lost):
                    raise ValueError(
                        f"structure {lost[0]} ({configurations[int(lost[0])].formulas[0]}) has "
                        "derivatives that are not finite, as of two atoms at the same place"
                    )
                left = None if limit is None else limit - (volume.swaps - start)
                keys = _keys(rows.owners + n_old, rows.equations)
                volume = maxvol(volume, rows.values, keys, threshold, left, exact)
                n_batches += 1
            if volume.swaps == before or n_batches < 2:
                break
        filled = volume.owners >= 0
        kept, owners = np.unique(volume.owners[filled] // EQUATIONS, return_inverse=True)
        equations, places = np.full(len(filled), -1), np.full(len(filled), -1)
        equations[filled], places[filled] = volume.owners[filled] % EQUATIONS, owners.reshape(-1)
        everything = Configurations.concatenate([self.configurations, configurations])
        return replace(
            self,
            volume=replace(volume, owners=places),
            equations=equations,
            configurations=everything[kept],
        )

    def of_rows(self, rows: Rows, n: int, n_atoms: int) -> Grades:
        """Return the grades of ``n`` structures from their rows."""
        coordinates = np.abs(self.volume.coordinates(rows.values))
        whole = coordinates.max(axis=1, initial=0.0)
        outer = coordinates[:, self.volume.owners < 0].max(axis=1, initial=0.0)
        lost = ~np.isfinite(rows.values).all(axis=1)  # such as of two atoms at one place
        whole[lost], outer[lost] = np.inf, np.inf
        values, outside = (largest(of_rows, rows.owners, n) for of_rows in (whole, outer))
        per_atom = None
        if self.weights.site_en_weight:
            per_atom = np.zeros(n_atoms)
            own = rows.atoms >= 0
            per_atom[rows.atoms[own]] = whole[own]
        return Grades(values, outside > 1.0, per_atom, self.rank, len(self.equations))

    def of_sites(self, sites: Float[np.ndarray, "atoms parameters"]) -> Grades:
        """Return the grade of one structure from the derivatives of its atomic energies.

        Only where ``weights.simple``.
        """
        values, n = self.weights.of_sites(sites), len(sites)
        atoms = np.arange(len(values)) - (1 if self.weights.energy_weight else 0)
        none = np.zeros(len(values), int)
        return self.of_rows(Rows(values, none, none, atoms), 1, n)

    def grades(self, potential: Potential, configurations: Configurations) -> Grades:
        """Return the grades of structures."""
        self.check(potential)
        n, n_atoms = len(configurations), len(configurations.numbers)
        values, outside, per_atom = np.zeros(n), np.zeros(n, bool), np.zeros(n_atoms)
        for rows in batches(potential, configurations, self.weights):
            graded = self.of_rows(rows, n, n_atoms)
            values, outside = np.maximum(values, graded.values), outside | graded.outside
            if graded.per_atom is not None:
                per_atom = per_atom + graded.per_atom
        atomic = per_atom if self.weights.site_en_weight else None
        return Grades(values, outside, atomic, self.rank, len(self.equations))


def fingerprint(potential: Potential) -> str:
    """Return a hash of a potential and its weights, the same in whichever format it was stored."""
    described = potential.config()
    for name in ("level", "basis", "types"):  # of moment tensor potentials, which files forget
        described.pop(name, None)
    digest = sha256(json.dumps(described, sort_keys=True).encode())
    for name, weight in sorted(potential.named_parameters()):
        if name == "species_coeffs":  # which such files have together with the reference energies
            continue
        digest.update(name.encode() + weight.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()


def _keys(owners: np.ndarray, equations: np.ndarray) -> Int[np.ndarray, " rows"]:
    """Return one number for each equation of each structure; -1 for the start."""
    keys: np.ndarray = np.where(owners < 0, -1, owners * EQUATIONS + equations)
    return keys
