"""Structures from any file that ASE knows, and from those of this package."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, extension2format, filetype, get_ioformat
from ase.units import fs

from aiida_mlal.ml import constraints
from aiida_mlal.ml.ase_properties import kind_of_energy
from aiida_mlal.ml.configurations import (
    FILE_STATUS,
    NOT_KEPT,
    Configurations,
)
from aiida_mlal.ml.folders import check_writable
from aiida_mlal.ml.formats import (
    airss,
    ase_database,
    atomeye,
    convergence,
    cut_off,
    extxyz,
    labels,
    lammps,
)
from aiida_mlal.ml.formats.ase_errors import without_internals
from aiida_mlal.ml.formats.ase_sizes import check_sizes
from aiida_mlal.ml.formats.content import as_text, compression, read_bytes, stem
from aiida_mlal.ml.formats.labels import LabelKeys
from aiida_mlal.ml.formats.masses import doubtful_masses
from aiida_mlal.ml.formats.mlip import cfg
from aiida_mlal.ml.formats.momenta import ase_momenta
from aiida_mlal.ml.formats.occupancy import check_ordered
from aiida_mlal.ml.formats.table import (
    ASE,
    ATOMEYE,
    CFG,
    CIF,
    CONFIGURATIONS,
    DATA,
    DUMP,
    EXTXYZ,
    PW,
    by_name,
    known,
)
from aiida_mlal.ml.formats.types import Types, check_named
from aiida_mlal.ml.frames import STATUS, VELOCITIES
from aiida_mlal.ml.options import within


@dataclass(frozen=True, eq=False)
class Contents:
    """The structures of a file, and what somebody who uses them should know about the reading.

    Attributes
    ----------
    missing
        Kinds of labels (see ``LabelKeys``) whose key was named, and that the file does not have.
    types
        Which element each type is, in a file that numbers types, or where the reader says so.
    """

    configurations: Configurations
    warnings: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    types: Types | None = None

    def check_any(self, path: str, purpose: str) -> None:
        """Refuse a file without structures, in the words of its reading; ``purpose``: to do what.

        Raises
        ------
        ValueError
            If there are none.
        """
        if not len(self.configurations):
            raise ValueError("; ".join([f"{path} has no structures {purpose}", *self.warnings]))

    def write(self, structures: Configurations, path: str | Path) -> list[str]:
        """Write structures that are made of these, with the same types; see the function."""
        if self.types is None:
            return write(structures, path)
        return write(structures, path, self.types.elements, self.types.named)


def read(
    path: str | Path,
    elements: Sequence[str] | None = None,
    default: Sequence[str] | None = None,
    keys: LabelKeys | None = None,
) -> Configurations:
    """Read all structures of a file, with their labels where there are any; see ``load``."""
    return load(path, elements, default, keys).configurations


def load(
    path: str | Path,
    elements: Sequence[str] | None = None,
    default: Sequence[str] | None = None,
    keys: LabelKeys | None = None,
    partial: bool = False,
    named: bool = False,
) -> Contents:
    """Read all structures of a file, with their labels where there are any, and say how.

    Parameters
    ----------
    path
        A file of this package, a ``.cfg`` file of the MLIP codes, extended XYZ, or whatever ASE can
        read; perhaps compressed (gzip, bzip2, xz). It is known by its content before its name.
    elements
        Chemical symbols of the types 0, 1, ... in ``.cfg`` files, or 1, 2, ... in dumps and data
        files of LAMMPS, that only number them; a file that names them may have no others.
    default
        The same, for a file that does not say; such as the types of a potential.
    keys
        What the file calls its labels. Without it they are what ASE takes for labels, and
        ``virial`` where there are no stresses.
    partial
        Whether a file may lack labels of these names.
    named
        Whether a file is refused that only numbers its types, where nobody says which elements
        these are.

    Raises
    ------
    ValueError
        If there is no such file, or nothing that can read it, with the place in the file.
    """
    path, keys = Path(path), keys or LabelKeys()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with within(str(path)):
        form = known(path)
        if form.holds == "potential":
            raise ValueError(f"this is a potential ({form.name}), expected structures")
        if form.name in _READERS:
            loaded = _READERS[form.name](path, elements, default)
        elif not path.stat().st_size:
            raise ValueError(f"the file {path} is empty")
        else:
            frames, said, converged = _frames(path)
            types = None
            if form.name in lammps.NAMES:
                frames, types = lammps.identified(path, form.name, frames, elements, default)
            loaded = replace(_from_frames(frames, said, converged, keys, partial), types=types)
        configurations, types = loaded.configurations, loaded.types
        if form.name != CONFIGURATIONS:
            configurations.check_geometry()
        missing = loaded.missing
        if partial:
            missing |= labels.missing(configurations, keys)
        configurations, said = labels.apply(configurations, keys.without(missing))
        warnings = [*loaded.warnings, *said, *_warnings(configurations)]
        if types is None or types.named:
            warnings += doubtful_masses(configurations)
            check_named(configurations.elements, elements)
        if types is None and elements is not None:
            types = Types(tuple(elements), "reader")
        if types is not None and not types.named and not len(configurations):
            types = None
        if types is not None and not types.named and named:
            raise ValueError(NAMELESS)
        warnings += [] if types is None else _about_types(types)
        about = tuple(f"{path}: {one}" for one in warnings)
        return Contents(configurations, about, missing, types)


def load_together(
    paths: Sequence[str | Path],
    elements: Sequence[str] | None = None,
    default: Sequence[str] | None = None,
    keys: LabelKeys | None = None,
) -> list[Contents]:
    """Read several files as ``load`` does, of which one at least has each label that is named.

    The others, such as a pool without labels, are read as they are. The elements of all have to be
    known.
    """
    partial = len(paths) > 1
    loaded = [load(path, elements, default, keys, partial, named=True) for path in paths]
    for kind in sorted(frozenset.intersection(*(one.missing for one in loaded))):
        raise ValueError(
            f"none of {[str(path) for path in paths]} has {getattr(keys, kind)!r}, which was to be "
            f"the {kind}"
        )
    return loaded


def write(
    configurations: Configurations,
    path: str | Path,
    elements: Sequence[str] | None = None,
    named: bool = True,
) -> list[str]:
    """Write structures in the format that the end of the name stands for; see ``read``.

    Return sentences, if there is something to say: what the format has no place for, and which it
    is where names of other formats end alike.

    Parameters
    ----------
    elements
        In the order of the types, for formats that number them, as ``.cfg``; by default that of
        atomic numbers.
    named
        Whether the elements are those of the atoms; others only tell types apart, and other
        formats refuse them.

    Raises
    ------
    ValueError
        If ASE does not know the format, or cannot write these structures in it, or the system
        writes no file.
    """
    path = Path(path)
    check_target(path)
    if not named and by_name(path).name != CFG:
        raise ValueError(f"{path} names the elements of its atoms; {NAMELESS}")
    lost: list[str] = []
    said: list[str] = []
    try:
        name = by_name(path).name
        if name == CONFIGURATIONS:
            configurations.save(path)
        elif name == CFG:
            cfg.write(configurations, path, elements, named)
            lost = cfg.left_out(configurations)
        elif name == EXTXYZ or _format(path) == "extxyz":
            extxyz.write(configurations, path)
            lost = extxyz.left_out(configurations)
        else:
            lost = _write_with_ase(configurations, path, _format(path))
            said += _AMBIGUOUS.get(_format(path), [])
    except OSError as error:
        raise ValueError(f"{path} could not be written: {error.strerror or error}") from error
    if lost:
        said.append(f"left out, as {path.name} has no place for it: {', '.join(lost)}")
    return said


def _write_with_ase(configurations: Configurations, path: Path, name: str) -> list[str]:
    """Write structures in a format of ASE's, and return what is not there when it is read."""
    form = get_ioformat(name)
    if form.single and len(configurations) != 1:
        raise ValueError(
            f"{path}: a file of the format {name!r} has one structure, got {len(configurations)}"
        )
    partial = path.with_name(f"partial-{path.name}")
    try:
        frames = configurations.to_ase()
        for atoms, one in zip(frames, configurations):
            if (momenta := ase_momenta(one)) is not None:
                atoms.arrays.pop(VELOCITIES.name, None)
                atoms.set_momenta(momenta, apply_constraint=False)
            if name in _SCALED:
                atoms.set_constraint(constraints.scaled(atoms, one.fixed))
        ase.io.write(partial, frames, format=name)
        partial.replace(path)
    except OSError:
        raise
    except Exception as error:  # writers of ASE fail in all ways there are
        said = without_internals(error)
        raise ValueError(f"{path}: ASE could not write it as {name!r}: {said}") from error
    finally:
        partial.unlink(missing_ok=True)
    if not form.can_read:
        return []
    try:
        return _missing_in(load(path).configurations, configurations)
    except ValueError:  # such as formats whose content does not say what they are
        return []


