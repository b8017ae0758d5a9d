"""A relaxation without a potential, to compare the number of labels with."""

from dataclasses import dataclass, replace
from pathlib import Path

import ase.optimize
import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.options import suggest

OPTIMIZERS = ("BFGS", "BFGSLineSearch", "FIRE", "GPMin", "LBFGS", "LBFGSLineSearch")


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
    """

    name: str
    fmax: tuple[float, ...]
    energies: tuple[float, ...]

    @property
    def labels(self) -> int:
        """How many labels it used."""
        return len(self.fmax)

    def until(self, fmax: float) -> "DirectRelaxation":
        """Return the relaxation up to the first label whose forces are below ``fmax``, in eV/Å."""
        below = np.flatnonzero(np.array(self.fmax) < fmax)
        if not len(below):
            return self
        end = int(below[0]) + 1
        return replace(self, fmax=self.fmax[:end], energies=self.energies[:end])


def read(path: Path) -> DirectRelaxation:
    """Return the relaxation in a file that ASE can read, with energy and forces of each step."""
    frames = Configurations.from_ase(list(iread(path)))
    if not len(frames) or not np.isfinite(frames.max_forces).all():
        raise ValueError(f"{path}: expected frames with forces, found some without")
    return _summary(path.stem, frames)


def relax(
    atoms: Atoms,
    calculator: BaseCalculator,
    optimizer: str = "BFGS",
    fmax: float = 0.05,
    max_steps: int = 300,
) -> DirectRelaxation:
    """Relax with an optimiser of ASE, and count what the calculator is asked for.

    Every geometry counts, those of a line search as well, so that optimisers compare fairly.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}{suggest(optimizer, OPTIMIZERS)}")
    recording = _Recording(calculator)
    atoms = atoms.copy()
    atoms.calc = recording
    with getattr(ase.optimize, optimizer)(atoms, logfile=None) as steps:
        steps.run(fmax=fmax, steps=max_steps)
    return _summary(f"direct {optimizer}", Configurations.from_ase(recording.frames)).until(fmax)


class _Recording(Calculator):
    """Keeps each geometry that another calculator computes."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, calculator: BaseCalculator) -> None:
        super().__init__()
        self.calculator = calculator
        self.frames: list[Atoms] = []

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy and forces."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        frame = self.atoms.copy()
        frame.calc = self.calculator
        self.results = {
            "energy": float(frame.get_potential_energy()),
            "forces": frame.get_forces(apply_constraint=False),
        }
        frame.calc = SinglePointCalculator(frame, **self.results)
        self.frames.append(frame)


def _summary(name: str, frames: Configurations) -> DirectRelaxation:
    return DirectRelaxation(
        name, tuple(frames.max_forces.tolist()), tuple(frames.energies.tolist())
    )
