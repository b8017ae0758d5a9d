"""What benchmarks of campaigns share: labels that are counted, and training, without AiiDA."""

import hashlib
import shelve
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.models.base import Potential
from aiida_mlal.ml.models.factory import ModelOptions
from aiida_mlal.ml.training.fit import fit
from aiida_mlal.ml.uncertainty.carried import carry


def labeller(kind: str) -> Calculator:
    """Return the calculator that labels: ``emt``, or SevenNet-0 for ``7net``."""
    if kind == "emt":
        return EMT()
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


class Remembered(Calculator):
    """Energies, forces and stresses of another calculator, those computed before from a file.

    Parameters
    ----------
    kind
        What the labels are kept under: one for each setting of the calculator.
    """

    def __init__(self, inner: Calculator, kind: str, path: Path) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind
        self.known = shelve.open(str(path))  # noqa: SIM115
        self.implemented_properties = [
            name for name in ("energy", "forces", "stress") if name in inner.implemented_properties
        ]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Look up what is known of exactly these atoms, or compute all of it."""
        super().calculate(atoms, properties, system_changes)
        parts = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        key = f"{self.kind} {hashlib.sha256(content).hexdigest()}"
        if key not in self.known:
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self.inner.reset()
            bare.calc = self.inner
            stressed = "stress" in self.implemented_properties and atoms.pbc.all()
            found = {"energy": float(bare.get_potential_energy()), "forces": bare.get_forces()}
            self.known[key] = found | ({"stress": bare.get_stress()} if stressed else {})
        self.results = {
            name: np.array(value, float) if name != "energy" else value
            for name, value in self.known[key].items()
        }


class Counted(Calculator):
    """Computes energy, forces and stress by another calculator, and counts how often.

    Parameters
    ----------
    count
        A list of one number, which several calculators may share.
    """

    def __init__(self, inner: Calculator, count: list[int]) -> None:
        super().__init__()
        self.inner, self.count = inner, count
        stressed = "stress" in inner.implemented_properties
        self.implemented_properties = ["energy", "forces", *(["stress"] if stressed else [])]

    @property
    def calls(self) -> int:
        """Number of structures that were computed."""
        return self.count[0]

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        """Compute all, in eV and Å, constraints left out; the stress of crystals alone."""
        super().calculate(atoms, properties, system_changes)
        self.count[0] += 1
        if hasattr(self.inner, "reset"):
            self.inner.reset()
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.calc = self.inner
        energy = float(bare.get_potential_energy())
        self.results = {"energy": energy, "forces": np.array(bare.get_forces(), float)}
        if "stress" in self.implemented_properties and bare.pbc.all():
            self.results["stress"] = np.array(bare.get_stress(), float)


def dimer(atoms: Atoms, way: np.ndarray, fmax: float, steps: int = 400) -> bool:
    """Go to a saddle point by the dimer method of ASE, which begins along a way (atoms, 3).

    Returned is whether forces came below ``fmax`` in eV/Å.
    """
    moving = (np.linalg.norm(way, axis=1) > 0.1 * np.linalg.norm(way, axis=1).max()).tolist()
    options = {"logfile": None, "eigenmode_logfile": None}
    options |= {"initial_eigenmode_method": "displacement", "displacement_method": "vector"}
    with DimerControl(**options, mask=moving) as control:
        pair = MinModeAtoms(atoms, control, random_seed=1)
        pair.displace(displacement_vector=0.01 * way / np.linalg.norm(way))
        with MinModeTranslate(pair, logfile=None, trajectory=None) as optimizer:
            return bool(optimizer.run(fmax=fmax, steps=steps))


def sella(atoms: Atoms, fmax: float, steps: int = 200) -> bool:
    """Do so by sella (PyPI) in Cartesian coordinates; ``ImportError`` where it isn't installed."""
    from sella import Sella

    return bool(Sella(atoms, order=1, internal=False, logfile=None).run(fmax=fmax, steps=steps))


class Labels:
    """What was labelled, in its order.

    Attributes
    ----------
    frames
        All structures with their labels.
    """

    def __init__(self, calculator: Calculator) -> None:
        self.calculator, self.frames = calculator, Configurations.empty()

    def __len__(self) -> int:
        return len(self.frames)

    def add(self, wanted: Configurations) -> Configurations:
        """Label structures, those that are periodic in three directions by their stress too."""
        found = []
        for atoms in wanted.bare.to_ase():
            atoms.calc = self.calculator
            energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
            stressed = atoms.pbc.all() and "stress" in self.calculator.implemented_properties
            stress = {"stress": atoms.get_stress()} if stressed else {}
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **stress)
            found.append(atoms)
        new = Configurations.from_ase(found)
        self.frames = Configurations.concatenate([self.frames, new])
        return new


def train(
    given: Mapping[str, Any],
    frames: Configurations,
    elements: Iterable[str],
    before: Potential | None = None,
    seed: int = 0,
) -> Potential:
    """Return a potential trained on all labels, as in a campaign.

    Parameters
    ----------
    given
        Inputs of the campaign: ``model``, ``training`` and perhaps ``uncertainty``, ``warm_start``.
    before
        The potential of the last iteration, whose weights begin a ``warm_start``.
    """
    options = ModelOptions.parse(given["model"])
    potential = options.build(list(elements), seed)
    warm = given.get("warm_start", False) and before is not None
    if warm:
        potential.warm_start(before)
    fit(potential, frames, options.training(given["training"]), seed, not warm)
    measure = given.get("uncertainty") or (options.uncertainty and {"name": options.uncertainty})
    if measure:
        carry(potential, measure, frames)
    return potential