COUNTED = "it does not say which elements its types are: they count as H, He, ..., see --elements"
"""Warning about a file that only numbers types, read by somebody who does not say what they are."""

NAMELESS = (
    "the structures only number the types of their atoms: say which elements these are with "
    "--elements, such as Cu,O (where a command has no such option, `mlal convert` has it)"
)
"""Why such a file is refused where elements matter."""

_AMBIGUOUS = {
    "runnerdata": [
        "written in the format of RuNNer and n2p2, in Hartree and Bohr: no data file of LAMMPS, "
        "which ASE writes (`ase.io.write` with format='lammps-data')"
    ],
}
"""What is said about formats whose names of files are those of others too."""

_SCALED = {"vasp"}
"""Formats that fix atoms along lattice vectors, rather than along x, y and z."""


def _missing_in(read: Configurations, expected: Configurations) -> list[str]:
    """Name what is lost on the way through a file: structures written, and as they were read."""
    if read.counts.tolist() != expected.counts.tolist():
        return ["structures or atoms"]
    there = {
        "energies": np.isfinite(expected.energies) & ~np.isfinite(read.energies),
        "forces": np.isfinite(expected.forces) & ~np.isfinite(read.forces),
        "stresses": np.isfinite(expected.stresses) & ~np.isfinite(read.stresses),
        "which atoms are fixed": expected.fixed != read.fixed,
        "which directions are periodic": expected.pbc != read.pbc,
    }
    names = [key for key in expected.info if key not in read.info and key != STATUS.name]
    names += [key for key in expected.arrays if key not in read.arrays]
    return [name for name, lost in there.items() if lost.any()] + names


