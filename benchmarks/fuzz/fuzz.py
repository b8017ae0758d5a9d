"""Damage valid files of every format, and see what the readers make of them.

Right is a ``ValueError`` in words of ours, or structures, within 2 s and 500 MB. Usage::

    python benchmarks/fuzz/fuzz.py [--mutations 5000] [--reader NAME ...] [--output FILE]

Each reader runs in a process of its own, which begins again where it was killed.
"""

import argparse
import json
import multiprocessing
import random
import re
import resource
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from aiida_mlal.ml.configurations import Configurations

SECONDS, MEGABYTES = 2.0, 500
INTERNALS = re.compile(
    r"invalid literal|could not convert string|object is not|NoneType|Traceback|KeyError|"
    r"IndexError|"
    r"list index out|to unpack|codec can't"
)
"""Words of Python's own errors, which no user should read."""


@dataclass(frozen=True)
class Reader:
    """Valid files, and what reads them."""

    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], object]


def structures() -> list[Atoms]:
    """Return small structures with labels."""
    found = []
    for seed in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.numbers[0] = 79
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.set_constraint(FixAtoms([1]))
        atoms.info |= {"name": f"frame {seed}", "step": seed}
        found.append(atoms)
    return found


def _written(*names: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        from aiida_mlal.ml.formats import files

        for name in names:
            files.write(Configurations.from_ase(structures()), folder / name)
        return [folder / name for name in names]

    return write


def _by_ase(name: str, **options: object) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        frames = structures()
        ase.io.write(folder / name, frames if name.endswith("traj") else frames[0], **options)
        return [folder / name]

    return write


def _texts(name: str, *texts: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        paths = [folder / (f"{i}_{name}" if i else name) for i in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths

    return write


def _potentials(name: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        from aiida_mlal.ml.formats import potentials
        from aiida_mlal.ml.models.factory import single
        from aiida_mlal.ml.uncertainty.active_set import ActiveSet
        from aiida_mlal.ml.uncertainty.rows import SelectionWeights

        architecture = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
        if name.startswith("net"):
            architecture = {"architecture": "bpnn", "hidden": [4, 4]}
        potential = single(architecture, ["Cu", "Au"], 0)
        found = [folder / name]
        if name.endswith("almtp"):  # the second has rows of all kinds
            train = Configurations.from_ase(structures())
            found.append(folder / f"all_{name}")
            all_rows = SelectionWeights(1.0, 0.1, 0.1, 0.1)
            for path, weights in zip(found, (SelectionWeights(), all_rows), strict=True):
                ActiveSet.of(potential, train, weights).store(potential)
                potentials.save(potential, path)
        else:
            potentials.save(potential, found[0])
        return found

    return write


def _templates(*names: str) -> Callable[[Path], list[Path]]:
    """Write potentials without coefficients."""

    def write(folder: Path) -> list[Path]:
        from aiida_mlal.ml.formats.mlip import mtp
        from aiida_mlal.ml.models.factory import single

        architecture = {"architecture": "mtp", "level": 4, "radial_basis_size": 4}
        text = mtp.to_bytes(single(architecture, ["Cu", "Au"], 0)).decode()
        text = re.sub(r"\s*radial_coeffs\n(\s*(\d+-\d+|\{.*\})\n)*", "\n", text)
        text = re.sub(r"(species|moment)_coeffs = .*\n", "", text)
        for name in names:
            (folder / name).write_text(text)
        return [folder / name for name in names]

    return write


def _dynamics(name: str) -> Callable[[Path], list[Path]]:
    """Write a trajectory of two short runs, or the state between two steps."""

    def write(folder: Path) -> list[Path]:
        from aiida_mlal.ml.models.factory import single
        from aiida_mlal.ml.simulation.md import MolecularDynamics

        potential = single({"architecture": "morse"}, ["Cu", "Au"], 0)
        options = {"steps": 9, "timestep": 1.0, "temperature": 300.0, "every": 1}
        found = MolecularDynamics(**options).run(potential, _starts())
        single_run = MolecularDynamics(**options).run(potential, _starts()[:1])
        assert single_run.checkpoint is not None
        path = folder / name
        if name.startswith("state"):
            path.write_bytes(single_run.checkpoint.to_bytes())
        elif name.endswith("xyz"):
            from aiida_mlal.ml.formats import files

            files.write(found.trajectory, path)
        else:
            found.trajectory.save(path)
        return [path]

    return write


def _starts() -> Configurations:
    return Configurations.from_ase(structures()[:2]).bare


DUMP = """ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
3
ITEM: BOX BOUNDS {bounds}
ITEM: ATOMS {columns}
{atoms}
"""
"""A frame of a dump of LAMMPS."""

ORTHOGONAL = "pp pp pp\n0.0 4.0\n0.0 4.0\n0.0 4.5"
TRICLINIC = "xy xz yz pp pp ff\n0.0 5.0 1.0\n0.0 4.0 0.0\n0.0 4.5 0.0"


def _dumps(folder: Path) -> list[Path]:
    frames = {
        "a.dump": ("id type x y z fx fy fz", ORTHOGONAL, "{i} {t} {x} 1.0 2.0 0.1 -0.2 {x}"),
        "b.dump": ("id element xs ys zs vx vy vz", TRICLINIC, "{i} Cu 0.{i} 0.1 0.2 {x} 0.0 1e-3"),
        "c.dump": ("id type element xu yu zu q", ORTHOGONAL, "{i} {t} Au {x} 0.5 -1.0 0.3"),
    }
    paths = []
    for name, (columns, bounds, row) in frames.items():
        rows = [row.format(i=i, t=1 + i % 2, x=0.5 + i) for i in (1, 2, 3)]
        text = "".join(
            DUMP.format(step=step, bounds=bounds, columns=columns, atoms="\n".join(rows))
            for step in (0, 10)
        )
        (folder / name).write_text(text)
        paths.append(folder / name)
    return paths


DATA = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = {units}

3 atoms
2 atom types

0.0 5.0 xlo xhi
0.0 4.0 ylo yhi
0.0 4.5 zlo zhi
{tilt}
{types}
Atoms # {style}

{atoms}

Velocities

3 0.1 0.0 0.0
1 0.0 -0.2 0.0
2 0.0 0.0 1e-3
"""
"""A data file of LAMMPS."""


def _data(folder: Path) -> list[Path]:
    labels = "\nAtom Type Labels\n\n1 Cu\n2 O\n"
    masses = "\nMasses\n\n1 63.546 # Cu\n2 15.999\n"
    files = {
        "a.data": ("metal", "", masses, "atomic", "{i} {t} {x} 1.0 2.0 0 -1 0"),
        "b.data": ("real", "1.0 0.0 -0.5 xy xz yz", labels, "charge", "{i} {e} 0.5 {x} 1.0 2.0"),
        "c.data": ("metal", "", labels + masses, "full", "{i} 1 {e} -0.3 {x} 1.0 2.0 1 0 0"),
        "d.data": ("metal", "", "", "atomic", "{i} {t} {x} 1.0 2.0"),
    }
    paths = []
    for name, (units, tilt, types, style, row) in files.items():
        rows = [row.format(i=i, t=1 + i % 2, e=("Cu", "O")[i % 2], x=0.5 + i) for i in (3, 1, 2)]
        values = {"units": units, "tilt": tilt, "types": types, "style": style}
        (folder / name).write_text(DATA.format(**values, atoms="\n".join(rows)))
        paths.append(folder / name)
    return paths


def _atomeye(folder: Path) -> list[Path]:
    """Write the two kinds of such files: masses and elements in lines of their own, or not."""
    paths = [folder / "extended.cfg", folder / "standard.cfg"]
    ase.io.write(paths[0], structures()[0], format="cfg")
    head, _, _ = paths[0].read_text().partition("entry_count")
    paths[1].write_text(
        f"{head}63.546 Cu 0.1 0.2 0.3 0 0 0\n196.97 Au 0.6 0.7 0.8 0 0 0\n".replace("= 4", "= 2")
    )
    return paths


def _read(path: Path) -> object:
    from aiida_mlal.ml.formats.describe import summary
    from aiida_mlal.ml.formats.files import load

    return summary(load(path).configurations)


def _load(path: Path) -> object:
    from aiida_mlal.ml import load_potential

    return load_potential(path)


def _options(path: Path) -> object:
    from aiida_mlal.ml.formats.mlip import mtp
    from aiida_mlal.ml.models.factory import ModelOptions

    return ModelOptions.parse(mtp.model_options(path))


def _analyse(path: Path) -> object:
    from aiida_mlal.ml.analysis.summary import analyse
    from aiida_mlal.ml.formats.files import load

    return analyse(load(path).configurations, 4.0, 20)


def _go_on(path: Path) -> object:
    """Go on from a state for a few steps, as ``mlal simulate --begun`` does."""
    from aiida_mlal.ml.models.factory import single
    from aiida_mlal.ml.simulation.md import MolecularDynamics
    from aiida_mlal.ml.simulation.state import Checkpoint

    begun = Checkpoint.load(path)
    structures = _starts()[:1]
    potential = single({"architecture": "morse"}, ["Cu", "Au"], 0)
    return MolecularDynamics(steps=12, timestep=1.0, temperature=300.0).run(
        potential, structures, checkpoint=begun
    )


def _sealed(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Read a safetensors file whose checksum fits what was damaged, to come behind the checksum."""

    def sealed(path: Path) -> object:
        from aiida_mlal.ml import tensorfile

        try:
            content = path.read_bytes()
            end = 8 + int.from_bytes(content[:8], "little")
            index, data = json.loads(content[8:end]), content[end:]
            index["__metadata__"].pop(tensorfile.CHECKSUM, None)
            head = json.dumps(index).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("the head is damaged") from error
        head += b" " * (-len(head) % 8)
        path.write_bytes(len(head).to_bytes(8, "little") + head + data)
        return read(path)

    return sealed


def _task(path: Path) -> object:
    from aiida_mlal.ml.tasks.runner import parse

    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError("this is no JSON") from error
    return parse(values)


TASKS = [
    {
        "task": "train",
        "model": {"architecture": "bpnn", "hidden": [10, 10], "prior": {"architecture": "morse"}},
        "training": {"epochs": 10, "loss": {"energy": 1.0, "force": 0.1}},
        "seed": 1,
    },
    {"task": "simulate", "simulation": {"name": "relax", "fmax": 0.03, "guard": {"break": 0.5}}},
    {"task": "select", "strategy": {"name": "final", "n": 2}, "filters": {"min_distance": 0.6}},
    {"task": "label", "calculator": {"name": "lj", "options": {"sigma": 2.3}}, "limits": {}},
]

OUTPUTS = Path(__file__).parents[2] / "tests" / "ml" / "formats" / "outputs"

READERS: dict[str, Reader] = {
    "cfg": Reader(_written("a.cfg"), _read),
    "extxyz": Reader(_written("a.extxyz"), _read),
    "extxyz.gz": Reader(_written("a.extxyz.gz", "b.extxyz.xz"), _read),
    "dataset": Reader(_written("a.safetensors"), _read),
    "dataset, sealed again": Reader(_written("a.safetensors"), _sealed(_read)),
    "traj": Reader(_by_ase("a.traj"), _read),
    "POSCAR": Reader(_by_ase("POSCAR", format="vasp"), _read),
    "OUTCAR": Reader(lambda folder: _copied(folder, "OUTCAR"), _read),
    "vasprun": Reader(lambda folder: _copied(folder, "vasprun.xml"), _read),
    "pw.x": Reader(lambda folder: _copied(folder, "pw_unconverged.out"), _read),
    "mtp": Reader(_potentials("a.mtp"), _load),
    "almtp": Reader(_potentials("a.almtp"), _load),
    "LAMMPS dump": Reader(_dumps, _read),
    "LAMMPS data": Reader(_data, _read),
    "AtomEye": Reader(_atomeye, _read),
    "RuNNer": Reader(_by_ase("input.data", format="runnerdata"), _read),
    "pw.x, input": Reader(
        _by_ase("pw.in", format="espresso-in", pseudopotentials={"Cu": "Cu", "Au": "Au"}), _read
    ),
    "CIF": Reader(_by_ase("a.cif"), _read),
    "XYZ": Reader(_by_ase("a.xyz", format="xyz"), _read),
    "XSF": Reader(_by_ase("a.xsf"), _read),
    "database": Reader(_by_ase("a.json"), _read),
    "template": Reader(_templates("t.mtp", "t.almtp"), _options),
    "state": Reader(_dynamics("state.safetensors"), _go_on),
    "state, sealed again": Reader(_dynamics("state.safetensors"), _sealed(_go_on)),
    "analyse": Reader(_dynamics("md.extxyz"), _analyse),
    "analyse, sealed again": Reader(_dynamics("md.safetensors"), _sealed(_analyse)),
    "checkpoint": Reader(_potentials("net.safetensors"), _load),
    "checkpoint, sealed again": Reader(_potentials("net.safetensors"), _sealed(_load)),
    "task": Reader(_texts("task.json", *(json.dumps(t, indent=1) for t in TASKS)), _task),
}


def _copied(folder: Path, name: str) -> list[Path]:
    (folder / name).write_bytes((OUTPUTS / name).read_bytes())
    return [folder / name]


WORDS = [
    "nan", "inf", "-1", "-99999999", "0", "1e308", "1e-308", "99999999999999999999", "1_0.5",
    "0x1F",
    "true", "null", "X", "999", "2147483648", "9999999", "", "é", "\x00", "[]", '"', "{", "1e999",
    "D",
]  # fmt: skip


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return a content with one to three kinds of damage."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = rng.choice(DAMAGES)(content, rng)
    return content


def _bytes(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(rng.choice([1, 2, 8])):
        if found:
            found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def _head(content: bytes, rng: random.Random) -> bytes:
    """Change a byte near the beginning, where sizes stand."""
    found = bytearray(content)
    if found:
        found[rng.randrange(min(len(found), 64))] = rng.choice([0, 1, 127, 128, 255])
    return bytes(found)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _piece(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:a] + content[b:]


def _lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.choice(["drop", "double", "swap"])
    if what == "drop":
        del lines[i]
    elif what == "double":
        lines.insert(j, lines[i])
    else:
        lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _number(content: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?([eE][+-]?\d+)?", content))
    if not found:
        return content
    match = rng.choice(found)
    return content[: match.start()] + rng.choice(WORDS).encode() + content[match.end() :]


def _word(content: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"[^\s=:,\"]+", content))
    if not found:
        return content
    match = rng.choice(found)
    return content[: match.start()] + rng.choice(WORDS).encode() + content[match.end() :]


DAMAGES = [_bytes, _head, _cut, _piece, _lines, _lines, _number, _number, _number, _word]


class TooLongError(BaseException):
    """A reader took more than its time; no reader takes it for an error in a file."""


def attempt(reader: Reader, path: Path) -> str:
    """Read a file: return ``accepted``, ``refused``, or what was wrong with how it failed."""

    def stop(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 30 * SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except ValueError as error:
        said = str(error)
        return f"internals: {said[:200]}" if INTERNALS.search(said) else "refused"
    except TooLongError:
        return f"more than {30 * SECONDS} s"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "accepted"


def worker(name: str, first: int, last: int, seed: int, sender: object) -> None:
    """Try some mutations, and send what came of each."""
    reader = READERS[name]
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        seeds = reader.seeds(Path(folder))
        contents = [path.read_bytes() for path in seeds]
        for path in seeds:  # imports everything, and shows that it is valid
            reader.read(path)
        limit = _virtual() + 2 * MEGABYTES * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sender.send(None)  # type: ignore[attr-defined]
        for i in range(first, last):
            rng = random.Random(f"{seed} {name} {i}")
            which = rng.randrange(len(seeds))
            seeds[which].write_bytes(mutate(contents[which], rng))
            start = time.process_time()
            said = attempt(reader, seeds[which])
            spent = time.process_time() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            sender.send((i, said, spent, grown))  # type: ignore[attr-defined]


def _virtual() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


@dataclass
class Outcome:
    """What became of the mutations of one reader."""

    refused: int = 0
    accepted: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0
    wrong: list[tuple[int, str]] | None = None


def fuzz(name: str, mutations: int, seed: int = 0) -> Outcome:
    """Try mutations of the files of one reader."""
    context = multiprocessing.get_context("fork")
    found = Outcome(wrong=[])
    assert found.wrong is not None
    first = 0
    while first < mutations:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=worker, args=(name, first, mutations, seed, sender))
        process.start()
        sender.close()
        try:
            receiver.recv()
        except EOFError as error:
            raise RuntimeError(f"the valid files of {name} cannot be made and read") from error
        try:
            while True:
                i, said, seconds, megabytes = receiver.recv()
                first = i + 1
                found.seconds = max(found.seconds, seconds)
                found.megabytes = max(found.megabytes, megabytes)
                if said in ("refused", "accepted"):
                    setattr(found, said, getattr(found, said) + 1)
                else:
                    found.wrong.append((i, said))
                if seconds > SECONDS or megabytes > MEGABYTES:
                    found.wrong.append((i, f"{seconds:.1f} s, {megabytes:.0f} MB"))
        except EOFError:
            process.join()
        if first < mutations:
            found.wrong.append((first, f"the process ended with {process.exitcode}"))
            first += 1
    return found


def main() -> None:
    """Fuzz the readers, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", choices=list(READERS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = [
        "| reader | mutations | refused | accepted | other | worst CPU time (s) | memory (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in options.reader or READERS:
        found = fuzz(name, options.mutations, options.seed)
        rows.append(
            f"| {name} | {options.mutations} | {found.refused} | {found.accepted} | "
            f"{len(found.wrong or [])} | {found.seconds:.2f} | {found.megabytes:.0f} |"
        )
        print(rows[-1], flush=True)
        for i, said in (found.wrong or [])[:20]:
            print(f"    mutation {i}: {said}", flush=True)
    if options.output:
        options.output.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
