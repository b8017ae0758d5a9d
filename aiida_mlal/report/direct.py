"""A relaxation without a potential, to compare the number of labels with."""

from dataclasses import dataclass, replace
from pathlib import Path

import ase.optimize
import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.formats import files
from aiida_mlal.ml.options import suggest
from aiida_mlal.ml.simulation.cell import FIXED, MovingCell

OPTIMIZERS = ("BFGS", "BFGSLineSearch", "FIRE", "GPMin", "LBFGS", "LBFGSLineSearch")


@dataclass(frozen=True)
class Minimum:
    """Where a campaign ended, compared with where a direct relaxation did.

    Attributes
    ----------
    energy
        How much higher the label at the end of the campaign is, in eV; of the enthalpy where the
        cell moves.
    same
        Whether both are of one minimum, see ``is_same_minimum``.
    curvature
        The lowest eigenvalue of the Hessian there by the potential of the campaign, in eV/Å²; None
        where it wasn't looked at.
    """

    energy: float
    same: bool
    curvature: float | None = None

    @property
    def in_words(self) -> str:
        """Where the campaign ended, in the words that follow its name."""
        way = f"{abs(self.energy):.4f} eV {'above' if self.energy > 0 else 'below'} it"
        if self.same:
            return f"ended in the minimum of the direct one, {way}"
        if self.curvature is None:
            return f"ended at another stationary point than the direct one, {way}"
        what = "minimum" if self.curvature > 0 else "saddle point"
        return (
            f"ended elsewhere than the direct one, {way}: at a {what}, its potential says, with "
            f"{self.curvature:.3g} eV/Å² along the softest mode"
        )


@dataclass(frozen=True)
class DirectRelaxation:
    """What a relaxation did that asked for a label at every step.

    Attributes
    ----------
    name
        What it is called in figures.
    fmax
        Largest force on a free atom after each label, in eV/Å.
    energies
        Energy after each label, in eV.
    smax_GPa
        Largest component of what of the stress moves the cell after each label; 0 where the cell
        is fixed.
    end
        The last structure, with its label.
    minimum
        Where a campaign ended that it is compared with; None if there is none, or one of them did
        not get to a minimum.
    """

    name: str
    fmax: tuple[float, ...]
    energies: tuple[float, ...]
    smax_GPa: tuple[float, ...] = ()
    end: Configurations | None = None
    minimum: Minimum | None = None

    @property
    def labels(self) -> int:
        """How many labels it used."""
        return len(self.fmax)

    def is_relaxed(self, fmax: float, smax_GPa: float) -> bool:
        """Whether the last label is below ``fmax`` (eV/Å) and ``smax_GPa``."""
        return self.fmax[-1] < fmax and self.smax_GPa[-1] < smax_GPa

    def until(self, fmax: float, smax_GPa: float = np.inf) -> "DirectRelaxation":
        """Return the relaxation up to the first label below ``fmax`` (eV/Å) and ``smax_GPa``."""
        below = np.array(self.fmax) < fmax
        if len(self.smax_GPa):
            below &= np.array(self.smax_GPa) < smax_GPa
        if not below.any():
            return self
        end = int(below.argmax()) + 1
        parts = {name: getattr(self, name)[:end] for name in ("fmax", "energies", "smax_GPa")}
        return replace(self, **parts)


def read(path: Path) -> Configurations:
    """Return the labelled frames of a file, as labels are read from it."""
    frames = files.read(path)
    if not len(frames) or not np.isfinite(frames.forces).all():
        raise ValueError(f"{path.name}: expected frames with forces, found some without")
    return frames


def summary(
    name: str,
    frames: Configurations,
    start: Configurations,
    cell: MovingCell = FIXED,
    fmax: float = 0.05,
    smax_GPa: float = 0.1,
) -> DirectRelaxation:
    """Read from its frames how a relaxation came below the limits.

    Files of codes do not say which atoms were fixed: where atoms are those of ``start``, those
    that are fixed there are.

    Raises
    ------
    ValueError
        If frames have no stress where the cell moves.
    """
    if not np.isfinite(cell.largest(frames.stresses)).all():
        raise ValueError(
            f"{name}: expected frames with stress, since the campaign relaxes the cell "
            f"('{cell.moves}'), found some without"
        )
    if all(np.array_equal(frame.numbers, start.numbers) for frame in frames):
        frames = replace(frames, fixed=np.tile(start.fixed, (len(frames), 1)))
    found = _summary(name, frames, cell).until(fmax, smax_GPa)
    return replace(found, end=frames[found.labels - 1])


def relax(
    atoms: Atoms,
    calculator: BaseCalculator,
    optimizer: str = "BFGS",
    fmax: float = 0.05,
    max_steps: int = 300,
    cell: MovingCell = FIXED,
    smax_GPa: float = 0.1,
) -> DirectRelaxation:
    """Relax with an optimiser of ASE, and count what the calculator is asked for.

    Every geometry counts, those of a line search as well, so that optimisers compare fairly.

    Parameters
    ----------
    atoms
        Where to begin; they are left as they are.
    fmax
        Largest force on a free atom that counts as none, in eV/Å.
    cell, smax_GPa
        What of the cell moves, and the largest component of what of the stress moves it that
        counts as none.
    """
    frames = relax_frames(atoms, calculator, optimizer, fmax, max_steps, cell, smax_GPa)
    return summary(f"direct {optimizer}", frames, frames[0], cell, fmax, smax_GPa)


def relax_frames(
    atoms: Atoms,
    calculator: BaseCalculator,
    optimizer: str,
    fmax: float,
    max_steps: int,
    cell: MovingCell,
    smax_GPa: float,
) -> Configurations:
    """Return each structure that ``relax`` labels by the calculator, with its label."""
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}{suggest(optimizer, OPTIMIZERS)}")
    recording = _Recording(calculator, ("energy", "forces", *(["stress"] if cell else [])))
    atoms = atoms.copy()
    atoms.calc = recording
    with getattr(ase.optimize, optimizer)(cell.filter(atoms), logfile=None) as steps:
        for _ in steps.irun(0.0, max_steps):
            if _summary("", Configurations.from_ase(atoms), cell).is_relaxed(fmax, smax_GPa):
                break
    return Configurations.from_ase(recording.frames)


class _Recording(Calculator):
    """Keeps each geometry that another calculator computes."""

    def __init__(self, calculator: BaseCalculator, properties: tuple[str, ...]) -> None:
        super().__init__()
        self.calculator = calculator
        self.implemented_properties = list(properties)
        self.frames: list[Atoms] = []

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy and forces, and the stress where it is wanted."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        frame = self.atoms.copy()
        frame.calc = self.calculator
        self.results = {
            "energy": float(frame.get_potential_energy()),
            "forces": frame.get_forces(apply_constraint=False),
        }
        if "stress" in self.implemented_properties:
            self.results["stress"] = frame.get_stress(apply_constraint=False)
        frame.calc = SinglePointCalculator(frame, **self.results)
        self.frames.append(frame)


def _summary(name: str, frames: Configurations, cell: MovingCell) -> DirectRelaxation:
    return DirectRelaxation(
        name,
        tuple(frames.max_forces.tolist()),
        tuple(frames.energies.tolist()),
        tuple(cell.largest(frames.stresses).tolist()),
    )