def check_target(path: str | Path, several: bool = False) -> None:
    """Refuse a file that ``write`` could not write, whatever the structures.

    Raises
    ------
    ValueError
        If its folder is missing or not writable, ASE does not know the format, or it has one
        structure only where ``several`` are to be written.
    """
    check_writable(path)
    path = Path(path)
    form = by_name(path)
    if form.holds == "potential":
        raise ValueError(f"{path}: files of the format {form.name!r} hold potentials")
    if form.name == ASE:
        name = _format(path)
        if several and get_ioformat(name).single:
            raise ValueError(f"{path}: a file of the format {name!r} has one structure only")


def _format(path: Path) -> str:
    """Return ASE's name of the format that the end of a name stands for."""
    try:
        form = extension2format.get(path.suffix[1:])
        if form is None or not form.can_write:
            form = get_ioformat(filetype(str(path), read=False))
    except UnknownFileTypeError as error:
        raise ValueError(f"{path}: ASE does not know this format: {error}") from error
    if not form.can_write:
        raise ValueError(f"{path}: ASE reads the format {form.name!r} only")
    return str(form.name)


def _read_configurations(
    path: Path, elements: Sequence[str] | None, default: Sequence[str] | None
) -> Contents:
    return Contents(Configurations.from_bytes(read_bytes(path)))


def _read_cfg(
    path: Path, elements: Sequence[str] | None, default: Sequence[str] | None
) -> Contents:
    configurations, types = cfg.parse(as_text(read_bytes(path)), elements, default)
    return Contents(configurations, types=types)


_READERS: dict[str, Callable[..., Contents]] = {
    CONFIGURATIONS: _read_configurations,
    CFG: _read_cfg,
}
"""What reads a format, by its name in the table, without help of ASE."""


OF_ATOMIC_UNITS = ("runnerdata",)
"""Formats of ASE without units that may have others than those that ASE reads, Hartree and Bohr."""


