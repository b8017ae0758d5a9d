"""Calculators that fail, for tests."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    SCFError,
    all_changes,
)
from ase.calculators.emt import EMT

builds, kept = [], []

NOT_CONVERGED = " *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***\n"


class ConvergenceError(RuntimeError):
    """As other codes call it."""


class Fragile(Calculator):
    """Copper fails in a way that the number of atoms tells; afterwards it is of no use."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, **options):
        super().__init__()
        self.broken = False
        builds.append(options)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        problems = {
            2: SCFError("no convergence in 60 cycles"),
            3: ConvergenceError("density"),
            4: TypeError("a bug in the code"),
        }
        if self.broken:
            raise RuntimeError("left broken by the structure before")
        if len(atoms) in problems:
            self.broken = True
            raise problems[len(atoms)]
        if len(atoms) == 7:
            raise KeyboardInterrupt
        shape = (1, 3) if len(atoms) == 5 else (len(atoms), 3)
        energy = np.nan if len(atoms) == 6 else -1.0 * len(atoms)
        self.results = {"energy": energy, "forces": np.zeros(shape)}


class Smeared(Calculator):
    """Forces belong to the free energy."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    energy: ClassVar[float] = -1.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        self.results = {"energy": self.energy, "free_energy": -2.0, "forces": forces}


class HalfANumber(Smeared):
    """The one energy is known, the other is not."""

    energy: ClassVar[float] = np.nan


class Wrong(EMT):
    """Two atoms are too much for it, in a way that its mode tells."""

    def __init__(self, mode, **options):
        super().__init__(**options)
        self.mode = mode

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) == 2:
            getattr(self, self.mode)(atoms)

    def energy_of(self, value):
        self.results |= {"energy": value, "free_energy": value}

    def relaxes(self, atoms):
        atoms.positions += [[0.1, 0, 0], [0, 0, 0]]
        super().calculate(atoms, ["energy"], ["positions"])

    def relaxes_a_copy(self, atoms):
        copy = atoms.copy()
        copy.positions += [[0.1, 0, 0], [0, 0, 0]]
        super().calculate(copy, ["energy"], ["positions"])

    def relaxes_the_cell(self, atoms):
        atoms.set_cell(atoms.cell * 1.05, scale_atoms=True)
        super().calculate(atoms, ["energy"], ["positions", "cell"])

    def doubles_the_cell(self, atoms):
        atoms.set_cell(atoms.cell * 2)

    def opens_the_cell(self, atoms):
        atoms.pbc = False
        self.atoms.pbc = False

    def changes_species(self, atoms):
        atoms.symbols = ["Al"] * len(atoms)

    def moves_all(self, atoms):
        atoms.positions += 1.0
        self.atoms.positions += 1.0

    def stress_inf(self, atoms):
        self.results["stress"] = np.full(6, np.inf)

    def stress_nan(self, atoms):
        self.results["stress"] = np.full(6, np.nan)

    def stress_nine(self, atoms):
        self.results["stress"] = np.zeros(9)

    def stress_one(self, atoms):
        self.results["stress"] = 0.0

    def stress_huge(self, atoms):
        self.results["stress"] = np.full(6, 1e300)

    def forces_huge(self, atoms):
        self.results["forces"] = np.full((len(atoms), 3), 1e300)

    def forces_complex(self, atoms):
        self.results["forces"] = np.zeros((len(atoms), 3), complex)

    def forces_one(self, atoms):
        self.results["forces"] = np.zeros((1, 3))

    def energy_huge(self, atoms):
        self.energy_of(1e300)

    def energy_in_hartree(self, atoms):
        self.energy_of(-200_000.0)

    def energy_complex(self, atoms):
        self.energy_of(1 + 2j)

    def energy_text(self, atoms):
        self.energy_of("-3.0")

    def energy_array(self, atoms):
        self.energy_of(np.zeros(3))

    def energy_none(self, atoms):
        self.energy_of(None)

    def energy_inf(self, atoms):
        self.energy_of(np.inf)

    def energy_true(self, atoms):
        self.energy_of(True)

    def bad_text(self, atoms):
        raise RuntimeError("bad \x00 \ud800 chars\nof a calculator")

    def long_text(self, atoms):
        raise RuntimeError("x" * 1_000_000)

    def no_text(self, atoms):
        class Silent(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        raise Silent

    def goes_elsewhere(self, atoms):
        os.chdir("/")

    def is_not_converged(self, atoms):
        self.converged = False


class Fatal(EMT):
    """Copper whose first atom has the tag 1 is too much for the process, not only for the label.

    Each call is a line in the file ``calls`` of a folder, so that those of processes that died are
    counted as well; the file ``mode`` says what is fatal.
    """

    def __init__(self, folder, **options):
        super().__init__(**options)
        self.folder = Path(folder)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        with (self.folder / "calls").open("a") as file:
            file.write(f"{len(atoms)}\n")
        super().calculate(atoms, properties, system_changes)
        if atoms.get_tags()[0] == 1:
            getattr(self, (self.folder / "mode").read_text())()

    def killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self):
        ctypes.string_at(0)

    def leaves(self):
        os._exit(0)

    def exits(self):
        sys.exit(3)

    def short_of_memory(self):
        np.ones(10**13)

    def out_of_files(self):
        kept.extend(open(os.devnull) for _ in range(100_000))  # noqa: SIM115

    def stops_itself(self):
        os.kill(os.getpid(), signal.SIGTERM)

    def swallows_a_stop(self):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        except BaseException:
            pass

    def makes_an_error_of_a_stop(self):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        except BaseException as error:
            raise RuntimeError("the code failed") from error

    def hangs(self):
        time.sleep(60)

    def closes_standard_error(self):
        sys.stderr.close()


class Once(Fragile):
    """Cannot be built again."""

    def __init__(self, **options):
        super().__init__(**options)
        if len(builds) > 1:
            raise RuntimeError("the licence server is gone")


class Sites(Calculator):
    """Looks at all that ASE knows of atoms, and at nothing else."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = -float((atoms.get_initial_magnetic_moments() ** 2).sum())
        energy -= float(atoms.get_initial_charges().sum())
        energy -= 0.001 * float(atoms.get_masses().sum()) + 0.01 * float(atoms.get_tags().sum())
        moments = 0.9 * atoms.get_initial_magnetic_moments()
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3)), "magmoms": moments}


class Sometimes(EMT):
    """Has a stress in principle, but not with these options."""

    def get_stress(self, atoms=None):
        raise PropertyNotImplementedError("no stress with a plain cutoff")


def emt(**options):
    return EMT(**options)


def nonsense():
    return "not a calculator"


class Chatty(Calculator):
    """Writes to a file as it goes, and says there that stretched structures did not converge."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, mode="a", fails=False, **options):
        super().__init__(**options)
        self.mode, self.fails = mode, fails

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        stretched = atoms.get_volume() > 13
        with open(os.path.join(self.directory, "code.out"), self.mode) as file:
            file.write("x" * 400 + "\n" + (NOT_CONVERGED if stretched else "SCF run converged\n"))
        if stretched and self.fails:
            raise RuntimeError("exit code 1")
        self.results = {"energy": -1.0, "forces": np.zeros((len(atoms), 3))}


class Wrapper(Calculator):
    """Asks another calculator about a copy, as many do, and what the structure has of a charge."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        copied = atoms.copy()
        copied.calc = EMT()
        energy = copied.get_potential_energy() + atoms.info.get("charge", 0)
        self.results = {"energy": energy, "forces": copied.get_forces()}