def _frames(path: Path) -> tuple[list[Atoms], list[str], list[bool] | None]:
    """Read structures by ASE: return them, warnings, and perhaps for each whether it converged."""
    if compression(path):
        with TemporaryDirectory() as folder:
            unpacked = Path(folder) / stem(path)
            unpacked.write_bytes(read_bytes(path))
            return _frames(unpacked)
    name = known(path).name
    if name == ASE:
        try:
            name = get_ioformat(filetype(str(path))).name
        except UnknownFileTypeError as error:
            raise ValueError(f"ASE does not know this format: {str(error)[:60]}") from error
    if name == EXTXYZ:
        frames, said = extxyz.parse(as_text(read_bytes(path)))
        return frames, said + _without_any(name, frames), None
    frames, said = [], []
    check_sizes(path, name)
    source: str | StringIO = str(path)
    text = as_text(read_bytes(path)) if name in convergence.OF_FORMAT else ""
    if name in _READABLE:
        source = StringIO(_READABLE[name](text))
    try:
        found = _TAKEN[name](path) if name in _TAKEN else ase.io.iread(source, ":", format=name)
        for atoms in found:
            frames.append(atoms)
        converged = None
        if name in convergence.OF_FORMAT:
            converged = list(convergence.OF_FORMAT[name](text))
    except Exception as error:  # readers of ASE fail in all ways there are
        why = "; ".join([without_internals(error), *_about_end(name, text, frames)])
        if name == PW and convergence.PW_STOPPED in text:
            why += "; the electrons did not converge"
        raise ValueError(
            f"ASE could not read it as {name!r}, structure {len(frames)}: {why}"
        ) from error
    if name == CIF:
        check_ordered(frames)
    said += _about_end(name, text, frames) or _without_any(name, frames)
    said += lammps.unsaid(path, name, frames) + atomeye.unread(path, name)
    if name == PW and _PW_FIXED.search(text):
        said.append("it has fixed atoms, which are not read: campaigns want them as --fixed")
    if name in OF_ATOMIC_UNITS:
        said.append("it does not say its units: all is read as of atomic units, Hartree and Bohr")
    if converged is None and name not in convergence.SILENT and any(a.calc for a in frames):
        said.append(f"whether labels converged is not known of the format {name!r}")
    return frames, said, converged


_TAKEN: dict[str, Callable[[Path], Iterable[Atoms]]] = {
    **{name: partial(ase_database.read, name=name) for name in ase_database.NAMES},
    DUMP: lammps.read_dump,
    DATA: lammps.read_data,
    ATOMEYE: atomeye.read,
    airss.RES: airss.read,
}
"""What reads formats of ASE with its help, by their names."""

_READABLE: dict[str, Callable[[str], str]] = {
    "vasp-xml": cut_off.readable_vasprun,
    PW: convergence.readable_pw,
}
"""What makes an output readable for ASE where it would give up, by the name of the format."""

_PW_FIXED = re.compile(r"^ *[A-Z]\S*(?: +-?\d+\.\d+){3}(?![ 1]*$)(?: +[01]){3} *$", re.MULTILINE)
"""The position of an atom that pw.x does not move along all axes, by its three ``if_pos``."""


def _about_end(name: str, text: str, frames: list[Atoms]) -> list[str]:
    """Say that an output ends before its code does, if that is known of the format."""
    if name not in cut_off.OF_FORMAT:
        return []
    return cut_off.OF_FORMAT[name](text, sum(atoms.calc is not None for atoms in frames))


def _without_any(name: str, frames: list[Atoms]) -> list[str]:
    """Say that there are no structures in a file, and as which format it was read."""
    return [] if frames else [f"there are no structures in it, read as {name!r}"]


def _from_frames(
    frames: list[Atoms],
    said: list[str],
    converged: list[bool] | None,
    keys: LabelKeys,
    partial: bool,
) -> Contents:
    results = [{} if atoms.calc is None else atoms.calc.results for atoms in frames]
    energy, missing = keys.of_ase(), frozenset[str]()
    if energy is not None and not any(energy in one for one in results):
        if not partial:
            raise ValueError(f"no structure has the energy {energy!r}")
        energy, missing = None, frozenset({"energy"})
    if energy is None:
        energy = kind_of_energy(results)
        said += _about_energies(results, energy)
    made = Configurations.from_ase(frames, energy).with_arrays(**_arrays(frames))
    for name, values in (("energy", made.energies), ("forces", made.max_forces)):
        there = np.array([(energy if name == "energy" else name) in one for one in results])
        lost = there & np.isnan(values) if len(there) else there
        if lost.any():
            said.append(
                f"no number is the {name} of {int(lost.sum())} structures, the first is "
                f"{int(lost.argmax())}: it counts as missing"
            )
    if converged is not None:
        known_ones = converged[: len(made)] + [True] * (len(made) - len(converged))
        computed = np.array([atoms.calc is not None for atoms in frames], bool)
        bad = computed & ~np.array(known_ones, bool)
        if bad.any():
            made = made.with_columns({STATUS: np.where(bad, "unconverged", made.status)})
            said.append(
                f"the electrons of {int(bad.sum())} of {len(bad)} structures did not converge, the "
                f"first is {int(bad.argmax())}: their status is 'unconverged'"
            )
    kept = set(made.info) | {STATUS.name}
    left_out = sorted({str(key) for atoms in frames for key in atoms.info} - kept - _OF_BUILDERS)
    left_out += sorted({key for atoms in frames for key in atoms.arrays} - _OF_ASE - {*made.arrays})
    unread = sorted({str(key) for one in results for key in one} - _LABELS)
    if unread:
        said.append(f"not kept of its results: {', '.join(unread)}")
    if left_out:
        said.append(f"not kept, as they are no numbers or texts of one shape: {left_out}")
    return Contents(made, tuple(said), missing)


def _about_energies(results: Sequence[Any], energy: str) -> list[str]:
    """Say which energy was taken, if that makes a difference."""
    both = [one for one in results if {"energy", "free_energy"} <= set(one)]
    if not any(abs(one["energy"] - one["free_energy"]) > 1e-9 for one in both):
        return []
    if energy == "free_energy":
        return ["energies are 'free_energy', whose derivative forces are, not 'energy'"]
    n = sum(bool(one) for one in results)
    return [f"energies are 'energy': only {len(both)} of {n} structures have a 'free_energy'"]


def _warnings(structures: Configurations) -> list[str]:
    said = [*labels.unread(structures), *labels.without_energy(structures)]
    if FILE_STATUS in structures.info:
        words = sorted({str(word) for word in structures.info[FILE_STATUS].tolist()})[:3]
        said.append(f"its 'status' ({', '.join(words)}) is none of ours: kept as {FILE_STATUS!r}")
    if NOT_KEPT in structures.info:
        names = sorted(set(filter(None, structures.info[NOT_KEPT].tolist())))
        said.append(f"no simulation can keep the constraints {', '.join(names)}")
    return said


def _about_types(types: Types) -> list[str]:
    """Say what was taken for the elements of types that the file does not name."""
    if types.source == "masses":
        return [f"its types count as {', '.join(types.elements)}, by their masses"]
    if types.source == "default":
        return [f"its types count as {', '.join(types.elements)}, as in what it goes with"]
    return [] if types.named else [COUNTED]


def _arrays(frames: list[Atoms]) -> dict[str, np.ndarray]:
    """Return the numbers of atoms that are not ASE's own, and velocities; NaN where none are."""
    columns = {}
    for key in sorted({key for atoms in frames for key in atoms.arrays} - _OF_ASE):
        there = [atoms.arrays[key] for atoms in frames if key in atoms.arrays]
        shape = there[0].shape[1:]
        if all(part.dtype.kind in "biuf" and part.shape[1:] == shape for part in there):
            parts = [
                atoms.arrays.get(key, np.full((len(atoms), *shape), np.nan)) for atoms in frames
            ]
            columns[key] = np.concatenate(parts)
    if any("momenta" in atoms.arrays for atoms in frames):
        columns[VELOCITIES.name] = np.concatenate(
            [
                atoms.get_velocities() * fs
                if "momenta" in atoms.arrays
                else np.full((len(atoms), 3), np.nan)
                for atoms in frames
            ]
        )
    return columns


_LABELS = {"energy", "free_energy", "forces", "stress"}
"""Results of a calculator that are read."""

_OF_ASE = {
    "numbers", "positions", "momenta", "masses", "tags", "initial_magmoms", "initial_charges",
    "move_mask",
}  # fmt: skip

_OF_BUILDERS = {"adsorbate_info", "spacegroup"}
"""What functions of ASE that build structures leave in ``info`` for themselves."""
